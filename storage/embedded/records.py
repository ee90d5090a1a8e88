"""What the supervisor and the commands tell each other, as small files under `HOME/stack`; this is their only channel.

Commands write what they want (`wanted/`), that they are there (`leases/`) and `pinned`; the supervisor writes what is
(`state.json`), and its watchers write who runs (`children/`). Files outlive any process, so that a new supervisor
goes on where a killed one left. All are replaced whole. This module starts and stops nothing.
"""

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from storage.contracts.base import Contract
from storage.embedded.files import read_json, write_atomic, write_json
from storage.embedded.home import Home
from storage.embedded.process import Identity, boot_id, is_alive, own_identity, parse_identity
from storage.embedded.service import ServiceSpec

T = TypeVar("T", bound=Contract)
State = Literal["waiting", "starting", "up", "restarting", "stopping", "ended", "failed"]


class Wanted(Contract):
    """A service that somebody asked for. `request` is new each time it shall be tried afresh."""

    spec: ServiceSpec
    request: str
    askers: tuple[Identity, ...]


class ServiceState(Contract):
    """What became of one service. Times are UTC nanoseconds; `pid` is the service's own first process."""

    state: State
    spec_digest: str
    request: str
    ports: dict[str, int] = Field(default_factory=dict)
    pid: int | None = None
    restarts: int = 0
    started_ns: int | None = None
    log: str = ""
    error: str = ""


class StackState(Contract):
    supervisor: Identity
    stopping: bool
    services: dict[str, ServiceState]


class Records:
    """The files of one home's stack."""

    def __init__(self, home: Home) -> None:
        self._dir = home.stack_dir
        self.lock_path = self._dir / "supervisor.lock"
        self.ports_path = self._dir / "ports.json"
        self.supervisor_log = home.logs_dir / "supervisor.log"
        self._state_path = self._dir / "state.json"
        self._pin_path = self._dir / "pinned"
        for name in ("wanted", "leases", "children"):
            (self._dir / name).mkdir(exist_ok=True, mode=0o700)

    # what commands want

    def wanted(self) -> dict[str, Wanted]:
        found = {path.stem: _parsed(Wanted, path) for path in sorted((self._dir / "wanted").glob("*.json"))}
        return {name: wanted for name, wanted in found.items() if wanted is not None}

    def wanted_mark(self) -> int:
        """Changes whenever `wanted` may have changed."""
        try:
            return (self._dir / "wanted").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def want(self, spec: ServiceSpec, *, afresh: bool) -> None:
        """Asks for a service in the name of this process; `afresh` has a failed one tried again."""
        path = self._dir / "wanted" / f"{spec.name}.json"
        had = _parsed(Wanted, path)
        same = had is not None and had.spec == spec
        askers = tuple(a for a in (had.askers if had is not None else ()) if is_alive(a) and a != own_identity())
        request = had.request if had is not None and same and not afresh else uuid.uuid4().hex
        write_atomic(path, Wanted(spec=spec, request=request, askers=(*askers, own_identity())).to_json())

    def unwant(self, names: Iterable[str]) -> None:
        for name in names:
            (self._dir / "wanted" / f"{name}.json").unlink(missing_ok=True)

    # who needs the stack

    def add_lease(self) -> Path:
        path = self._dir / "leases" / f"{uuid.uuid4().hex}.json"
        write_json(path, own_identity())
        return path

    def leases(self) -> Iterator[Identity]:
        """Holders of leases that live. Leases of dead ones are removed."""
        for path in sorted((self._dir / "leases").glob("*.json")):
            holder = parse_identity(read_json(path))
            if holder is not None and is_alive(holder):
                yield holder
            else:
                path.unlink(missing_ok=True)

    def pin(self) -> None:
        write_json(self._pin_path, boot_id())

    def unpin(self) -> None:
        self._pin_path.unlink(missing_ok=True)

    def is_pinned(self) -> bool:
        """Pinned since this boot of the machine?"""
        return bool(read_json(self._pin_path) == boot_id())

    # what is

    def state(self) -> StackState | None:
        return _parsed(StackState, self._state_path)

    def write_state(self, state: StackState) -> None:
        write_atomic(self._state_path, state.to_json())

    def drop_state(self) -> None:
        self._state_path.unlink(missing_ok=True)

    def child_path(self, name: str) -> Path:
        return self._dir / "children" / f"{name}.json"

    def launch_path(self, name: str) -> Path:
        return self._dir / "children" / f"{name}.launch"

    def child(self, name: str) -> "Child | None":
        return Child.parse(read_json(self.child_path(name)))

    def children(self) -> list[str]:
        return [path.stem for path in sorted((self._dir / "children").glob("*.json"))]

    def drop_child(self, name: str) -> None:
        self.child_path(name).unlink(missing_ok=True)
        self.launch_path(name).unlink(missing_ok=True)


class Child:
    """What a watcher wrote about itself and the service that it runs."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.watcher = parse_identity(record.get("watcher"))
        self.child = parse_identity(record.get("child"))
        self.pid: int | None = record.get("pid")
        self.digest: str = str(record.get("digest"))
        self.exit_code: int | None = record.get("exit_code")
        self.log_offset = int(record.get("log_offset") or 0)
        self.started_ns = int(record.get("started_ns") or 0)

    @classmethod
    def parse(cls, record: object) -> "Child | None":
        return cls(record) if isinstance(record, dict) else None

    @property
    def runs(self) -> bool:
        return is_alive(self.watcher) and is_alive(self.child) and self.exit_code is None


def _parsed(kind: type[T], path: Path) -> T | None:
    value = read_json(path)
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError:
        return None
