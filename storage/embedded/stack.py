"""The embedded stack as a command sees it: ask for services, hold a lease, look at the state, stop.

Nothing here starts a service: the supervisor does, which `ensure` brings up when there is none. A command holds a lease
while it needs the stack; when it ends, in whatever way, the lease is void and the supervisor sees that.
"""

import atexit
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.contracts.base import Contract
from storage.contracts.errors import UnavailableError, UnknownName
from storage.embedded.files import last_lines, remove
from storage.embedded.home import Home
from storage.embedded.keeper import Keeper, start_supervisor
from storage.embedded.lock import take_lock
from storage.embedded.process import is_alive
from storage.embedded.records import Records, ServiceState, StackState
from storage.embedded.running import check_space
from storage.embedded.service import ServiceSpec, check_order
from storage.embedded.watched import end_leftovers

Endpoints = dict[str, dict[str, int]]
"""Ports on 127.0.0.1 by service and port name."""
Progress = Callable[[float, str], None]

_POLL_S = 0.05
_RESPAWN_S = 2.0
_SUPERVISOR_START_S = 30.0
_STOP_S = 60.0


class StackStatus(Contract):
    """`running`: is there a live supervisor. Without one, `services` is empty."""

    running: bool
    stopping: bool
    pinned: bool
    supervisor_pid: int | None
    leases: tuple[int, ...]
    """Pids of the commands that need the stack."""
    services: dict[str, ServiceState]


class Stack:
    """The embedded stack of one home. Use as a context manager, or call `close`, to give up its lease."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._records = Records(home)
        self._lease: Path | None = None
        self._keeper: Keeper | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # asking for services

    def ensure(
        self, services: Sequence[ServiceSpec], *, lease: bool = True, progress: Progress | None = None
    ) -> Endpoints:
        """Has `services` running and healthy, and returns the ports of all services that are up.

        Services that run already stay as they are; a service of the same name with another specification is replaced.
        With `lease` the stack stays until `close` or the end of this process. Raises UnavailableError, which names
        the service, its log and the log's last lines, when one does not come up, or when the disk is too full;
        InputError for a bad specification.
        """
        check_order(services, known=self.status().services)
        for spec in services:
            check_space(spec.name, spec.min_free_bytes, self.home)
        held = self._records.add_lease()
        try:
            self._wait_while_stopping()
            state = self._live_state()
            for spec in services:
                had = state.services.get(spec.name) if state is not None else None
                self._records.want(spec, afresh=had is not None and had.state in ("failed", "ended"))
            self._wait_for(services, progress or (lambda share, text: None))
            if lease:
                self.acquire()
            return self.endpoints()
        finally:
            held.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Stops these services for everybody who uses the stack; returns when they are gone. Raises UnknownName."""
        wanted = set(names)
        state = self._live_state()
        known = state.services if state is not None else {}
        for name in sorted(wanted - known.keys()):
            raise UnknownName("service", name, known)
        self._records.unwant(wanted)
        self._wait(lambda: not wanted & self.status().services.keys(), "the services to stop")

    def endpoints(self) -> Endpoints:
        """Ports of the services that are up."""
        services = self.status().services
        return {name: dict(service.ports) for name, service in services.items() if service.state == "up"}

    def status(self) -> StackStatus:
        """What runs, read from disk: fast, and right also when the supervisor was killed."""
        state = self._live_state()
        return StackStatus(
            running=state is not None,
            stopping=state is not None and state.stopping,
            pinned=self._records.is_pinned(),
            supervisor_pid=state.supervisor.pid if state is not None else None,
            leases=tuple(sorted({holder.pid for holder in self._records.leases()})),
            services=state.services if state is not None else {},
        )

    # needing the stack

    def acquire(self) -> None:
        """Holds a lease until `close` or the end of this process, and keeps the supervisor alive meanwhile."""
        if self._lease is None:
            self._lease = self._records.add_lease()
            self._keeper = Keeper(self.home, self._records)
            self._owner = os.getpid()
            atexit.register(self.close)

    def close(self, *, wait: bool = False) -> None:
        """Gives the lease up. With `wait`, stops the stack at once if nobody else needs it, and returns when it is
        gone.
        """
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        if self._lease is not None and self._owner == os.getpid():
            self._lease.unlink(missing_ok=True)
        self._lease = None
        atexit.unregister(self.close)
        if wait and not self._records.is_pinned() and not any(True for _ in self._records.leases()):
            self.stop()

    @contextlib.contextmanager
    def lease(self) -> Iterator[Self]:
        """Holds a lease within a block, beside whatever other leases there are."""
        held = self._records.add_lease()
        try:
            yield self
        finally:
            held.unlink(missing_ok=True)

    def pin(self) -> None:
        """Has the stack stay without leases, until `unpin`, `stop` or the end of this boot of the machine."""
        self._records.pin()

    def unpin(self) -> None:
        self._records.unpin()

    def stop(self) -> None:
        """Stops everything, leases or not, and unpins. Returns when all is gone; raises UnavailableError if it
        stays.
        """
        self._records.unpin()
        self._wait(self._try_stop, "the stack to stop")

    def _try_stop(self) -> bool:
        state = self._live_state()
        if state is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.supervisor.pid, signal.SIGTERM)
            return False
        lock = take_lock(self._records.lock_path, wait_s=0.0)
        if lock is None:
            return False  # a supervisor that has not reported yet, or is just going
        try:
            if self._records.state() is not None:
                self._clear_up()
        finally:
            os.close(lock)
        return True

    def _clear_up(self) -> None:
        """Ends what a killed supervisor left. The caller holds the lock, so that no new one takes over meanwhile."""
        self._records.unwant(self._records.wanted())
        end_leftovers(self.home, self._records, self._records.children())
        remove(self.home.runtime_path)
        self._records.drop_state()

    # waiting

    def _live_state(self) -> StackState | None:
        state = self._records.state()
        return state if state is not None and is_alive(state.supervisor) else None

    def _wait_while_stopping(self) -> None:
        self._wait(lambda: not self.status().stopping, "the stack to stop before it starts again")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _STOP_S
        while not condition():
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"waited {_STOP_S:g} s for {what}", remedy=f"look into {self._records.supervisor_log}"
                )
            time.sleep(_POLL_S)

    def _wait_for(self, services: Sequence[ServiceSpec], progress: Progress) -> None:
        """Until all are up. Brings a supervisor up as often as one is missing."""
        began = last_alive = time.monotonic()
        patience_s = _SUPERVISOR_START_S + 2 * sum(spec.start_timeout_s + spec.stop_timeout_s for spec in services)
        next_start = 0.0
        told: tuple[str, ...] | None = None
        while True:
            state = self._live_state()
            now = time.monotonic()
            if state is not None and not state.stopping:
                last_alive = now
                missing = tuple(spec.name for spec in services if not _is_up(spec, state))
                if missing != told:
                    told = missing
                    progress(
                        1 - len(missing) / max(1, len(services)), f"starting {', '.join(missing)}" if missing else "up"
                    )
                if not missing:
                    return
                self._raise_failed(services, state)
            elif now >= next_start and state is None:
                next_start = now + _RESPAWN_S
                start_supervisor(self.home, self._records)
            if now - last_alive > _SUPERVISOR_START_S + _STOP_S:
                raise self._no_supervisor()
            if now - began > patience_s:
                states = {name: found.state for name, found in self.status().services.items()}
                raise UnavailableError(
                    f"the stack did not settle within {patience_s:g} s; its services: {states}",
                    remedy=f"look into {self._records.supervisor_log}",
                )
            time.sleep(_POLL_S)

    def _raise_failed(self, services: Sequence[ServiceSpec], state: StackState) -> None:
        wanted = self._records.wanted()
        for spec in services:
            found = state.services.get(spec.name)
            if spec.name not in wanted:
                raise UnavailableError(f"service '{spec.name}' was removed by another command while it started")
            if found is not None and found.state in ("failed", "ended") and found.request == wanted[spec.name].request:
                raise UnavailableError(
                    found.error or f"service '{spec.name}' ended at once", remedy=f"look into its log, {found.log}"
                )

    def _no_supervisor(self) -> UnavailableError:
        log = self._records.supervisor_log
        return UnavailableError(
            f"the supervisor of {self.home.path} did not start; the last lines of its log {log}:\n{last_lines(log)}",
            remedy="look for another supervisor of this home, perhaps of another version of the engine",
        )


def _is_up(spec: ServiceSpec, state: StackState) -> bool:
    found = state.services.get(spec.name)
    return found is not None and found.state == "up" and found.spec_digest == spec.digest
