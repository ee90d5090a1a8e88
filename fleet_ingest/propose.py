"""Drafts a mapping from one file: which column is time, what each of the others is, by name, unit and numeric evidence.

A draft loads and works as it is; what was guessed with doubt is marked with a comment in the YAML. This module writes
no files and stores nothing.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fleet_ingest import clock
from fleet_ingest.formats.arrow import parse_numbers
from fleet_ingest.formats.lerobot import root_of
from fleet_ingest.formats.rawlog import Limits, RawLog
from fleet_ingest.formats.read import read_log
from fleet_ingest.guess import guess_channels
from fleet_ingest.guess_words import Guess
from fleet_ingest.mapping import Mapping
from fleet_ingest.mapping_yaml import parse_mapping
from fleet_ingest.plot import plot_channels
from fleet_ingest.reading import BROKEN
from storage.contracts.errors import DataError, InputError

_TIME_NAME = re.compile(
    r"^(t|time|times|timestamp|timestamps|stamp|clock|date|datetime|secs?|seconds|epoch)([_\s.\[(].*)?$"
    r"|(^|[_./])(time|timestamp|stamp)([_.].*)?$",
    re.I,
)
_NANOS = re.compile(r"(^|[_./])(nsecs?|nanosecs?|nanoseconds?|nanos)$", re.I)
_WHOLE_SECONDS = re.compile(r"(^|[_./])(secs?|seconds?)$", re.I)
_WRITTEN = re.compile(r"^(\d{4}-\d\d-\d\d[T ])?\d?\d:\d\d(:\d\d|[Z+-]|$)")
_FIELDS = ("column", "name", "kind", "role", "unit", "entity", "derivative_of", "size", "optional", "default", "labels")


class Draft(NamedTuple):
    """A mapping, its plot as PNG, and its YAML with comments on what is in doubt."""

    mapping: Mapping
    plot_png: bytes
    yaml: str


def propose(path: Path, *, limits: Limits | None = None) -> Draft:
    """A draft for logs like the one at `path`.

    Raises DataError when it cannot be read, or holds no column of numbers.
    """
    if path.is_dir() and root_of(path.absolute()) is None:
        raise InputError(f"{path} is a folder", remedy="Give one typical file of it.")
    raw = read_log(path, limits=limits or Limits())
    for flag in raw.salvage:
        if flag.code in BROKEN:
            raise DataError(flag.detail, code=flag.code)
    time, time_ns, doubts = _time(raw)
    nanos = None if time is None or not _WHOLE_SECONDS.search(time) else _nanoseconds(raw, time)
    guesses = guess_channels(raw, time_ns, skip=tuple(name for name in (time, nanos) if name is not None))
    if not guesses:
        raise DataError(
            f"'{path.name}' has no column of numbers besides the time: {', '.join(raw.names[:20])}",
            code="nothing_measured",
        )
    if not any(guess.fields.get("role", "state") == "state" for guess in guesses):
        guesses[0].fields.pop("role", None)
        guesses[0].doubts.append("no column looked like a measured state: this one was taken for it")
    rate = _topic_rate(raw, guesses) or (
        clock.sensible_rate(clock.median_period_ns([np.unique(time_ns)], time or "time")) if len(time_ns) > 1 else 100.0
    )
    if not 0.01 <= rate <= 20_000:
        doubts.append(f"the time gives {rate:g} rows a second, which cannot be: check its unit")
        rate = 100.0
    text = _yaml(path, raw, time, time_ns, rate, guesses, doubts)
    mapping = parse_mapping(text, f"the draft for {path.name}")
    return Draft(mapping, plot_channels(raw, mapping, time_ns, path.name), text)


def _topic_rate(raw: RawLog, guesses: list[Guess]) -> float | None:
    """Messages a second of the fastest state topic over its whole span (two senders of one topic come in pairs)."""
    rates = []
    for guess in guesses:
        series = raw.series.get(guess.columns[0])
        if series is None or series.time_ns is None or guess.fields.get("role", "state") != "state":
            continue
        span = int(series.time_ns.max() - series.time_ns.min())
        rates += [span / (len(series.time_ns) - 1)] if span > 0 else []
    return clock.sensible_rate(min(rates)) if rates else None


def _time(raw: RawLog) -> tuple[str | None, np.ndarray, list[str]]:
    """(name of the time column or None, int64 ns [n], doubts). For topics: the times of the longest one."""
    if not raw.is_table:
        series = max(raw.series.values(), key=lambda s: len(s.values))
        return None, series.time_ns if series.time_ns is not None else np.zeros(0, np.int64), []
    best, best_score = None, 0.0
    for name, series in raw.series.items():
        score = _time_score(name, series.values)
        if score > best_score + 1e-9:
            best, best_score = name, score
    whole = next((name for name in raw.series if _WHOLE_SECONDS.search(name) and _nanoseconds(raw, name)), None)
    if whole is not None and (nanos := _nanoseconds(raw, whole)) is not None:
        return whole, clock.to_ns(raw.series[whole].values, "s", whole) + raw.series[nanos].values, []
    rows = len(next(iter(raw.series.values())).values) if raw.series else 0
    if best is None or best_score < 1.0:
        doubts = ["no column looks like a time: rows are taken to be 10 ms apart; set the true rate"]
        doubts += [_written_date(name, s.values) for name, s in raw.series.items() if _may_be_date(name, s.values)]
        return None, np.arange(rows, dtype=np.int64) * 10_000_000, doubts
    doubts = [] if best_score >= 2.0 else [f"'{best}' was taken for the time because it increases steadily"]
    return best, clock.to_ns(raw.series[best].values, "auto", best), doubts


def _may_be_date(name: str, values: np.ndarray) -> bool:
    return values.dtype == object and values.ndim == 1 and _TIME_NAME.search(name.strip()) is not None


def _written_date(name: str, values: np.ndarray) -> str:
    example = str(next((v for v in values if v is not None), ""))[:40]
    return f"{name!r} holds {example!r}: if that is the time, set time: {{column: ..., format: '%m/%d/%Y %H:%M:%S.%f'}}"


def _nanoseconds(raw: RawLog, time: str) -> str | None:
    """The column with the nanoseconds within the second, when `time` holds whole seconds."""
    for name, series in raw.series.items():
        values = series.values
        if _NANOS.search(name) and values.dtype.kind == "i" and name != time and bool((np.abs(values) < 10**9).all()):
            return name if raw.series[time].values.dtype.kind == "i" else None
    return None


def _time_score(name: str, values: np.ndarray) -> float:
    """Above 1: may be the time; above 2: by its name too."""
    if values.ndim != 1 or len(values) < 2:
        return 0.0
    named = 1.5 if _TIME_NAME.search(name.strip()) else 0.0
    if values.dtype.kind == "M":
        return 2.0 + named if (np.diff(values.astype(np.int64)) > 0).mean() > 0.3 else 0.0
    if values.dtype == object:
        numbers, bad = parse_numbers(values)
        if bad.mean() > 0.5:
            first = [str(v) for v in values[:50]]
            written = sum(_WRITTEN.match(text) is not None for text in first)
            return 2.0 + named if written > 0.9 * len(first) and len(set(first)) > 0.3 * len(first) else 0.0
        values = numbers
    numbers = values[np.isfinite(values)].astype(np.float64)
    if len(numbers) < 2:
        return 0.0
    steps = np.diff(numbers)
    rising = float((steps > 0).mean())
    if rising < 0.9 or float((steps < 0).mean()) > 0.02:
        return named * 0.5 if rising > 0.3 else 0.0
    steady = float(np.median(np.abs(steps - np.median(steps))) / max(abs(float(np.median(steps))), 1e-300))
    counter = bool(np.all(steps == 1)) and not named
    return rising * 0.3 + named + (0.8 if steady < 0.5 else 0.0) - (0.5 if counter else 0.0)


def _yaml(
    path: Path, raw: RawLog, time: str | None, time_ns: np.ndarray, rate: float, guesses: list[Guess], doubts: list[str]
) -> str:
    called = raw.metadata.get("robot_type") or path.stem
    stem = re.sub(r"[^a-z0-9_]+", "_", called.lower()).strip("_")[:40]
    name = stem if re.match("[a-z]", stem) else f"robot_{stem}".rstrip("_") if re.search("[a-z]", stem) else "robot"
    lines = [
        f"# Drafted from {path.name}. Lines marked CHECK were guessed with doubt: read them before importing.",
        f"name: {name}  # CHECK: the name of this kind of robot",
        f'files: "**/{"data/**/" if raw.format == "lerobot" else ""}*{path.suffix or ".parquet"}"',
        f"format: {raw.format}",
        f"robot: {name}-1  # CHECK: the serial name",
        f'# Several robots in one tree, a folder each: path: "{{unit}}/{{run}}{path.suffix}", robot: "{name}-{{unit}}"',
        *[f"# CHECK: {doubt}" for doubt in doubts],
    ]
    if time is not None:
        unit = _time_unit(raw, time)
        noted = (
            ""
            if clock.named_unit(time) is not None
            else "  # CHECK: the unit was told from the values"
            if unit != "iso8601"
            else ""
        )
        nanos = _nanoseconds(raw, time) if _WHOLE_SECONDS.search(time) else None
        more = "" if nanos is None else f", nanoseconds_column: {_quoted(nanos)}"
        lines.append(f"time: {{column: {_quoted(time)}, unit: {'s' if nanos else unit}{more}}}{noted}")
    elif raw.is_table:
        lines.append("time: {rate_hz: 100}  # CHECK: rows per second")
    episode = next((name for name in ("episode_index", "demo") if raw.is_table and name in raw.series), None)
    if episode is not None:
        lines.append(f"episode_column: {episode}")
    lines += [f"rate_hz: {rate:g}  # the usual rate of this file; episodes are resampled to it", "channels:"]
    for guess in guesses:
        lines += [f"  # CHECK: {doubt}" for doubt in guess.doubts]
        fields = ", ".join(f"{key}: {_value(guess.fields[key])}" for key in _FIELDS if key in guess.fields)
        lines.append(f"  - {{{fields}}}")
    left = [n for n in raw.names if n not in {c for g in guesses for c in g.columns} and n != time]
    if left:
        lines.append("# Columns left out: " + ", ".join(re.sub(r"[^\x20-\x7e]", "?", n) for n in left[:60]))
    return "\n".join(lines) + "\n"


def _time_unit(raw: RawLog, time: str) -> str:
    values = raw.series[time].values
    if values.dtype.kind == "M":
        return "auto"
    if values.dtype == object:
        numbers, bad = parse_numbers(values)
        if bad.mean() > 0.5:
            return "iso8601"
        values = numbers
    return clock.guess_unit(values, time)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """A YAML scalar: bare where that is safe."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./*^-]*", text) and text.lower() not in {
        "on",
        "off",
        "yes",
        "no",
        "true",
        "false",
        "null",
        "y",
        "n",
    }:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
    return f'"{escaped}"'
