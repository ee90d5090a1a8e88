"""The result card of one file: what an operator is shown of it, as JSON.

A card is small (at most `SERIES` series of `POINTS` points) and holds no bytes of the file beyond names and decimated
values. This module reads no files and draws nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from fleet_ingest.formats.rawlog import Integrity, RawLog, Salvage, Series
from fleet_ingest.reasons import reason
from fleet_ingest.timing import topic_timing
from storage.contracts.base import Contract
from storage.contracts.episode import Episode, QualityFlag

POINTS = 300
SERIES = 48
FIELDS = 64
TOPICS = 500


class TopicCard(Contract):
    """One topic (message logs) or the table. Counts of messages or rows; rates in Hz, times in seconds.

    `said` is what the file's own statistics count, None where it has none.
    """

    name: str
    type: str = ""
    encoding: str = ""
    decoded: int
    said: int | None = None
    reason: str = ""
    rate_hz: float | None = None
    duration_s: float = 0.0
    gaps: int = 0
    longest_gap_s: float = 0.0
    backwards: int = 0
    repeated: int = 0
    fields: tuple[str, ...] = ()


class PlotSeries(Contract):
    """One decimated channel: `t_s` seconds from the start of the file, `values` with None where nothing was measured.

    Both [n], n <= 300. Minima and maxima of each stretch are kept, so that no spike is lost.
    """

    name: str
    unit: str = ""
    role: str = ""
    t_s: tuple[float, ...]
    values: tuple[float | None, ...]


class Lag(Contract):
    """How late the state answers the command, in seconds, with a confidence from 0 to 1."""

    seconds: float
    confidence: float = Field(ge=0, le=1)
    command: str = ""
    state: str = ""


class SalvageCard(Contract):
    """What was kept of a broken file: `kept` messages or rows; from byte `lost_from_byte` on data were lost."""

    kept: int
    lost_from_byte: int | None = None
    file_bytes: int = 0


class FileCard(Contract):
    """What became of one file. `words` and `remedy` are for people; `releasable`: a person may overrule it."""

    format: str = "unknown"
    state: Literal["accepted", "salvaged", "quarantined"]
    code: str = ""
    words: str = ""
    detail: str = ""
    remedy: str = ""
    releasable: bool = False
    file_bytes: int = 0
    start_ns: int | None = None
    duration_s: float = 0.0
    rate_hz: float | None = None
    episodes: int = 0
    gaps: int = 0
    topics: tuple[TopicCard, ...] = ()
    topics_left_out: int = 0
    integrity: Integrity = "none"
    salvage: SalvageCard | None = None
    lag: Lag | None = None
    flags: tuple[QualityFlag, ...] = ()
    series: tuple[PlotSeries, ...] = ()
    series_left_out: int = 0
    media: tuple[str, ...] = ()


class _Verdict(Protocol):
    """What is needed of `fleet_ingest.validate.Verdict`."""

    @property
    def state(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def flags(self) -> tuple[QualityFlag, ...]: ...
    @property
    def gaps(self) -> int: ...
    @property
    def rate_hz(self) -> float: ...


def card_of(
    raw: RawLog | None,
    verdict: _Verdict,
    *,
    episodes: Sequence[Episode] = (),
    lag: Lag | None = None,
    file_bytes: int = 0,
    time_ns: np.ndarray | None = None,
) -> FileCard:
    """The card of one file: `raw` is None when nothing of it could be read.

    With `episodes` their channels are plotted, in SI units, else the file's own series. `time_ns` int64 [n] are the
    times of a table's rows where they are known.
    """
    why = reason(verdict.code) if verdict.code else None
    topics = () if raw is None else _topics(raw, time_ns)
    start, end = _span(raw, episodes, time_ns)
    series, left = _plots(raw, episodes, start, time_ns)
    return FileCard.model_validate(
        {
            "format": "unknown" if raw is None else raw.format, "state": verdict.state, "code": verdict.code,
            "words": why.words if why else "", "detail": verdict.detail[:2000],
            "remedy": verdict.remedy or (why.remedy if why else ""),
            "releasable": bool(why and why.releasable and verdict.state == "quarantined"), "file_bytes": file_bytes,
            "start_ns": start, "duration_s": 0.0 if start is None or end is None else (end - start) * 1e-9,
            "rate_hz": verdict.rate_hz or None, "episodes": len(episodes), "gaps": verdict.gaps,
            "topics": topics[:TOPICS], "topics_left_out": max(0, len(topics) - TOPICS),
            "integrity": "none" if raw is None else raw.integrity,
            "salvage": None if raw is None else _salvage(raw.salvaged), "lag": lag, "flags": verdict.flags,
            "series": series, "series_left_out": left, "media": () if raw is None else tuple(m.name for m in raw.media),
        }
    )  # fmt: skip


def _salvage(found: Salvage | None) -> SalvageCard | None:
    if found is None:
        return None
    return SalvageCard(kept=found.kept, lost_from_byte=found.lost_from_byte, file_bytes=found.file_bytes)


def _topics(raw: RawLog, time_ns: np.ndarray | None) -> tuple[TopicCard, ...]:
    fields: dict[str, list[str]] = {}
    times: dict[str, np.ndarray] = {}
    for name, series in raw.series.items():
        fields.setdefault(series.group, []).append(name)
        if series.time_ns is not None:
            times.setdefault(series.group, series.time_ns)
    cards = []
    for topic in raw.topics:
        group = topic.name if topic.name in fields else ""
        found = times.get(group, time_ns if group == "" and len(raw.topics) == 1 else None)
        timing = topic_timing(found) if found is not None and len(found) else {}
        cards.append(
            TopicCard(
                name=topic.name, type=topic.type, encoding=topic.encoding, decoded=topic.decoded, said=topic.said,
                reason=topic.reason, fields=tuple(fields.get(group, ())[:FIELDS]), **timing,
            )
        )  # fmt: skip
    return tuple(cards)


def _span(raw: RawLog | None, episodes: Sequence[Episode], time_ns: np.ndarray | None) -> tuple[int | None, int | None]:
    """First and last time of the file, ns."""
    arrays = [series.time_ns for series in raw.series.values()] if raw is not None else []
    found = [a for a in arrays if a is not None and len(a)]
    if time_ns is not None and len(time_ns):
        found.append(time_ns[time_ns != np.iinfo(np.int64).min])
    found = [a for a in found if len(a)] or [episode.time_ns for episode in episodes]
    if not found:
        return None, None
    return min(int(a.min()) for a in found), max(int(a.max()) for a in found)


def _plots(
    raw: RawLog | None, episodes: Sequence[Episode], start: int | None, time_ns: np.ndarray | None
) -> tuple[tuple[PlotSeries, ...], int]:
    made = _of_episodes(episodes, start or 0) if episodes else [] if raw is None else _of_raw(raw, start, time_ns)
    return tuple(made[:SERIES]), max(0, len(made) - SERIES)


def _of_episodes(episodes: Sequence[Episode], start: int) -> list[PlotSeries]:
    spec = episodes[0].spec
    plots: list[PlotSeries] = []
    for values, valid, layout, role in (
        ("state", "state_valid", spec.state_layout, "state"),
        ("command", "command_valid", spec.command_layout, "command"),
    ):
        arrays = [np.where(getattr(e, valid), getattr(e, values), np.nan) for e in episodes]
        times = np.concatenate([e.time_ns[: len(a)] for e, a in zip(episodes, arrays, strict=True)])
        whole = np.concatenate(arrays)
        units = {channel.name: channel.unit for channel in layout.channels}
        for index, column in enumerate(layout.columns[:SERIES]):
            unit = units.get(column.split("[")[0], "")
            plots.append(_plot(column, unit, role, times, whole[:, index], start))
    return plots


def _of_raw(raw: RawLog, start: int | None, time_ns: np.ndarray | None) -> list[PlotSeries]:
    plots: list[PlotSeries] = []
    for name, series in raw.series.items():
        values = series.values
        if values.dtype.kind not in "fiub" or values.ndim > 2 or name.endswith((".log_time", ".publish_time")):
            continue
        times = _times_of(series, time_ns)
        if series.time_ns is not None and _is_clock(values, times):
            continue
        for index in range(1 if values.ndim == 1 else min(values.shape[1], 6)):
            if len(plots) > SERIES:
                plots.append(plots[-1])  # counted, not drawn
                continue
            one = values if values.ndim == 1 else values[:, index]
            label = name if values.ndim == 1 else f"{name}[{index}]"
            unit = raw.metadata.get(f"unit:{name}", "")[:20]
            plots.append(
                _plot(label, unit, "", times, one.astype(np.float64), int(times[0]) if start is None else start)
            )
    return plots


def _is_clock(values: np.ndarray, times: np.ndarray) -> bool:
    """Whether the values are the messages' own times, in s, ms, us or ns."""
    if values.ndim != 1 or len(values) < 2 or len(values) != len(times) or times[0] == times[-1]:
        return False
    numbers = values.astype(np.float64)
    return any(np.allclose(numbers * unit, times, rtol=1e-12, atol=unit * 1e-6) for unit in (1.0, 1e3, 1e6, 1e9))


def _times_of(series: Series, time_ns: np.ndarray | None) -> np.ndarray:
    if series.time_ns is not None:
        return series.time_ns
    rows = len(series.values)
    return time_ns if time_ns is not None and len(time_ns) == rows else np.arange(rows, dtype=np.int64) * 10**9


def _plot(name: str, unit: str, role: str, time_ns: np.ndarray, values: np.ndarray, start: int) -> PlotSeries:
    keep = decimate(values)
    t_s = (time_ns[keep] - start) * 1e-9
    shown = values[keep]
    return PlotSeries(
        name=name[:200], unit=unit, role=role, t_s=tuple(round(float(t), 6) for t in t_s),
        values=tuple(float(f"{v:.6g}") if np.isfinite(v) else None for v in shown),
    )  # fmt: skip


def decimate(values: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Row numbers, at most `points`, of float64 [n]: the least and the greatest of each of `points` / 2 stretches."""
    n = len(values)
    if n <= points:
        return np.arange(n)
    stretches = points // 2
    edges = np.linspace(0, n, stretches + 1).astype(np.int64)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    rows: set[int] = set()
    for a, b in pairwise(edges):
        rows |= {int(a + np.argmin(low[a:b])), int(a + np.argmax(high[a:b]))}
    return np.array(sorted(rows), dtype=np.int64)
