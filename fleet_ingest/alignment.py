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
    names, values = [name for name, _ in states[:_STATES]], np.array([state for _, state in states[:_STATES]])
    peaks = [_peak(command, values, period_s, c, names) for c, command in commands] if names else []
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


def _peak(command: np.ndarray, states: np.ndarray, period_s: float, command_name: str, names: list[str]) -> _Peak:
    """The best state and pair. Command row t acts over [t, t + 1): its first effect is state[t + 1] - state[t].

    `command` is [T], `states` [S, T + 1].
    """
    first = np.diff(states, axis=1)
    second = np.diff(first, axis=1)
    change = np.diff(command)
    found = []
    for x, y in ((command, first), (change, second), (change, first[:, 1:]), (command[:-1], second)):
        confidence, lag_s = _correlate(x, y, period_s)
        best = int(np.argmax(confidence))
        found.append(_Peak(float(confidence[best]), float(lag_s[best]), command_name, names[best]))
    return max(found)


def _correlate(x: np.ndarray, y: np.ndarray, period_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(confidence [S], lag in s [S]) of each row of y [S, n] behind x [n].

    The null are lags from -longest to -1, which cannot be causes, and lags beyond twice the longest.
    """
    n = min(len(x), y.shape[1])
    x, y = x[:n] - x[:n].mean(), y[:, :n] - y[:, :n].mean(axis=1, keepdims=True)
    power = np.sqrt((x @ x) * (y * y).sum(axis=1))
    longest = max(2, min(int(_LONGEST_S / period_s), n // 4))
    size = 1 << int(np.ceil(np.log2(2 * n)))
    cross = np.fft.irfft(np.conj(np.fft.rfft(x, size)) * np.fft.rfft(y, size, axis=1), size, axis=1)
    cross = np.abs(cross) / np.where(power > 1e-12, power, np.inf)[:, None]
    causes, rows = cross[:, : longest + 1], np.arange(len(y))
    peak = np.argmax(causes, axis=1)
    null = np.concatenate([cross[:, -longest - 2 : -2], cross[:, 2 * longest : min(n - 2, 6 * longest)]], axis=1)
    chance = np.quantile(null, 0.95, axis=1)
    confidence = np.clip((causes[rows, peak] - chance) / np.maximum(1.0 - chance, 1e-9), 0.0, 1.0)
    inner = np.clip(peak, 1, longest - 1)
    left, middle, right = causes[rows, inner - 1], causes[rows, inner], causes[rows, inner + 1]
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=np.abs(bend) > 1e-12)
    return confidence, np.maximum(0.0, peak + np.where(inner == peak, shift, 0.0)) * period_s
