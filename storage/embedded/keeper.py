"""Brings the supervisor up, and brings it back when it was killed under a command that holds a lease.

The new supervisor adopts the services, which outlive a killed one for a few seconds: the command notices nothing.
"""

import subprocess
import sys
import threading

from storage.embedded.environment import clean_environment
from storage.embedded.home import Home
from storage.embedded.process import is_alive
from storage.embedded.records import Records

_INTERVAL_S = 0.5
_START_TIMEOUT_S = 60.0


def start_supervisor(home: Home, records: Records) -> None:
    """Starts a supervisor, detached from this process and its terminal. It goes away again if there is one already."""
    with records.supervisor_log.open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "storage.embedded.supervisor", str(home.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            cwd=home.path,
            start_new_session=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )


class Keeper:
    """A thread that looks after the supervisor until `stop`. A supervisor that stopped in order stays stopped."""

    def __init__(self, home: Home, records: Records) -> None:
        self._home, self._records = home, records
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stack-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no supervisor is being started any more."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            # the state outlives only a supervisor that was killed
            state = self._records.state()
            if state is not None and not state.stopping and not is_alive(state.supervisor):
                start_supervisor(self._home, self._records)
