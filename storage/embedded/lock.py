"""The lock that makes a supervisor the only one of its home; the kernel frees it when its holder ends, in any way."""

import fcntl
import os
import time
from pathlib import Path

_POLL_S = 0.05


def take_lock(path: Path, *, wait_s: float) -> int | None:
    """The lock's file descriptor, to be closed by the caller; None when somebody else held it for `wait_s` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_S)
