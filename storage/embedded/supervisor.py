"""The daemon that owns a home's services: `python -m storage.embedded.supervisor HOME`.

There is one per home: it holds a file lock. It reads what is wanted and who holds leases, and stops everything,
itself last, when nobody has needed the stack for a few seconds and it is not pinned, when it is told to (SIGTERM), or
when the home is gone. It serves no requests; `storage.embedded.records` says how commands speak to it.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from storage.embedded.files import remove
from storage.embedded.home import Home
from storage.embedded.launch import rotate
from storage.embedded.lock import take_lock
from storage.embedded.ports import PortBook
from storage.embedded.process import is_alive, own_identity
from storage.embedded.reap import kill_family
from storage.embedded.records import Records, StackState
from storage.embedded.running import Running
from storage.embedded.watched import end_leftovers, mark_of

IDLE_GRACE_S = 3.0
"""How long the stack stays when nobody holds a lease, for the next command in a row."""
_BUSY_TICK_S = 0.05
_CALM_TICK_S = 0.2
_LEASE_INTERVAL_S = 0.5


class Supervisor:
    """Keeps what runs in step with what is wanted, until nobody wants anything."""

    def __init__(self, home: Home, lock: int) -> None:
        self._home, self._lock = home, lock
        self._records = Records(home)
        self._ports = PortBook(self._records.ports_path)
        self._services: dict[str, Running] = {}
        self._wanted_mark = -1
        self._last_needed = time.monotonic()
        self._next_lease_check = 0.0
        self._told_to_stop = False
        self._written: StackState | None = None

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        try:
            self._take_over()
            while not (self._is_over() and self._may_stop()):
                self._read_wanted()
                self._tick()
            self._stop_all()
        except FileNotFoundError:
            if not self._is_home_gone():
                raise
        if self._is_home_gone():
            self._abandon()

    def _on_stop(self, *_: object) -> None:
        self._told_to_stop = True

    def _take_over(self) -> None:
        """Adopts what a killed supervisor left and somebody still wants; kills the rest of it."""
        pinned = self._records.is_pinned()
        for name, wanted in self._records.wanted().items():
            if not pinned and not any(is_alive(asker) for asker in wanted.askers):
                self._records.unwant([name])
        adopted = []
        for name, wanted in self._records.wanted().items():
            service = Running(wanted, self._home, self._records, self._ports)
            self._services[name] = service
            if service.adopt():
                adopted.append(name)
        end_leftovers(self._home, self._records, {*self._records.children()} - {*adopted}, without=adopted)

    def _read_wanted(self) -> None:
        """Starts what is new, starts anew what changed or shall be tried again, and stops what is not wanted."""
        mark = self._records.wanted_mark()
        if mark == self._wanted_mark:
            return
        self._wanted_mark = mark
        wanted = self._records.wanted()
        for name, service in self._services.items():
            if name not in wanted or wanted[name].spec != service.wanted.spec:
                service.stop()
        for name, want in wanted.items():
            had = self._services.get(name)
            if had is None or (had.is_over and want.request != had.wanted.request):
                self._services[name] = Running(want, self._home, self._records, self._ports)
            elif had.wanted.spec == want.spec:
                had.wanted = want
        for name in [name for name, service in self._services.items() if name not in wanted and service.is_over]:
            del self._services[name]

    def _tick(self) -> None:
        if any(service.state == "stopping" for service in self._services.values()):
            self._wanted_mark = -1  # what replaces it is started once it has stopped
        for service in self._services.values():
            service.tick(self._services)
        self._write_state(stopping=False)
        time.sleep(_BUSY_TICK_S if any(s.is_busy for s in self._services.values()) else _CALM_TICK_S)

    def _is_over(self) -> bool:
        return self._told_to_stop or self._is_home_gone() or not self._is_needed()

    def _may_stop(self) -> bool:
        """Says that it stops, then looks for leases once more. Who adds a lease reads the state afterwards: either it
        reads that the stack stops, or it is seen here."""
        if self._told_to_stop or self._is_home_gone():
            return True
        self._write_state(stopping=True)
        if not self._records.is_pinned() and not any(True for _ in self._records.leases()):
            return True
        self._last_needed = time.monotonic()
        self._write_state(stopping=False)
        return False

    def _is_needed(self) -> bool:
        now = time.monotonic()
        if now >= self._next_lease_check:
            self._next_lease_check = now + _LEASE_INTERVAL_S
            if self._records.is_pinned() or any(True for _ in self._records.leases()):
                self._last_needed = now
        return now - self._last_needed < IDLE_GRACE_S

    def _is_home_gone(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._lock), self._records.lock_path.stat())
        except OSError:
            return True

    def _stop_all(self) -> None:
        """Stops services before those that they come after, then removes the runtime directory."""
        while any(not service.is_over for service in self._services.values()):
            for name, service in self._services.items():
                needed = any(name in s.wanted.spec.after and not s.is_over for s in self._services.values())
                if not needed:
                    service.stop()
                if service.state == "stopping":
                    service.tick(self._services)
            self._write_state(stopping=True)
            time.sleep(_BUSY_TICK_S)
        remove(self._home.runtime_path)
        self._records.unwant(self._services)
        self._records.drop_state()

    def _abandon(self) -> None:
        """Somebody deleted the home: there is nothing to keep, and no place to write."""
        kill_family(mark_of(self._home))
        for service in self._services.values():
            service.clear_scratch()
        remove(self._home.runtime_path)

    def _write_state(self, *, stopping: bool) -> None:
        services = {name: service.report() for name, service in self._services.items()}
        state = StackState(supervisor=own_identity(), stopping=stopping, services=services)
        if state != self._written:
            self._records.write_state(state)
            self._written = state


def main(arguments: list[str] | None = None) -> int:
    """Detaches from the caller and supervises. Returns 0 in the caller at once, and when another supervisor is
    there.
    """
    parser = argparse.ArgumentParser(prog="storage.embedded.supervisor", description=__doc__)
    parser.add_argument("home", type=Path)
    home = Home(parser.parse_args(arguments).home)
    records = Records(home)
    rotate(records.supervisor_log)
    if os.fork():
        return 0
    lock = take_lock(records.lock_path, wait_s=1.0)
    if lock is not None:
        Supervisor(home, lock).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
