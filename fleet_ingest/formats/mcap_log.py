"""MCAP logs: ROS 2 CDR, ROS 1, protobuf and JSON messages; one series a field, called topic + "." + path.

For example `/imu.angular_velocity.x`. Lists of numbers are [n, k] series. Each series carries the log times of its own
messages; `log_time` and `publish_time` are series too. A topic that cannot be decoded is counted and flagged, the
others are read. Counts are held against the file's statistics, chunk index and chunk headers. A file that breaks off is
read up to the break and says so in `salvage`. This module knows no channel names of our own robots;
`convert_robot_log` does.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fleet_ingest.formats.mcap_records import Cover, read_records
from fleet_ingest.formats.rawlog import Damaged, Integrity, Limits, RawLog, Salvage
from fleet_ingest.formats.topics import TopicSet, none_readable, pick
from fleet_ingest.names import check_inner_name
from storage.contracts.episode import QualityFlag

_FACT = 4096


def read_mcap(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The log at `path`.

    Raises DataError: `corrupt`, `truncated` (nothing readable), `empty`, `too_large`, `undecodable`, `bomb` ...
    Broken files with messages before the break are returned with a `salvage` flag whose code is the reason.
    """
    reading = _Reading(path, limits)
    salvage: list[QualityFlag] = []
    salvaged: Salvage | None = None
    try:
        with path.open("rb") as file:
            reading.run(file)
    except Damaged as error:
        if not reading.topics.count:
            raise
        salvaged = Salvage(reading.topics.count, error.offset, path.stat().st_size)
        detail = f"{error}; lost from byte {error.offset:,} on; {reading.topics.count:,} messages before that were kept"
        salvage.append(QualityFlag(code="truncated" if error.code == "truncated" else "corrupt", detail=detail))
    series = reading.topics.series()
    topics = reading.topics.facts(reading.said())
    if not series:
        raise none_readable(path.name, topics)
    if reading.said() is None and salvaged is None:
        salvage.append(QualityFlag(code="no_statistics", detail="the file has no summary with counts"))
    salvage += reading.topics.flags(topics)
    return RawLog(
        "mcap", pick(series, columns), tuple(series), reading.facts, tuple(salvage), topics, reading.integrity(),
        salvaged,
    )  # fmt: skip


class _Reading:
    """What is found in one file, record by record."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name = path.name
        self.limits = limits
        self.topics = TopicSet(limits, path.name)
        self.cover = Cover()
        self.facts: dict[str, str] = {}
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Any] = {}
        self._statistics: Any = None
        self._index: list[tuple[int, int, int, int, int]] = []
        self._first = self._last = 0

    def run(self, file: Any) -> None:
        """Reads to the end. Raises Damaged where the file breaks or contradicts itself."""
        add = self.topics.add
        first, last = (1 << 64), -1
        for record in read_records(file, self.name, self.limits, plain=True, cover=self.cover):
            if type(record) is tuple:
                try:
                    add(*record)
                except KeyError as error:
                    raise self._damaged(f"a message of channel {record[0]}, which was not declared") from error
                time = record[1]
                first, last = (time if time < first else first), (time if time > last else last)
            else:
                self._take(record)
        self._first, self._last = (first, last) if last >= 0 else (0, 0)
        self._check_summary()

    def _take(self, record: Any) -> None:
        kind = type(record).__name__
        if kind == "Schema":
            self._same("schema", self._schemas.setdefault(record.id, record), record)
        elif kind == "Channel":
            self._channel(record)
        elif kind == "Statistics":
            self._statistics = record
        elif kind == "ChunkIndex":
            self._index.append(
                (record.chunk_start_offset, record.chunk_length, record.message_start_time, record.message_end_time,
                 record.uncompressed_size)
            )  # fmt: skip
        elif kind == "Header":
            self.facts["profile"] = record.profile[:_FACT]
        elif kind == "Metadata":
            self.facts |= {f"{record.name}:{key}": value for key, value in record.metadata.items()}
        elif kind in ("Attachment", "AttachmentIndex"):
            check_inner_name(record.name, f"attachment in '{self.name}'")

    def _channel(self, channel: Any) -> None:
        known = self._channels.setdefault(channel.id, channel)
        self._same("channel", known, channel)
        if known is not channel:
            return
        schema = self._schemas.get(channel.schema_id)
        if schema is None and channel.schema_id != 0:
            raise self._damaged(f"channel '{channel.topic[:60]}' uses schema {channel.schema_id}, which is not there")
        self.topics.declare(
            channel.id, channel.topic, "" if schema is None else schema.name, channel.message_encoding,
            "" if schema is None else schema.encoding, b"" if schema is None else schema.data,
        )  # fmt: skip
        if self.topics.by_key[channel.id].reason:
            self.facts[f"undecoded:{channel.topic}"] = channel.message_encoding

    def _same(self, what: str, known: Any, record: Any) -> None:
        if known != record:
            raise self._damaged(f"{what} {record.id} is declared twice, differently")

    def _check_summary(self) -> None:
        """What the summary repeats must be what the data section holds."""
        index = set(self._index)
        for place in self.cover.chunk_places if index else ():
            if place not in index:
                raise self._damaged(f"the chunk at byte {place[0]} is not as the chunk index says", place[0])
        found = self._statistics
        if found is None:
            return
        ours = {"messages": self.topics.count, "chunks": self.cover.chunks}
        says = {"messages": found.message_count, "chunks": found.chunk_count}
        if self.topics.count and found.message_count:
            ours |= {"start": self._first, "end": self._last}
            says |= {"start": found.message_start_time, "end": found.message_end_time}
        for what, given in ours.items():
            if says[what] != given:
                raise self._damaged(f"{what}: {given} read, the summary says {says[what]}")

    def _damaged(self, why: str, offset: int | None = None) -> Damaged:
        at = offset if offset is not None else sum(self.cover.chunk_places[-1][:2]) if self.cover.chunk_places else 8
        return Damaged(f"'{self.name}': {why}", code="corrupt", offset=at, remedy="Copy it again from the robot.")

    def said(self) -> dict[str, int] | None:
        """Messages by topic, by the file's statistics."""
        if self._statistics is None:
            return None
        counts: dict[str, int] = {}
        for key, count in self._statistics.channel_message_counts.items():
            topic = self.topics.by_key.get(key)
            name = topic.name if topic is not None else f"channel {key}"
            counts[name] = counts.get(name, 0) + count
        return counts

    def integrity(self) -> Integrity:
        cover = self.cover
        if cover.data_section and (cover.summary or self._statistics is None):
            return "checksums"
        if cover.chunks and cover.chunks > cover.unchecked_chunks:
            return "partial"
        return "none"
