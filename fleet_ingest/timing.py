"""What the times of one topic say: rate, pauses, steps back, repeats. This module knows no topics and no formats."""

from typing import TypedDict

import numpy as np

_GAP_PERIODS = 10.0


class Timing(TypedDict, total=False):
    """Rates in Hz, times in seconds."""

    rate_hz: float | None
    duration_s: float
    gaps: int
    longest_gap_s: float
    backwards: int
    repeated: int


def topic_timing(time_ns: np.ndarray) -> Timing:
    """Timing of int64 ns [n], in the order of the file. A pause is a step over 10 median steps and over 0.1 s."""
    steps = np.diff(time_ns)
    backwards, repeated = int((steps < 0).sum()), int((steps == 0).sum())
    ordered = np.unique(time_ns)
    forward = np.diff(ordered)
    if not forward.size:
        return {"backwards": backwards, "repeated": repeated}
    median = float(np.median(forward))
    gaps = forward > max(_GAP_PERIODS * median, 1e8)
    return {
        "rate_hz": float(f"{1e9 / median:.5g}"), "duration_s": float(ordered[-1] - ordered[0]) * 1e-9,
        "gaps": int(gaps.sum()), "longest_gap_s": float(forward.max()) * 1e-9, "backwards": backwards,
        "repeated": repeated,
    }  # fmt: skip
