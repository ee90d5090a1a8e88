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

from storage.embedded.process import start_mark

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
    if timeout_s is not None and _signal(pid, signal.SIGTERM):
        _wait_gone([pid], timeout_s)
    left = [process.pid for process in family(mark, pid)]
    for member in left:
        _signal(member, signal.SIGTERM)
    _wait_gone(left, 1.0)
    kill_family(mark, session=pid)


def kill_family(mark: str, session: int | None = None, without: Sequence[str] = ()) -> None:
    """SIGKILL to all that carries `mark` or is in `session`, but not to those who carry one of `without`.

    Returns when they are gone and their ports are free. Looks again: one may have forked just before it was killed.
    """
    for _ in range(_ROUNDS):
        found = [process.pid for process in family(mark, session, without)]
        if not found:
            return
        for pid in found:
            _signal(pid, signal.SIGKILL)
        _wait_gone(found, 2.0)


def _wait_gone(pids: Sequence[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(start_mark(pid) is not None for pid in pids) and time.monotonic() < deadline:
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
