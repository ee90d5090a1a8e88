"""A bandwidth cap: bytes are handed out no faster than a rate, measured over the whole of what is sent."""

import threading
import time
from collections.abc import Callable, Iterator

_CHUNK = 64 * 1024
_IDLE_S = 0.25
"""With it no 10 s carry more than 2.5 % above the rate."""


class Throttle:
    """At most `bytes_per_s`, all threads together; a pause in sending saves up no more than `_IDLE_S` seconds of it."""

    def __init__(self, bytes_per_s: float, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._rate = bytes_per_s
        self._sleep = sleep
        self._due = time.monotonic()
        self._turn = threading.Lock()

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """`data` in pieces, each when its turn has come."""
        step = int(max(1024, min(_CHUNK, self._rate / 20)))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            now = time.monotonic()
            with self._turn:
                self._due = due = max(self._due, now - _IDLE_S) + len(piece) / self._rate
            if due > now:
                self._sleep(due - now)
            yield piece
