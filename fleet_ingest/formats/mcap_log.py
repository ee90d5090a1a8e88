"""MCAP logs whose messages are JSON: one series a field, called topic + "." + path, e.g. `/imu.angular_velocity.x`.

Lists of numbers are [n, k] series. Each series carries the log times of its own messages; `log_time` and `publish_time`
are series too. Topics in other encodings are left out and named in the metadata. A file that breaks off is read as far
as it goes and says so in `salvage`. This module knows no channel names of our own robots; `convert_robot_log` does.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from fleet_ingest.formats.mcap_records import read_records
from fleet_ingest.formats.rawlog import Limits, RawLog, Series, too_large
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_DEPTH = 8
_WIDTH = 4096


class _Topic:
    """The messages of one topic as they come: times, and a list of values for each path."""

    def __init__(self) -> None:
        self.log_time: list[int] = []
        self.publish_time: list[int] = []
        self.fields: dict[str, list[Any]] = {}
        self.bad = 0

    def add(self, message: Any) -> None:
        try:
            value = json.loads(message.data)
        except (ValueError, RecursionError):
            self.bad += 1
            return
        row = len(self.log_time)
        self.log_time.append(message.log_time)
        self.publish_time.append(message.publish_time)
        for path, leaf in _leaves("", value, 0):
            cells = self.fields.setdefault(path, [])
            if len(cells) < row:
                cells.extend([None] * (row - len(cells)))
            cells.append(leaf)


def _leaves(path: str, value: Any, depth: int) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and depth < _DEPTH:
        prefix = f"{path}." if path else ""
        return [leaf for key, inner in value.items() for leaf in _leaves(f"{prefix}{key}", inner, depth + 1)]
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth < _DEPTH and len(value) <= 64:
        return [leaf for i, inner in enumerate(value) for leaf in _leaves(f"{path}[{i}]", inner, depth + 1)]
    return [(path or "value", value)]


def read_mcap(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The log at `path`. Raises DataError: `corrupt`, `truncated` (nothing readable), `empty`, `too_large`, `not_json`.

    Broken files with messages before the break are returned with a `salvage` flag whose code is the reason.
    """
    topics: dict[str, _Topic] = {}
    channels: dict[int, Any] = {}
    other: dict[str, str] = {}
    facts: dict[str, str] = {}
    salvage: list[QualityFlag] = []
    count = 0
    try:
        with path.open("rb") as file:
            for record in read_records(file, path.name, limits):
                kind = type(record).__name__
                if kind == "Message":
                    count += 1
                    if count > limits.rows:
                        raise too_large(f"messages in '{path.name}'", count, limits.rows)
                    _take(record, channels, topics, other, path)
                elif kind == "Channel":
                    channels[record.id] = record
                elif kind == "Statistics" and record.message_count != count:
                    raise DataError(
                        f"'{path.name}' holds {count} messages, its summary counts {record.message_count}",
                        code="corrupt",
                    )
                elif kind == "Header":
                    facts["profile"] = record.profile
                elif kind == "Metadata":
                    facts |= {f"{record.name}:{key}": value for key, value in record.metadata.items()}
    except DataError as error:
        if error.code in ("too_large", "unknown_compression") or not topics:
            raise
        salvage.append(QualityFlag(code=error.code, detail=f"{error}; {count} messages before that were kept"))
    if bad := sum(topic.bad for topic in topics.values()):
        salvage.append(QualityFlag(code="bad_messages", count=bad, detail="messages that are not JSON were left out"))
    facts |= {f"undecoded:{topic}": encoding for topic, encoding in other.items()}
    series = _series(topics)
    if not series:
        _nothing_readable(path, other)
    wanted = series if columns is None else {name: series[name] for name in series if name in set(columns)}
    return RawLog("mcap", wanted, tuple(series), facts, tuple(salvage))


def _take(message: Any, channels: dict[int, Any], topics: dict[str, _Topic], other: dict[str, str], path: Path) -> None:
    channel = channels.get(message.channel_id)
    if channel is None:
        raise DataError(
            f"'{path.name}': a message of channel {message.channel_id}, which was not declared", code="corrupt"
        )
    if channel.message_encoding.lower() == "json":
        topics.setdefault(channel.topic, _Topic()).add(message)
    else:
        other[channel.topic] = channel.message_encoding


def _nothing_readable(path: Path, other: dict[str, str]) -> None:
    if not other:
        raise DataError(f"'{path.name}' holds no messages", code="empty")
    listed = ", ".join(f"{topic} ({encoding})" for topic, encoding in sorted(other.items())[:10])
    raise DataError(
        f"'{path.name}' has no topic in JSON: {listed}", code="not_json",
        remedy="Only JSON messages are decoded; convert the topics, or export them as CSV or Parquet.",
    )  # fmt: skip


def _series(topics: dict[str, _Topic]) -> dict[str, Series]:
    series: dict[str, Series] = {}
    for name, topic in topics.items():
        if not topic.log_time:
            continue
        time_ns = np.array(topic.log_time, dtype=np.uint64).astype(np.int64)
        for path, cells in topic.fields.items():
            cells.extend([None] * (len(time_ns) - len(cells)))
            values = _array(cells)
            if values is not None:
                series[f"{name}.{path}"] = Series(values, time_ns, name)
        series.setdefault(f"{name}.log_time", Series(time_ns, time_ns, name))
        publish = np.array(topic.publish_time, dtype=np.uint64).astype(np.int64)
        series.setdefault(f"{name}.publish_time", Series(publish, time_ns, name))
    return series


def _array(cells: list[Any]) -> np.ndarray | None:
    """Numbers [n], equally long lists of numbers [n, k] (shorter ones padded by NaN), or text [n]; None for anything
    else.
    """
    kinds = {type(cell) for cell in cells}
    if kinds <= {int}:
        try:
            return np.array(cells, dtype=np.int64)
        except OverflowError:
            return np.array([float(cell) if abs(cell) < 1e300 else np.nan for cell in cells])
    if kinds <= {float, int, bool, type(None)}:
        return np.array(
            [np.nan if c is None or (type(c) is int and abs(c) > 1e300) else c for c in cells], dtype=np.float64
        )
    if kinds <= {list, type(None)}:
        return _rows(cells)
    if kinds <= {str, type(None)}:
        return np.array(cells, dtype=object)
    return None


def _rows(cells: list[Any]) -> np.ndarray | None:
    width = max((len(cell) for cell in cells if cell is not None), default=0)
    if not 0 < width <= _WIDTH:
        return None
    blank = [np.nan] * width
    padded = [blank if cell is None else cell if len(cell) == width else [*cell, *blank[len(cell) :]] for cell in cells]
    try:
        values = np.array(padded, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values.ndim == 2 else None
