"""How late the state answers the command: the lag at which their changes correlate most.

A command may set a position, a speed or a force, so its value and its change are tried against the first and the second
change of each state. The confidence compares the peak with the correlations at lags that cannot be causes. This module
corrects nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fleet_ingest.card import Lag
from storage.contracts.channel import DISCRETE
from storage.contracts.episode import Episode

_LONGEST_S = 0.5
_ROWS = 20_000
_LEAST_ROWS = 50
_LEAST_CONFIDENCE = 0.1
_COMMANDS, _STATES = 8, 32


class _Peak(NamedTuple):
    confidence: float
    lag_s: float
    command: str
    state: str


def lag_of(episodes: Sequence[Episode]) -> Lag | None:
    """The lag of the longest episode, or None where no state seems to follow a command.

    Seconds from the command to the change of the state, at the resolution of a fraction of a period.
    """
    if not episodes:
        return None
    episode = max(episodes, key=lambda e: e.steps)
    if episode.steps < _LEAST_ROWS:
        return None
    steps = min(episode.steps, _ROWS)
    period_s = float(np.median(np.diff(episode.time_ns[: steps + 1]))) * 1e-9
    discrete = episode.spec.state_layout.mask(DISCRETE)
    commands = _moving(episode.command[:steps], episode.spec.command_layout.columns)[:_COMMANDS]
    states = [
        s for i, s in _enumerated(episode.state[: steps + 1], episode.spec.state_layout.columns) if not discrete[i]
    ]
    peaks = [_peak(command, state, period_s, c, s) for c, command in commands for s, state in states[:_STATES]]
    best = max(peaks, default=None)
    if best is None or best.confidence < _LEAST_CONFIDENCE:
        return None
    return Lag(seconds=round(best.lag_s, 5), confidence=round(best.confidence, 3), command=best.command,
               state=best.state)  # fmt: skip


def _enumerated(values: np.ndarray, names: tuple[str, ...]) -> list[tuple[int, tuple[str, np.ndarray]]]:
    return [(i, (names[i], values[:, i])) for i in range(values.shape[1]) if _moves(values[:, i])]


def _moving(values: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    return [entry for _, entry in _enumerated(values, names)]


def _moves(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and np.ptp(values) > 1e-12 and (np.diff(values) != 0).sum() > 5)


def _peak(command: np.ndarray, state: np.ndarray, period_s: float, command_name: str, state_name: str) -> _Peak:
    """The best of the four pairs. Command row t acts over [t, t + 1): its first effect is state[t + 1] - state[t]."""
    first = np.diff(state)
    pairs = [(command, first), (np.diff(command), np.diff(first)), (np.diff(command), first[1:]),
             (command[:-1], np.diff(first))]  # fmt: skip
    found = [_correlate(x, y, period_s) for x, y in pairs]
    confidence, lag_s = max(found)
    return _Peak(confidence, lag_s, command_name, state_name)


def _correlate(x: np.ndarray, y: np.ndarray, period_s: float) -> tuple[float, float]:
    """(confidence, lag in s) of y behind x [n]. The null are lags from -longest to -1 and beyond twice the longest."""
    n = min(len(x), len(y))
    x, y = x[:n] - x[:n].mean(), y[:n] - y[:n].mean()
    power = float(np.sqrt((x @ x) * (y @ y)))
    longest = max(2, min(int(_LONGEST_S / period_s), n // 4))
    if power < 1e-12:
        return 0.0, 0.0
    size = 1 << int(np.ceil(np.log2(2 * n)))
    cross = np.fft.irfft(np.conj(np.fft.rfft(x, size)) * np.fft.rfft(y, size), size) / power
    causes = np.abs(cross[: longest + 1])
    peak = int(np.argmax(causes))
    null = np.abs(np.concatenate([cross[-longest - 2 : -2], cross[2 * longest : min(n - 2, 6 * longest)]]))
    chance = float(np.quantile(null, 0.95)) if null.size else 1.0
    confidence = max(0.0, float(causes[peak]) - chance) / max(1.0 - chance, 1e-9)
    shift = 0.0
    if 0 < peak < longest:
        left, middle, right = causes[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        shift = float(0.5 * (left - right) / bend) if abs(bend) > 1e-12 else 0.0
    return min(1.0, confidence), max(0.0, (peak + shift) * period_s)
