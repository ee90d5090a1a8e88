"""The channels of a mapping found in a log: values in SI units with NaN where nothing was measured, and their row
times.

This module neither sorts nor resamples; it says clearly which column is missing or is not what the mapping says.
"""

import re
from difflib import get_close_matches

import numpy as np

from fleet_ingest.clock import to_ns
from fleet_ingest.formats.arrow import parse_numbers
from fleet_ingest.formats.rawlog import RawLog, Series
from fleet_ingest.mapping import ChannelMap, Mapping
from storage.contracts.channel import Kind
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_INDEX = re.compile(r"^(.*)\[(\d+)\]$")
_TEXT_SHARE = 0.5
_DECIMAL_COMMA = "Set 'csv: {decimal: \",\"}' in the mapping."


def columns_to_read(mapping: Mapping) -> frozenset[str]:
    """Names of the series that `mapping` may use: `a[2]` is looked for by that name and in the lists of `a`."""
    names = set(mapping.wanted_columns)
    return frozenset(names | {found.group(1) for name in names if (found := _INDEX.match(name))})


def has_column(raw: RawLog, name: str) -> bool:
    found = _INDEX.match(name)
    return name in raw.series or (found is not None and found.group(1) in raw.series)


def series_of(raw: RawLog, name: str, use: str) -> Series:
    """The series `name`. Raises DataError `missing_column` with the nearest name, `wrong_type`, `missing_index`."""
    if name in raw.series:
        return raw.series[name]
    found = _INDEX.match(name)
    if found is not None and found.group(1) in raw.series:
        whole, index = raw.series[found.group(1)], int(found.group(2))
        width = whole.values.shape[1] if whole.values.ndim == 2 else 0
        if index >= width:
            raise DataError(
                f"{use}: '{name}' does not exist, '{found.group(1)}' has {width} values a row", code="missing_index"
            )
        return Series(whole.values[:, index], whole.time_ns, whole.group)
    if name in raw.names:
        raise DataError(
            f"{use}: column '{name}' holds neither numbers, text, times nor lists of numbers", code="wrong_type"
        )
    close = get_close_matches(name, raw.names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    undecoded = [key.split(":", 1)[1] for key in raw.metadata if key.startswith("undecoded:")]
    more = f" Topics that cannot be decoded: {', '.join(undecoded[:10])}." if undecoded else ""
    raise DataError(
        f"{use}: no column '{name}'; the columns are {_listed(raw.names)}.{hint}{more}", code="missing_column",
        remedy="Correct 'column' in the mapping, or set 'optional: true' where some files lack it.",
    )  # fmt: skip


def _listed(names: tuple[str, ...]) -> str:
    shown = (name[:60] if name.isprintable() else ascii(name)[:60] for name in names[:30])
    return ", ".join(shown) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def channel_values(
    raw: RawLog, channel: ChannelMap, columns: tuple[str, ...]
) -> tuple[np.ndarray, Series, list[QualityFlag]]:
    """(SI values [n, size], the first series, flags) of `columns`.

    Raises DataError `missing_column`, `not_numbers`, `width`.
    """
    use = f"channel '{channel.name}'"
    flags: list[QualityFlag] = []
    parts, first = [], series_of(raw, columns[0], use)
    for name in columns:
        series = series_of(raw, name, use)
        if len(series.values) != len(first.values) or series.group != first.group:
            raise DataError(f"{use}: '{columns[0]}' and '{name}' are of different topics", code="different_topics")
        values, found = _numbers(series.values, channel, name)
        parts.append(values.reshape(len(values), -1))
        flags += found
    values = np.concatenate(parts, axis=1)
    size = channel.channel.size
    if values.shape[1] != size:
        raise DataError(
            f"{use} has size {size}, its columns {', '.join(columns)} give {values.shape[1]} values a row",
            code="width",
            remedy=f"Set 'size: {values.shape[1]}', or pick one with 'column: name[0]'.",
        )  # fmt: skip
    scale, offset = channel.to_si
    if channel.kind not in (Kind.CATEGORY, Kind.EVENT):
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * scale + offset
    return np.where(np.isfinite(values), values, np.nan), first, flags


def _numbers(values: np.ndarray, channel: ChannelMap, column: str) -> tuple[np.ndarray, list[QualityFlag]]:
    if values.dtype.kind == "M":
        raise DataError(f"channel '{channel.name}': column '{column}' holds dates, not numbers", code="not_numbers")
    if values.dtype != object:
        return values.astype(np.float64), []
    if channel.kind == Kind.CATEGORY:
        return _categories(values, channel)
    numbers, bad = parse_numbers(values)
    if not bad.any():
        return numbers, []
    row = int(np.argmax(bad))
    if bad.mean() > _TEXT_SHARE:
        comma = re.fullmatch(r"\s*[+-]?\d+,\d+\s*", str(values[row])) is not None
        raise DataError(
            f"channel '{channel.name}': column '{column}' holds text, e.g. {str(values[row])[:40]!r} in row {row + 1}",
            code="not_numbers",
            remedy=_DECIMAL_COMMA if comma else "Choose a column of numbers, or 'kind: category'.",
        )  # fmt: skip
    detail = (
        f"text among the numbers of '{column}' counts as missing; the first: {str(values[row])[:40]!r} in row {row + 1}"
    )
    return numbers, [QualityFlag(code="text_in_numbers", channel=channel.name, count=int(bad.sum()), detail=detail)]


def _categories(values: np.ndarray, channel: ChannelMap) -> tuple[np.ndarray, list[QualityFlag]]:
    index = {label: float(i) for i, label in enumerate(channel.labels)}
    numbers = np.array([np.nan if v is None else index.get(str(v).strip(), np.nan) for v in values])
    unknown = sorted({str(v).strip() for v in values if v is not None} - set(index))
    if not unknown:
        return numbers, []
    detail = f"not among the labels: {', '.join(unknown[:10])}"
    return numbers, [QualityFlag(code="unknown_label", channel=channel.name, count=len(unknown), detail=detail)]


def table_times(raw: RawLog, mapping: Mapping) -> np.ndarray:
    """int64 ns [n] of a table's rows. Raises DataError `missing_time`, and as `to_ns` does."""
    time = mapping.time
    rows = len(next(iter(raw.series.values())).values) if raw.series else 0
    if time.rate_hz is not None:
        return np.asarray(np.rint(np.arange(rows) * (1e9 / time.rate_hz)), dtype=np.int64)
    if time.column is None:
        raise DataError(
            f"the mapping names no time column; the columns are {_listed(raw.names)}", code="missing_time",
            remedy="Set 'time: {column: NAME, unit: s}', or 'time: {rate_hz: 100}' for rows that are evenly spaced.",
        )  # fmt: skip
    column = time.column
    unit: str = time.unit
    noted = raw.metadata.get(f"unit:{column}", "")
    if unit == "auto" and noted in ("s", "ms", "us", "ns", "min"):
        unit = noted
    try:
        times = to_ns(series_of(raw, column, "time").values, unit, column, time.format)
    except DataError as error:
        if error.code == "missing_column":
            raise DataError(
                str(error), code="missing_time", remedy="Correct 'time: {column: ...}' in the mapping."
            ) from error
        raise
    if time.nanoseconds_column is not None:
        extra = series_of(raw, time.nanoseconds_column, "time").values
        times = times + np.nan_to_num(extra.astype(np.float64)).astype(np.int64)
    return times


def topic_times(raw: RawLog, mapping: Mapping, series: Series) -> np.ndarray:
    """int64 ns [n] of the messages of the topic of `series`: their log time, or the path that `time.column` names."""
    if mapping.time.column is None or mapping.time.column == "log_time":
        return np.zeros(0, dtype=np.int64) if series.time_ns is None else series.time_ns
    name = f"{series.group}.{mapping.time.column}"
    unit = "ns" if mapping.time.column == "publish_time" else mapping.time.unit
    times = to_ns(series_of(raw, name, "time").values, unit, name)
    if mapping.time.nanoseconds_column is not None:
        extra = series_of(raw, f"{series.group}.{mapping.time.nanoseconds_column}", "time").values
        times = times + np.nan_to_num(extra.astype(np.float64)).astype(np.int64)
    return times
