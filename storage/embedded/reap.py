"""Ends a service's processes, all of them: children, their children, and daemons that left the process group.

Who belongs to a service is found three ways, closed over each other: the mark in the environment (inherited by
everything that the service starts), descent, and the session. Ray's daemons leave the group and its workers overwrite
their environment, so that no single way finds all. psutil is imported when first needed: the watcher stays small
until then.
"""

import os
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "SIM2REAL_SERVICE"
_ROUNDS = 5


def family(mark: str, session: int | None = None, without: Sequence[str] = ()) -> "list[psutil.Process]":
    """This user's running processes that carry `mark` (a prefix), are in `session`, or stem from one that is or does.

    Never this process, nor what carries one of the marks in `without`.
    """
    import psutil

    ours = [p for p in psutil.process_iter() if p.pid != os.getpid() and _is_ours(p)]
    alive = [p for p in ours if not any(_carries(p, other) for other in without)]
    found = {p.pid for p in alive if _carries(p, mark)}
    # a service is a session of its own, led by its first process, which may be gone
    sessions = set() if session is None else {session}
    grown = True
    while grown:
        grown = False
        for process in alive:
            if process.pid not in found and (_parent(process) in found or _session(process.pid) in found | sessions):
                found.add(process.pid)
                grown = True
    return [p for p in alive if p.pid in found]


def end_family(mark: str, pid: int, timeout_s: float | None) -> None:
    """SIGTERM to `pid`, up to `timeout_s` seconds for it to go, then everything that is left: SIGTERM, 1 s, SIGKILL.

    `timeout_s` None says that `pid` has ended and been reaped already. Otherwise the caller reaps it; a zombie counts
    as gone.
    """
    import psutil

    if timeout_s is not None and _signal(pid, signal.SIGTERM):
        _wait_gone(pid, timeout_s)
    for round_ in range(_ROUNDS):
        left = family(mark, pid)
        if not left:
            return
        if round_ == 0:
            for process in left:
                _signal(process.pid, signal.SIGTERM)
            _, left = psutil.wait_procs(left, timeout=1.0)
        for process in left:
            _signal(process.pid, signal.SIGKILL)
        psutil.wait_procs(left, timeout=1.0)


def kill_family(mark: str, without: Sequence[str] = ()) -> int:
    """SIGKILL to all that carries `mark` but to those who carry one of `without`; the number of processes killed."""
    found = family(mark, without=without)
    for process in found:
        _signal(process.pid, signal.SIGKILL)
    return len(found)


def _wait_gone(pid: int, timeout_s: float) -> None:
    from storage.embedded.process import start_mark

    deadline = time.monotonic() + timeout_s
    while start_mark(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_ours(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.uids().real == os.getuid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _carries(process: "psutil.Process", mark: str) -> bool:
    import psutil

    try:
        return process.environ().get(MARK, "").startswith(mark)
    except (psutil.Error, OSError):
        return False


def _parent(process: "psutil.Process") -> int | None:
    import psutil

    try:
        return process.ppid()
    except psutil.Error:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
