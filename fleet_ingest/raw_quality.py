"""What is odd about a log before any meaning is given to its series: times, repeats, missing numbers, no checksums.

Flags inform; they remove nothing. Units, limits and stuck sensors need a mapping: `fleet_ingest.quality`.
"""

import numpy as np

from fleet_ingest.formats.rawlog import RawLog, Series
from fleet_ingest.timing import topic_timing
from storage.contracts.episode import QualityFlag

_SHARE = 0.5


def raw_flags(raw: RawLog) -> tuple[QualityFlag, ...]:
    """Flags of `raw`: time_backwards, duplicate, gap, not_a_number by topic; integrity_none for the file."""
    topics: dict[str, list[tuple[str, Series]]] = {}
    for name, series in raw.series.items():
        topics.setdefault(series.group, []).append((name, series))
    flags: list[QualityFlag] = []
    for topic, members in topics.items():
        time_ns = members[0][1].time_ns
        if time_ns is not None:
            flags += _time_flags(topic, time_ns, members)
        flags += _missing(topic, members)
    if raw.integrity == "none":
        flags.append(QualityFlag(code="integrity_none", detail=f"this {raw.format} file carries no checksums"))
    return tuple(flags)


def _time_flags(topic: str, time_ns: np.ndarray, members: list[tuple[str, Series]]) -> list[QualityFlag]:
    timing = topic_timing(time_ns)
    flags = []
    if back := timing.get("backwards", 0):
        detail = f"'{topic}': {back} messages are older than the one before them"
        flags.append(QualityFlag(code="time_backwards", channel=topic, count=back, detail=detail))
    if gaps := timing.get("gaps", 0):
        detail = f"'{topic}': pauses, the longest {timing['longest_gap_s']:.3g} s"
        flags.append(QualityFlag(code="gap", channel=topic, count=gaps, detail=detail))
    if timing.get("repeated", 0) and (twice := _duplicates(time_ns, members)):
        detail = f"'{topic}': messages that repeat the one before them, time and values"
        flags.append(QualityFlag(code="duplicate", channel=topic, count=twice, detail=detail))
    return flags


def _duplicates(time_ns: np.ndarray, members: list[tuple[str, Series]]) -> int:
    """Messages with the time and all values of the one before."""
    same = np.diff(time_ns) == 0
    for name, series in members:
        if name.endswith((".log_time", ".publish_time")) or not same.any():
            continue
        values = series.values
        equal = values[1:] == values[:-1]
        if values.dtype.kind == "f":
            equal |= np.isnan(values[1:]) & np.isnan(values[:-1])
        same &= equal if equal.ndim == 1 else equal.all(axis=1)
    return int(same.sum())


def _missing(topic: str, members: list[tuple[str, Series]]) -> list[QualityFlag]:
    """Fields with infinite values, or with a few that are no numbers; fields that are mostly empty are a choice."""
    count, named = 0, []
    for name, series in members:
        values = series.values
        if values.dtype.kind != "f" or values.ndim != 1 or not len(values):
            continue
        bad = ~np.isfinite(values)
        if 0 < bad.mean() < _SHARE:
            count += int(bad.sum())
            named.append(name)
    if not count:
        return []
    detail = f"in {', '.join(named[:8])}"[:300]
    return [QualityFlag(code="not_a_number", channel=topic or None, count=count, detail=detail)]
