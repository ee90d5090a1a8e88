"""The watcher that each service runs under: `python -m storage.embedded.child LAUNCH.json`.

It holds the read end of a named pipe whose write end the supervisor holds. When the pipe closes because the
supervisor died, and no new supervisor opens it within the grace time, it ends the service and everything that the
service started. A new supervisor adopts a service by opening the pipe. The watcher restarts nothing and judges no
health.

It lives as long as the service, once per service, so it imports little: no pathlib, no subprocess; psutil only at the
end.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

from storage.embedded.process import identify, own_identity

_POLL_S = 0.1


def main(launch_path: str) -> int:
    with open(launch_path, "rb") as file:  # noqa: PTH123
        launch = json.load(file)
    return Watcher(launch).run()


class Watcher:
    """Starts one service, waits for its end or for its supervisor's, and leaves nothing of it behind."""

    def __init__(self, launch: dict[str, Any]) -> None:
        self.launch = launch
        self.pid = 0
        self.exit_code: int | None = None
        self.told_to_stop = False
        self.orphan_since: float | None = None

    def run(self) -> int:
        wake = self._catch_signals()
        pipe = os.open(self.launch["pipe"], os.O_RDONLY | os.O_NONBLOCK)
        self.pid = self._start()
        self._record()
        while not self._over():
            self._wait(pipe, wake)
        self._end()
        self._clear()
        self._record()
        return 0

    def _catch_signals(self) -> int:
        read_end, write_end = os.pipe()
        for end in (read_end, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        return read_end

    def _on_stop(self, *_: object) -> None:
        self.told_to_stop = True

    def _start(self) -> int:
        """Forks and executes the service as leader of its own session, output to its log."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            log = os.open(self.launch["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.closerange(3, 64)
            os.chdir(self.launch["cwd"])
            os.execvpe(self.launch["argv"][0], self.launch["argv"], self.launch["env"])
        except OSError as error:
            os.write(2, f"cannot start {self.launch['argv'][0]!r}: {error}\n".encode())
        finally:
            os._exit(127)

    def _over(self) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        grace_over = self.orphan_since is not None and time.monotonic() - self.orphan_since > self.launch["grace_s"]
        return self.exit_code is not None or self.told_to_stop or grace_over

    def _wait(self, pipe: int, wake: int) -> None:
        """Sleeps until a signal, or until the supervisor's end of the pipe closes or opens again."""
        try:
            orphaned = os.read(pipe, 64) == b""
        except BlockingIOError:
            orphaned = False
        if not orphaned:
            self.orphan_since = None
            ready = select.select([pipe, wake], [], [])[0]
        else:
            self.orphan_since = self.orphan_since or time.monotonic()
            ready = select.select([wake], [], [], _POLL_S)[0]
        if wake in ready:
            os.read(wake, 64)

    def _end(self) -> None:
        import site

        site.main()  # started without site-packages, where psutil is
        from storage.embedded.reap import end_family

        end_family(self.launch["mark"], self.pid, self.launch["stop_timeout_s"] if self.exit_code is None else None)
        if self.exit_code is None:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _clear(self) -> None:
        """Removes what the service leaves outside the home; the runtime directory too when this was the last one in
        it.
        """
        import shutil

        for path in self.launch["scratch"]:
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.lexists(path):
                os.unlink(path)  # noqa: PTH108
        if self.orphan_since is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.launch["pipe"])  # noqa: PTH108
                os.rmdir(self.launch["runtime"])  # noqa: PTH106

    def _record(self) -> None:
        """Writes who runs, or with what code it ended, for this supervisor and the next."""
        child = identify(self.pid)
        record = {
            "watcher": own_identity(),
            "child": child,
            "pid": self.pid,
            "digest": self.launch["digest"],
            "exit_code": self.exit_code,
            "log_offset": self.launch["log_offset"],
            "started_ns": self.launch["started_ns"],
        }
        temporary = f"{self.launch['record']}.{os.getpid()}"
        with open(temporary, "w") as file:  # noqa: PTH123
            json.dump(record, file)
        os.replace(temporary, self.launch["record"])  # noqa: PTH105


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
