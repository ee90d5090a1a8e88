"""Waiting between attempts: twice as long each time up to a cap, with jitter, and short again after a success."""

import random
from collections.abc import Callable


class Backoff:
    """`next()` gives the seconds to wait before another attempt, between half and all of `first_s` * 2^n."""

    def __init__(
        self, first_s: float, longest_s: float, *, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first_s, self._longest_s, self._uniform = first_s, longest_s, uniform
        self._wait_s = first_s

    def next(self) -> float:
        # Jitter, so that a fleet does not return in step after an outage.
        wait_s = self._wait_s * self._uniform(0.5, 1.0)
        self._wait_s = min(2 * self._wait_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        self._wait_s = self._first_s
