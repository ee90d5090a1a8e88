"""Topics of a message log while it is read: messages are gathered, decoded in batches, counted, and become series.

A topic that cannot be decoded is counted and named, the others are read. Names with control characters or `..` are
refused. This module knows no file format.
"""

from collections.abc import Collection

import numpy as np

from fleet_ingest.formats.columns import Columns
from fleet_ingest.formats.decoders import Decoder, decoder_for
from fleet_ingest.formats.rawlog import Limits, Series, Topic, count_flags, too_large
from fleet_ingest.names import check_inner_name
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_BATCH_BYTES = 4 << 20
_BATCH = 20_000


class TopicLog:
    """The messages of one topic as they come."""

    def __init__(self, name: str, type_name: str, encoding: str, schema_encoding: str, schema: bytes) -> None:
        self.name, self.type, self.encoding = name, type_name, encoding
        self.reason = ""
        self.seen = self.bad = 0
        self.columns = Columns()
        self._decoder: Decoder | None = None
        try:
            self._decoder = decoder_for(encoding, type_name, schema_encoding, schema)
        except DataError as error:
            self.reason = str(error)
        self._data: list[bytes] = []
        self._log: list[int] = []
        self._publish: list[int] = []
        self._pending = 0
        self._times: list[tuple[np.ndarray, np.ndarray]] = []
        self.rows = 0

    def add(self, log_time: int, publish_time: int, data: bytes) -> None:
        self.seen += 1
        if self._decoder is None:
            return
        self._data.append(data)
        self._log.append(log_time)
        self._publish.append(publish_time)
        self._pending += len(data)
        if self._pending > _BATCH_BYTES or len(self._data) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        if self._decoder is None or not self._data:
            return
        staged = Columns()
        bad = self._decoder.decode(self._data, 0, staged)
        rows = np.cumsum(~bad) - 1 + self.rows
        for name, parts in staged.parts.items():
            for at, values in parts:
                good = ~bad[at]
                self.columns.put(name, rows[at[good]], values[good])
        for name, count in staged.left_out.items():
            self.columns.leave_out(name, count)
        times = np.array([self._log, self._publish], dtype=np.uint64).astype(np.int64)[:, ~bad]
        self._times.append((times[0], times[1]))
        self.rows += times.shape[1]
        self.bad += int(bad.sum())
        self._data, self._log, self._publish, self._pending = [], [], [], 0

    def series(self, publish: bool) -> dict[str, Series]:
        self.flush()
        if not self.rows:
            return {}
        time_ns = np.concatenate([a for a, _ in self._times])
        found = {
            f"{self.name}.{field}": Series(values, time_ns, self.name)
            for field, values in self.columns.finish(self.rows).items()
        }
        found.setdefault(f"{self.name}.log_time", Series(time_ns, time_ns, self.name))
        if publish:
            sent = np.concatenate([b for _, b in self._times])
            found.setdefault(f"{self.name}.publish_time", Series(sent, time_ns, self.name))
        return found

    def facts(self, said: int | None) -> Topic:
        reason = self.reason or (f"{self.bad:,} messages do not fit the definition" if self.bad else "")
        return Topic(self.name, self.rows, said, self.type, self.encoding, reason[:300])


class TopicSet:
    """All topics of a log, by the key (channel or connection) that its records carry."""

    def __init__(self, limits: Limits, name: str) -> None:
        self._limits, self._name = limits, name
        self.topics: dict[str, TopicLog] = {}
        self.by_key: dict[int, TopicLog] = {}
        self.count = 0
        self._checked = 0

    def declare(self, key: int, name: str, type_name: str, encoding: str, schema_encoding: str, schema: bytes) -> None:
        """Topic `name` under `key`. Several keys may share a topic, when they agree on its type."""
        check_inner_name(name, f"topic in '{self._name}'")
        if len(self.by_key) > self._limits.columns:
            raise too_large(f"topics in '{self._name}'", len(self.by_key), self._limits.columns)
        held = self.topics.get(name)
        if held is not None and (held.type, held.encoding) != (type_name, encoding):
            name = f"{name}#{key}"
            held = self.topics.get(name)
        if held is None:
            held = self.topics[name] = TopicLog(name, type_name, encoding, schema_encoding, schema)
        self.by_key[key] = held

    def add(self, key: int, log_time: int, publish_time: int, data: bytes) -> None:
        """One message. Raises KeyError when `key` was not declared, DataError `too_large`."""
        self.by_key[key].add(log_time, publish_time, data)
        self.count += 1
        if self.count - self._checked > 10_000:
            self.check()

    def check(self) -> None:
        self._checked = self.count
        if self.count > self._limits.rows:
            raise too_large(f"messages in '{self._name}'", self.count, self._limits.rows)
        for topic in self.topics.values():
            if topic.columns.fields > self._limits.columns:
                raise too_large(f"fields of '{topic.name}'", topic.columns.fields, self._limits.columns)
        values = sum(max(t.columns.values, t.rows * t.columns.fields) for t in self.topics.values())
        if values > self._limits.values:
            raise too_large(f"values in '{self._name}'", values, self._limits.values)

    def series(self, *, publish: bool = True) -> dict[str, Series]:
        found: dict[str, Series] = {}
        for topic in self.topics.values():
            topic.flush()
        self.check()
        for topic in self.topics.values():
            found |= topic.series(publish)
        return found

    def facts(self, said: dict[str, int] | None) -> tuple[Topic, ...]:
        """Decoded counts beside what the file says by topic name; topics that it names and that never came included."""
        own = tuple(t.facts(None if said is None else said.get(t.name, 0)) for t in self.topics.values())
        absent = [name for name in said or {} if name not in self.topics]
        return own + tuple(Topic(name, 0, (said or {})[name], reason="no message of it was read") for name in absent)

    def flags(self, topics: tuple[Topic, ...]) -> tuple[QualityFlag, ...]:
        """Undecoded topics, messages and fields, and counts that differ from what the file says."""
        flags: list[QualityFlag] = []
        for topic in self.topics.values():
            if topic.reason and topic.seen:
                detail = f"'{topic.name}': {topic.seen:,} messages: {topic.reason}"
                flags.append(QualityFlag(code="undecoded_topic", channel=topic.name, count=topic.seen, detail=detail))
            elif topic.bad:
                detail = f"'{topic.name}': messages that do not fit the topic's definition were left out"
                flags.append(QualityFlag(code="bad_messages", channel=topic.name, count=topic.bad, detail=detail))
            if topic.columns.left_out:
                listed = ", ".join(list(topic.columns.left_out)[:10])[:300]
                count = len(topic.columns.left_out)
                flags.append(QualityFlag(code="field_left_out", channel=topic.name, count=count, detail=listed))
        explained = {t.name for t in self.topics.values() if t.reason or t.bad}
        unexplained = tuple(t for t in topics if t.name not in explained or t.said != self.topics[t.name].seen)
        return (*flags, *count_flags(unexplained))


def pick(series: dict[str, Series], columns: Collection[str] | None) -> dict[str, Series]:
    """The series that were asked for; None asks for all."""
    wanted = None if columns is None else set(columns)
    return series if wanted is None else {name: found for name, found in series.items() if name in wanted}


def none_readable(name: str, topics: tuple[Topic, ...]) -> DataError:
    """The error for a log without a single decoded message."""
    lost = [t for t in topics if t.reason]
    if not lost:
        return DataError(f"'{name}' holds no messages", code="empty")
    listed = ", ".join(f"{t.name} ({t.encoding}): {t.reason}" for t in sorted(lost, key=lambda t: t.name)[:6])
    return DataError(
        f"'{name}' has no topic that can be decoded: {listed[:800]}", code="undecodable",
        remedy="Record message definitions with the log, or export the topics as Parquet or CSV.",
    )  # fmt: skip
