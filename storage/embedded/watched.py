"""The supervisor's side of a service that runs under its watcher: the lifetime pipe, who runs, and its end."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.embedded.files import read_json, remove
from storage.embedded.home import Home
from storage.embedded.probe import wait_until
from storage.embedded.process import is_alive
from storage.embedded.reap import kill_family
from storage.embedded.records import Child, Records

_LEFTOVERS_S = 12.0


class Pipe:
    """The write end of a service's lifetime pipe. It opens once the watcher reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end: int | None = None

    def connect(self) -> bool:
        if self._end is None:
            with contextlib.suppress(OSError):
                self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return self._end is not None

    def close(self) -> None:
        if self._end is not None:
            os.close(self._end)
            self._end = None


def pipe_path(runtime: Path, name: str) -> Path:
    return runtime / f"{name}.pipe"


def log_path(home: Home, name: str) -> Path:
    return home.logs_dir / f"{name}.log"


def mark_of(home: Home, name: str = "") -> str:
    """What processes of a service carry in their environment; without a name, the beginning that all of a home
    share.
    """
    return f"{home.key}/{name};" if name else f"{home.key}/"


class Watched:
    """A service under a watcher: one that we started (`process`), or one adopted from a killed supervisor (None)."""

    def __init__(self, home: Home, records: Records, name: str, process: "subprocess.Popen[bytes] | None") -> None:
        self._home, self._records, self._name, self._process = home, records, name, process
        self._pipe = Pipe(pipe_path(home.runtime_path, name))
        self._child: Child | None = None

    def connect(self) -> bool:
        """Opens the lifetime pipe once the watcher reads; True when it is open."""
        return self._pipe.connect()

    @property
    def child(self) -> Child | None:
        """Who runs, once the watcher has written it."""
        if self._child is None:
            self._child = self._records.child(self._name)
        return self._child

    def has_ended(self) -> bool:
        """Is the watcher gone, and so the service?"""
        if self._process is not None:
            return self._process.poll() is not None
        return self.child is None or not is_alive(self.child.watcher)

    def tell_to_stop(self) -> None:
        watcher = self.child.watcher if self.child is not None else None
        pid = self._process.pid if self._process is not None else watcher.pid if watcher is not None else None
        if pid is not None and not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the service and its watcher, at once."""
        kill_now(self._home, self._name)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)

    def close(self) -> int | None:
        """Puts the records away after the end; kills what a killed watcher left. The exit code where it is known."""
        self._pipe.close()
        last = self._records.child(self._name)
        code = last.exit_code if last is not None else None
        if code is None:
            kill_now(self._home, self._name)
        self._records.drop_child(self._name)
        return code


def kill_now(home: Home, name: str) -> None:
    """SIGKILL to a service with its watcher, at once."""
    kill_family(mark_of(home, name))


def end_leftovers(home: Home, records: Records, names: Iterable[str], without: Sequence[str] = ()) -> None:
    """Ends what a killed supervisor left of services `names`, and all else of this home but the services in `without`.

    Watchers are told to stop and get a few seconds for it; then all is killed, and their scratch files are removed.
    """
    found = {name: records.child(name) for name in names}
    watchers = [child.watcher for child in found.values() if child is not None and is_alive(child.watcher)]
    for watcher in watchers:
        if watcher is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(watcher.pid, signal.SIGTERM)
    wait_until(lambda: not any(is_alive(watcher) for watcher in watchers), _LEFTOVERS_S)
    kill_family(mark_of(home), without=[mark_of(home, name) for name in without])
    for name in found:
        order = read_json(records.launch_path(name))
        for path in order.get("scratch", ()) if isinstance(order, dict) else ():
            remove(Path(path))
        records.drop_child(name)
