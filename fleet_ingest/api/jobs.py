"""Work on whole files (hashing, validation) beside the requests: one job per upload, a few at a time, with progress.

What a job leaves behind is in the catalog; a killed process starts it again when it is asked to, or when the janitor
finds the row. This module knows nothing of uploads but their ids.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Literal

from fleet_ingest.robot.protocol import Problem, Progress
from storage.contracts.errors import Sim2RealError

Phase = Literal["waiting", "verifying", "validating"]
_KEPT_PROBLEMS = 1000


class Report:
    """What a job says of itself while it runs."""

    def __init__(self) -> None:
        self.phase: Phase = "waiting"
        self.share: Callable[[], float] = lambda: 0.0
        self._since = time.monotonic()

    def enter(self, phase: Phase, share: Callable[[], float]) -> None:
        self.phase, self.share, self._since = phase, share, time.monotonic()

    def shown(self) -> Progress:
        share = min(1.0, max(0.0, self.share()))
        return Progress(phase=self.phase, share=share, elapsed_s=time.monotonic() - self._since)


class Jobs:
    """At most `workers` at once; the others wait."""

    def __init__(self, workers: int = 3) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Future[None], Report]] = {}
        self._problems: dict[int, Problem] = {}

    def start(self, id: int, work: Callable[[Report], None]) -> "Future[None]":
        """Starts `work` unless it runs already. The future's exception is what `work` raised."""
        with self._lock:
            if id not in self._running:
                report = Report()
                self._problems.pop(id, None)
                self._running[id] = (self._pool.submit(self._guarded, id, work, report), report)
            return self._running[id][0]

    def run(self, id: int, work: Callable[[Report], None], *, wait_s: float) -> bool:
        """`start`, and waits for the end. True if it ended; raises what it raised."""
        try:
            self.start(id, work).result(timeout=wait_s)
        except NotYet:
            return False
        return True

    def progress(self, id: int) -> Progress | None:
        with self._lock:
            found = self._running.get(id)
        return found[1].shown() if found else None

    def problem(self, id: int) -> Problem | None:
        """Why the last job of this upload failed, until another one begins."""
        with self._lock:
            return self._problems.get(id)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _guarded(self, id: int, work: Callable[[Report], None], report: Report) -> None:
        try:
            work(report)
        except Sim2RealError as error:
            self._note(id, Problem(code=getattr(error, "code", "error"), message=str(error), remedy=error.remedy))
            raise
        except Exception:
            self._note(id, Problem(code="error", message="the server failed at this file; its log says why"))
            raise
        finally:
            with self._lock:
                self._running.pop(id, None)

    def _note(self, id: int, problem: Problem) -> None:
        with self._lock:
            if len(self._problems) >= _KEPT_PROBLEMS:
                self._problems.pop(next(iter(self._problems)))
            self._problems[id] = problem
