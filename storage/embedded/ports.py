"""Draws ports on loopback and keeps them on disk, so that a service that starts again has the same address.

A port p is taken only if p + 10000 is free as well (SeaweedFS opens both). p is below 22768, so that p + 10000 stays
below 32768, where Linux begins to draw the local ports of outgoing connections: a restart would now and then find one
of those in its way. A home draws neighbouring ports from a random start, which keeps two homes apart. Nothing is
reserved: a service that cannot bind ends, and its ports are drawn again.
"""

import errno
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from storage.contracts.errors import UnavailableError
from storage.embedded.files import read_json, write_json
from storage.embedded.probe import HOST

LOW = 20_000
SPAN = 2_768
TWIN = 10_000


class PortBook:
    """Ports by service and name, in one JSON file. One writer: the supervisor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = read_json(path)
        self._ports: dict[str, dict[str, int]] = found if isinstance(found, dict) else {}

    def __getitem__(self, service: str) -> dict[str, int]:
        return self._ports.get(service, {})

    def take(self, service: str, names: Sequence[str]) -> dict[str, int]:
        """The ports of `service`: those it had where nobody else listens on them now, else fresh ones.

        Raises UnavailableError when no free port is left.
        """
        had = self[service]
        ports = {name: had[name] for name in names if name in had and can_listen(had[name])}
        for name in names:
            if name not in ports:
                ports[name] = self._draw({*ports.values()})
        self._ports[service] = {name: ports[name] for name in names}
        write_json(self._path, self._ports)
        return self[service]

    def forget(self, service: str) -> None:
        """The next `take` draws fresh ports."""
        self._ports.pop(service, None)
        write_json(self._path, self._ports)

    def _draw(self, more: set[int]) -> int:
        held = {port for ports in self._ports.values() for port in ports.values()} | more
        start = max(held) + 1 - LOW if held else random.SystemRandom().randrange(SPAN)
        for offset in range(SPAN):
            port = LOW + (start + offset) % SPAN
            if port not in held and is_free(port) and is_free(port + TWIN):
                return port
        raise UnavailableError(
            f"no port p from {LOW} to {LOW + SPAN - 1} with p and p + {TWIN} free on {HOST}",
            remedy="stop installations that are not needed (sim2real down)",
        )


def is_free(port: int) -> bool:
    """Could a server that sets no options listen here, on loopback and on all addresses?"""
    return _binds(port, HOST, reuse=False) and _binds(port, "", reuse=False)


def can_listen(port: int) -> bool:
    """Could a server come back to this port? Connections of its predecessor that linger do not count."""
    return _binds(port, HOST, reuse=True)


def _binds(port: int, host: str, *, reuse: bool) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if reuse:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
