"""What a piece of a log looks like to a careful reader: missing values, stuck sensors, limits, jitter, wrong units.

Flags inform; they remove nothing. Codes: not_a_number, stuck, out_of_limits, jitter, clock_rate, derivative_mismatch.
"""

import numpy as np

from fleet_ingest.mapping import ChannelMap, Mapping
from fleet_ingest.resample import Track
from storage.contracts.channel import DISCRETE, Kind, Role
from storage.contracts.episode import QualityFlag

_STUCK_S = 1.0
_STUCK_ROWS = 20
_JITTER = 0.2
_DEGREE = np.pi / 180


def flags_of(mapping: Mapping, tracks: dict[str, Track], time_ns: np.ndarray) -> list[QualityFlag]:
    """Flags of one piece: its tracks (SI, within the piece) and the times of its rows, int64 ns [n]."""
    flags = _clock_flags(mapping, time_ns)
    for channel in mapping.channels:
        track = tracks.get(channel.name)
        if track is not None and len(track.time_ns):
            flags += _channel_flags(channel, track)
            parent = tracks.get(channel.derivative_of or "")
            if parent is not None:
                flags += _derivative_flag(channel, parent, track)
    return flags


def _clock_flags(mapping: Mapping, time_ns: np.ndarray) -> list[QualityFlag]:
    steps = np.diff(time_ns) * 1e-9
    if not steps.size:
        return []
    median, flags = float(np.median(steps)), []
    off = int((np.abs(steps - median) > _JITTER * median).sum())
    if off:
        longest_ms = float(steps.max()) * 1e3
        detail = f"steps over {_JITTER:.0%} off the median of {median * 1e3:.3g} ms; the longest is {longest_ms:.3g} ms"
        flags.append(QualityFlag(code="jitter", count=off, detail=detail))
    nominal = mapping.nominal_rate_hz
    mean = 1.0 / float(steps.mean())
    if nominal is not None and abs(mean / nominal - 1) > 0.02:
        flags.append(QualityFlag(code="clock_rate", detail=f"mean rate {mean:.4g} Hz, nominal {nominal:.4g} Hz"))
    return flags


def _channel_flags(channel: ChannelMap, track: Track) -> list[QualityFlag]:
    flags, name = [], channel.name
    finite = np.isfinite(track.values).all(axis=1)
    if missing := int((~finite).sum()):
        flags.append(QualityFlag(code="not_a_number", channel=name, count=missing, detail=f"of {len(finite)} samples"))
    limits = channel.channel.limits
    if limits is not None:
        slack = 1e-6 * (limits[1] - limits[0])
        outside = int(((track.values < limits[0] - slack) | (track.values > limits[1] + slack)).any(axis=1).sum())
        if outside:
            detail = f"limits {limits[0]:g} to {limits[1]:g} {channel.channel.unit}"
            flags.append(QualityFlag(code="out_of_limits", channel=name, count=outside, detail=detail))
    if channel.role == Role.STATE and channel.kind not in DISCRETE and finite.sum() > 2:
        flags += _stuck_flag(name, track.time_ns[finite], track.values[finite])
    return flags


def _stuck_flag(name: str, time_ns: np.ndarray, values: np.ndarray) -> list[QualityFlag]:
    """The longest stretch of exactly equal values, when it is long and the signal moves elsewhere, or never moves at
    all.
    """
    changes = np.flatnonzero((np.diff(values, axis=0) != 0).any(axis=1)) + 1
    edges = np.concatenate([[0], changes, [len(values)]])
    longest = int(np.argmax(np.diff(edges)))
    first, last = int(edges[longest]), int(edges[longest + 1]) - 1
    seconds = float(time_ns[last] - time_ns[first]) * 1e-9
    if last - first + 1 < _STUCK_ROWS or seconds < _STUCK_S:
        return []
    return [
        QualityFlag(code="stuck", channel=name, count=last - first + 1, detail=f"the same value for {seconds:.2f} s")
    ]


def _derivative_flag(channel: ChannelMap, parent: Track, track: Track) -> list[QualityFlag]:
    """Compares d/dt of the parent with the channel: a clear slope far from 1 means a wrong unit, sign or scale."""
    slope, correlation = derivative_fit(parent, track, angle=False)
    if channel.kind in (Kind.DIRECTION, Kind.ORIENTATION) or abs(correlation) < 0.9 or 0.6 < slope < 1.6:
        return []
    ratio = abs(slope)
    degrees = 0.6 < ratio * _DEGREE < 1.6 or 0.6 < ratio / _DEGREE < 1.6
    cause = "the sign is turned" if 0.6 < ratio < 1.6 else "one is in degrees" if degrees else "a wrong unit"
    detail = (
        f"it is {slope:.4g} times d/dt of '{channel.derivative_of}' (correlation {correlation:.3f}): perhaps {cause}"
    )
    return [QualityFlag(code="derivative_mismatch", channel=channel.name, detail=detail)]


def derivative_fit(parent: Track, track: Track, *, angle: bool) -> tuple[float, float]:
    """(slope, correlation) of `track` against d/dt of `parent`, over windows of a few samples; (0, 0) when undecided.

    `angle` unwraps the parent, in radians.
    """
    if (
        len(parent.time_ns) != len(track.time_ns)
        or parent.values.shape != track.values.shape
        or len(track.time_ns) < 20
    ):
        return 0.0, 0.0
    good = np.isfinite(parent.values).all(axis=1) & np.isfinite(track.values).all(axis=1)
    time, position, rate = track.time_ns[good] * 1e-9, parent.values[good], track.values[good]
    if len(time) < 20:
        return 0.0, 0.0
    position = np.unwrap(position, axis=0) if angle else position
    span = 4
    step = (time[span:] - time[:-span])[:, None]
    numeric = (position[span:] - position[:-span]) / step
    area = np.concatenate(
        [np.zeros((1, rate.shape[1])), np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(time)[:, None], axis=0)]
    )
    logged = (area[span:] - area[:-span]) / step
    x, y = numeric.ravel(), logged.ravel()
    keep = np.abs(x) <= np.quantile(np.abs(x), 0.99)
    x, y = x[keep], y[keep]
    if x.std() < 1e-12 or y.std() < 1e-12:
        return 0.0, 0.0
    return float(x @ y / (x @ x)), float(np.corrcoef(x, y)[0, 1])
