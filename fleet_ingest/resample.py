"""One signal on a uniform grid of times, according to its kind: interpolated, held, averaged, or gathered as events.

Angles are unwrapped before they are interpolated (and stay unwrapped), directions and orientations are normalised
again, signals slower than the grid are held and count as measured only where a sample came. This module knows no
channel names.
"""

from typing import Literal, NamedTuple

import numpy as np

from storage.contracts.channel import Kind

_SLOW = 1.5  # a signal is slower than the grid when its own period is over this many grid periods
_BRIDGE = 3.0  # interpolation bridges missing samples up to this many of the signal's own periods


class Track(NamedTuple):
    """A signal as logged, in SI: int64 ns [n] increasing, float64 [n, k], NaN where nothing was measured."""

    time_ns: np.ndarray
    values: np.ndarray


class Sampled(NamedTuple):
    """A signal on a grid of g times: float64 [g, k] finite everywhere, bool [g] True where measured."""

    values: np.ndarray
    valid: np.ndarray


def on_grid(
    track: Track, kind: Kind, mode: str, grid_ns: np.ndarray, *, fill: float = 0.0, held_valid: bool = False
) -> Sampled:
    """`track` at int64 ns [g]; `mode` is linear, hold or mean. `fill` stands where nothing was ever measured.

    `held_valid` (for commands): a sample stays in force until the next one, also when the signal is sparse.
    """
    measured = np.isfinite(track.values).all(axis=1)
    if not measured.any():
        return Sampled(np.full((len(grid_ns), track.values.shape[1]), fill), np.zeros(len(grid_ns), dtype=bool))
    if kind == Kind.EVENT:
        return _events(track, measured, grid_ns, forward=held_valid)
    time, values = track.time_ns[measured], _regular(track.values[measured], kind)
    period = float(np.median(np.diff(grid_ns))) if len(grid_ns) > 1 else 1.0
    own = float(np.median(np.diff(time))) if len(time) > 1 else np.inf
    slow = own > _SLOW * period
    if mode == "mean":
        return _mean(time, values, grid_ns, period)
    if mode == "linear" and not slow:
        return _linear(time, values, kind, grid_ns, max(_BRIDGE * own, _SLOW * period))
    row = np.searchsorted(time, grid_ns, side="right") - 1
    values = values[np.maximum(row, 0)]
    if not held_valid and slow:
        return Sampled(values, _fresh(time, row, grid_ns, period))
    if len(track.time_ns) > 1 and own > _SLOW * float(np.median(np.diff(track.time_ns))):
        stale = grid_ns - time[np.maximum(row, 0)] > _BRIDGE * own
        return Sampled(values, (row >= 0) & (held_valid | ~stale))
    return Sampled(values, _logged(track.time_ns, measured, grid_ns))


def _regular(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Values [n, k] without wraps, without changes of a quaternion's sign, of unit length where the kind has it."""
    if kind == Kind.ANGLE:
        return np.unwrap(values, axis=0)
    if kind == Kind.ORIENTATION:
        flips = np.sum(values[1:] * values[:-1], axis=1) < 0
        signs = np.concatenate([[1.0], np.where(np.cumsum(flips) % 2 == 1, -1.0, 1.0)])
        return _unit(values * signs[:, None])
    return _unit(values) if kind == Kind.DIRECTION else values


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12))


def _linear(time: np.ndarray, values: np.ndarray, kind: Kind, grid_ns: np.ndarray, bridge_ns: float) -> Sampled:
    after = np.minimum(np.searchsorted(time, grid_ns, side="left"), len(time) - 1)
    before = np.maximum(np.searchsorted(time, grid_ns, side="right") - 1, 0)
    inside = (grid_ns >= time[0]) & (grid_ns <= time[-1])
    x, at = (time - grid_ns[0]) * 1e-9, (grid_ns - grid_ns[0]) * 1e-9
    out = np.stack([np.interp(at, x, values[:, i]) for i in range(values.shape[1])], axis=1)
    if kind in (Kind.DIRECTION, Kind.ORIENTATION):
        out = _unit(out)
    return Sampled(out, inside & (time[after] - time[before] <= bridge_ns))


def _logged(time: np.ndarray, measured: np.ndarray, grid_ns: np.ndarray) -> np.ndarray:
    """True where the last row at or before each grid time held a value."""
    row = np.searchsorted(time, grid_ns, side="right") - 1
    return np.asarray((row >= 0) & measured[np.maximum(row, 0)], dtype=bool)


def _fresh(time: np.ndarray, row: np.ndarray, grid_ns: np.ndarray, period: float) -> np.ndarray:
    """True at the first grid time at or after each sample."""
    new = np.concatenate([[row[0] >= 0 and grid_ns[0] - time[max(row[0], 0)] < period], np.diff(row) > 0])
    return np.asarray(new & (row >= 0), dtype=bool)


def _mean(time: np.ndarray, values: np.ndarray, grid_ns: np.ndarray, period: float) -> Sampled:
    """The held signal's mean over [grid[i], grid[i + 1]): what acted, on average, in that interval."""
    edges = np.append(grid_ns, grid_ns[-1] + np.int64(period))
    x, at = (time - grid_ns[0]) * 1e-9, (edges - grid_ns[0]) * 1e-9
    area = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values[:-1] * np.diff(x)[:, None], axis=0)])
    row = np.maximum(np.searchsorted(x, at, side="right") - 1, 0)
    integral = area[row] + values[row] * (at - x[row])[:, None]
    return Sampled(np.diff(integral, axis=0) / np.diff(at)[:, None], np.asarray(grid_ns + np.int64(period) > time[0]))


def _events(track: Track, measured: np.ndarray, grid_ns: np.ndarray, *, forward: bool) -> Sampled:
    """1 at the grid time that ends the interval in which it happened; with `forward` at the one that begins it."""
    happened = measured & (np.nan_to_num(track.values) != 0).any(axis=1)
    side: Literal["left", "right"] = "right" if forward else "left"
    shift = -1 if forward else 0
    at = np.searchsorted(grid_ns, track.time_ns[happened], side=side) + shift
    out = np.zeros((len(grid_ns), track.values.shape[1]))
    out[at[(at >= 0) & (at < len(grid_ns))]] = 1.0
    return Sampled(out, np.ones(len(grid_ns), dtype=bool))
