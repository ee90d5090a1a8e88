"""Tells whether a recorded process is still the same process: by pid, start mark and boot id. Standard library only
on Linux; elsewhere psutil is imported when first needed. A zombie counts as gone. This module sends no signals.
"""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """A process for good: pids are reused, and everything is void after a reboot."""

    pid: int
    started: str
    """Start time as the kernel keeps it: clock ticks since boot on Linux, seconds since the epoch elsewhere."""
    boot: str


def identify(pid: int) -> Identity | None:
    """The identity of a running process; None when there is none."""
    started = start_mark(pid)
    return None if started is None else Identity(pid, started, boot_id())


def own_identity() -> Identity:
    return Identity(os.getpid(), start_mark(os.getpid()) or "", boot_id())


def is_alive(identity: Identity | None) -> bool:
    """Does this very process still run?"""
    return identity is not None and identity.boot == boot_id() and start_mark(identity.pid) == identity.started


def parse_identity(value: object) -> Identity | None:
    """An identity from its JSON form, [pid, started, boot]; None when it is something else."""
    match value:
        case [int(pid), str(started), str(boot)]:
            return Identity(pid, started, boot)
    return None


def start_mark(pid: int) -> str | None:
    """When the process started; None when it is gone or a zombie."""
    if not _has_proc():
        return _start_mark_psutil(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib would double the watcher's imports
            after_name = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc_pid_stat(5): field 3 is the state, field 22 the start time
    return None if after_name[0] in (b"Z", b"X") else after_name[19].decode()


@cache
def boot_id() -> str:
    """A name for this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _boot_id_elsewhere()


@cache
def _has_proc() -> bool:
    return os.path.exists("/proc/self/stat")  # noqa: PTH110


def _start_mark_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def _boot_id_elsewhere() -> str:
    import subprocess

    import psutil

    try:
        found = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return f"boot-{psutil.boot_time():.0f}"
    return found.stdout.strip() or f"boot-{psutil.boot_time():.0f}"
