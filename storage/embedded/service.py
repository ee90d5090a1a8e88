"""What a service is: a command line, the ports it wants, and how to see that it is up. Plain data, kept as JSON.

Placeholders in `argv`, `env`, `health`, `cwd` and `scratch` are filled in when the service starts: `{port}` (the
first port), `{port:name}`, `{port:name+10000}`, `{port:service/name}` (a port of a service in `after`), `{home}` and
`{runtime}`. Other braces stay as they are. This module starts nothing and knows no particular service.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from pydantic import Field, field_validator, model_validator

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError, UnknownName
from storage.embedded import probe
from storage.embedded.files import absent

NAME = r"^[a-z][a-z0-9-]{0,39}$"
_PLACEHOLDER = re.compile(r"\{(home|runtime|port(?::(?:[a-z][a-z0-9-]*/)?[a-z][a-z0-9_]*)?(?:\+[0-9]+)?)\}")


class Health(Contract):
    """A service is up when everything given here holds."""

    http: str | None = None
    """Path that answers 2xx on `port`, e.g. `/health`."""
    port: str | None = None
    """Name of the port for `http`; None is the service's first."""
    contains: str = ""
    """Text that the body of the `http` answer must contain."""
    tcp: str | None = None
    """Name of a port that accepts connections."""
    file: str | None = None
    """Path of a file that exists and is newer than the start of the service."""


class ServiceSpec(Contract):
    """One service. `restart`: start it again when it ends by itself. `after`: names that must be up before it
    starts.
    """

    name: str = Field(pattern=NAME)
    argv: tuple[str, ...] = Field(min_length=1)
    ports: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str = "{home}"
    health: tuple[Health, ...] = ()
    start_timeout_s: float = Field(default=60.0, gt=0)
    stop_timeout_s: float = Field(default=10.0, ge=0)
    restart: bool = True
    after: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    """Files and directories outside the home that are removed before each start and after the end."""
    min_free_bytes: int = Field(default=0, ge=0)
    """Free space on the home's disk without which the service is not started."""

    @field_validator("health", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, dict | Health) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for health in self.health:
            for port in (health.port, health.tcp):
                if port is not None and port not in self.ports:
                    raise ContractError(
                        str(UnknownName(f"port in the health of service '{self.name}'", port, self.ports))
                    )
            if health.http is not None and not self.ports:
                raise ContractError(f"service '{self.name}': health by http needs a port, given none")
        return self

    def filled(self, values: "Values") -> "ServiceSpec":
        """This specification with every placeholder replaced. Raises UnknownName for one that names no port."""
        fill = values.fill
        return self.model_copy(
            update={
                "argv": tuple(fill(part) for part in self.argv),
                "env": {name: fill(text) for name, text in self.env.items()},
                "cwd": fill(self.cwd),
                "health": tuple(h.model_copy(update={"file": h.file and fill(h.file)}) for h in self.health),
                "scratch": tuple(fill(path) for path in self.scratch),
            }
        )


class Values:
    """What placeholders stand for: directories, the service's own ports and those of the services it comes after."""

    def __init__(self, home: str, runtime: str, service: str, ports: Mapping[str, Mapping[str, int]]) -> None:
        self._directories = {"home": home, "runtime": runtime}
        self._service = service
        self._ports = ports

    def fill(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self._value(match[1]), text)

    def _value(self, key: str) -> str:
        if key in self._directories:
            return self._directories[key]
        where, _, more = key.partition("+")
        service, _, name = where.removeprefix("port").removeprefix(":").rpartition("/")
        ports = self._ports.get(service or self._service, {})
        if not name and ports:
            name = next(iter(ports))
        if name not in ports:
            raise UnknownName(f"port in a placeholder of service '{self._service}'", key, ports)
        return str(ports[name] + int(more or 0))


def is_up(spec: ServiceSpec, ports: Mapping[str, int], started_ns: int) -> bool:
    """Does everything that `spec.health` (filled) asks for hold now? True without any."""
    return all(_holds(health, spec, ports, started_ns) for health in spec.health)


def _holds(health: Health, spec: ServiceSpec, ports: Mapping[str, int], started_ns: int) -> bool:
    checks: list[Callable[[], bool]] = []
    if health.tcp is not None:
        checks.append(lambda: probe.tcp_open(ports[str(health.tcp)]))
    if health.http is not None:
        port = ports[health.port or spec.ports[0]]
        checks.append(lambda: probe.http_ok(port, str(health.http), containing=health.contains))
    if health.file is not None:
        checks.append(lambda: not absent(str(health.file), since_ns=started_ns))
    return all(check() for check in checks)


def check_order(specs: Iterable[ServiceSpec], known: Iterable[str] = ()) -> None:
    """Raises UnknownName for an `after` that names nobody, ContractError for services that wait for each other in a
    ring.
    """
    waiting = {spec.name: set(spec.after) for spec in specs}
    names = {*waiting, *known}
    for name, after in waiting.items():
        for other in sorted(after - names):
            raise UnknownName(f"service in 'after' of '{name}'", other, names)
    while waiting:
        ready = [name for name, after in waiting.items() if not after & waiting.keys()]
        if not ready:
            raise ContractError(
                f"services wait for each other in a ring: {', '.join(sorted(waiting))}; drop one 'after'"
            )
        for name in ready:
            del waiting[name]
