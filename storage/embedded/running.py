"""One service over its life: wait for others, start, become healthy, crash, back off, fail, stop.

Everything happens in `tick`, which never waits; the supervisor calls it several times a second.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from storage.contracts.errors import Sim2RealError, UnavailableError
from storage.embedded.files import last_lines, remove
from storage.embedded.home import Home
from storage.embedded.launch import launch
from storage.embedded.ports import PortBook
from storage.embedded.records import Records, ServiceState, State, Wanted
from storage.embedded.service import Values, is_up
from storage.embedded.watched import Watched, log_path

QUICK_S = 10.0
"""A service that ends sooner than this after its start has failed quickly."""
BACKOFF_S = (0.0, 0.2, 0.4, 0.8, 1.6)
"""Pauses before the restarts after 1, 2, ... quick failures in a row; one more failure is final."""
MAX_FIRST_FAILURES = 3
"""The bound for a service that was never up: the likely cause is its command or its port."""
_HEALTH_INTERVAL_S = 0.1
_STOP_MARGIN_S = 10.0


class Running:
    """A wanted service and what runs of it."""

    def __init__(self, wanted: Wanted, home: Home, records: Records, ports: PortBook) -> None:
        self.wanted = wanted
        self.name = wanted.spec.name
        self.state: State = "waiting"
        self.error = ""
        self._home, self._records, self._ports = home, records, ports
        self._spec = wanted.spec
        self._digest = wanted.spec.digest
        self._watched: Watched | None = None
        self._launched = 0.0
        self._next_at = 0.0
        self._log_offset = 0
        self._restarts = 0
        self._quick_failures = 0
        self._was_up = False
        self._after_stop: State = "ended"

    def report(self) -> ServiceState:
        child = self._watched.child if self._watched is not None else None
        return ServiceState(
            state=self.state,
            spec_digest=self._digest,
            request=self.wanted.request,
            ports=self._ports[self.name],
            pid=child.pid if child else None,
            restarts=self._restarts,
            started_ns=child.started_ns if child else None,
            log=str(log_path(self._home, self.name)),
            error=self.error,
        )

    @property
    def is_busy(self) -> bool:
        """Is something about to change, so that the next look should come soon?"""
        return self.state in ("waiting", "starting", "restarting", "stopping")

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "failed")

    def adopt(self) -> bool:
        """Takes over what a killed supervisor left running, if it has this specification and its watcher answers."""
        child = self._records.child(self.name)
        watched = Watched(self._home, self._records, self.name, None)
        if child is None or not child.runs or child.digest != self._digest or not watched.connect():
            return False
        self._fill()
        self._watched, self._was_up, self._log_offset = watched, True, child.log_offset
        self._launched = time.monotonic()
        self.state = "starting"
        return True

    def tick(self, others: Mapping[str, "Running"]) -> None:
        """Looks at the service and does what is due. `others` are all services by name, this one included."""
        now = time.monotonic()
        match self.state:
            case "waiting":
                self._wait_for(others)
            case "restarting" if now >= self._next_at:
                self._launch()
            case "starting":
                self._look_for_health(now)
            case "up" if self._watched is not None and self._watched.has_ended():
                self._on_end(now)
            case "stopping":
                self._look_for_end(now)

    def stop(self, then: State = "ended") -> None:
        """Begins to stop; `is_over` says when it is done."""
        if self._watched is None:
            self.state = then if not self.is_over else self.state
        elif self.state != "stopping":
            self.state, self._after_stop = "stopping", then
            self._next_at = time.monotonic() + self._spec.stop_timeout_s + _STOP_MARGIN_S
            self._watched.tell_to_stop()

    def _wait_for(self, others: Mapping[str, "Running"]) -> None:
        before = [others[name] for name in self._spec.after if name in others]
        broken = next((other for other in before if other.is_over), None)
        if broken is not None:
            self._fail(f"service '{self.name}' needs '{broken.name}', which is not up. {broken.error}")
        elif all(other.state == "up" for other in before):
            self._launch()

    def _launch(self) -> None:
        try:
            check_space(self.wanted.spec.name, self.wanted.spec.min_free_bytes, self._home)
            self._ports.take(self.name, self.wanted.spec.ports)
            self._fill()
            self.clear_scratch()
            self._watched = launch(self._home, self._records, self._spec, self._digest)
        except (OSError, Sim2RealError) as error:
            self._fail(f"service '{self.name}' cannot be started: {error}")
            return
        self._launched, self._next_at = time.monotonic(), 0.0
        self.state = "starting"

    def _fill(self) -> None:
        """Puts ports and directories into the specification."""
        ports = {name: self._ports[name] for name in (self.name, *self.wanted.spec.after)}
        self._spec = self.wanted.spec.filled(
            Values(str(self._home.path), str(self._home.runtime_path), self.name, ports)
        )

    def _look_for_health(self, now: float) -> None:
        watched = self._watched
        if watched is None or watched.has_ended():
            self._on_end(now)
        elif now - self._launched > self._spec.start_timeout_s:
            self.error = self._describe(f"was not up within {self._spec.start_timeout_s:g} s")
            self.stop("failed")
        elif watched.connect() and watched.child is not None and now >= self._next_at:
            self._next_at = now + _HEALTH_INTERVAL_S
            self._log_offset = watched.child.log_offset
            healthy = is_up(self._spec, self._ports[self.name], watched.child.started_ns)
            # looked at again: on the port of a service that could not bind it, a stranger may have answered
            if healthy and not watched.has_ended() and watched.child.runs:
                self.state, self._was_up, self.error = "up", True, ""

    def _look_for_end(self, now: float) -> None:
        watched = self._watched
        if watched is not None and not watched.has_ended():
            if now < self._next_at:
                return
            watched.kill()
        self._put_away()
        self.state = self._after_stop

    def _on_end(self, now: float) -> None:
        """The service ended by itself: start it again, or not."""
        child = self._watched.child if self._watched is not None else None
        self._log_offset = child.log_offset if child is not None else self._log_offset
        code = self._put_away()
        self.error = self._describe("was killed" if code is None else f"ended with {_exit_text(code)}")
        self._quick_failures = self._quick_failures + 1 if now - self._launched < QUICK_S else 1
        if not self.wanted.spec.restart:
            self.state = "ended" if code == 0 else "failed"
        elif self._quick_failures > (len(BACKOFF_S) if self._was_up else MAX_FIRST_FAILURES - 1):
            self._fail(f"{self.error}\nIt was started {self._quick_failures} times in a row and is given up.")
        else:
            if not self._was_up:
                self._ports.forget(self.name)
            self._restarts += 1
            self._next_at = now + BACKOFF_S[self._quick_failures - 1]
            self.state = "restarting"

    def _put_away(self) -> int | None:
        """Clears up after the end of the processes; the exit code where it is known."""
        if self._watched is None:
            return None
        code = self._watched.close()
        self._watched = None
        self.clear_scratch()
        return code

    def clear_scratch(self) -> None:
        for path in self._spec.scratch:
            remove(Path(path))

    def _fail(self, error: str) -> None:
        self.state, self.error = "failed", error

    def _describe(self, what: str) -> str:
        log = log_path(self._home, self.name)
        lines = last_lines(log, offset=self._log_offset)
        return f"service '{self.name}' {what}; its log is {log}" + (
            f", its last lines:\n{lines}" if lines else ", empty"
        )


def check_space(name: str, min_free_bytes: int, home: Home) -> None:
    """Raises UnavailableError when the home's disk has less free space than service `name` needs."""
    free = shutil.disk_usage(home.path).free
    if free < min_free_bytes:
        raise UnavailableError(
            f"service '{name}' needs {min_free_bytes / 1e6:,.0f} MB free on the disk of {home.path}, "
            f"which has {free / 1e6:,.0f} MB",
            remedy="free some space, or set SIM2REAL_HOME to a place on another disk",
        )


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
