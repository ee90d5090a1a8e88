"""ROS 1 bags (version 2.0), read record by record so that a bag without its index gives all that was written.

See http://wiki.ros.org/Bags/Format/2.0. Counts are held against the index records behind each chunk and against the
chunk summaries at the end. Bags carry no checksums of their own. Message definitions are parsed by rosbags. This module
does not read version 1 bags.
"""

import bz2
import re
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import numpy as np

from fleet_ingest.formats.rawlog import Damaged, Integrity, Limits, RawLog, Salvage, too_large
from fleet_ingest.formats.topics import TopicSet, none_readable, pick
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

MAGIC = b"#ROSBAG V2.0\n"
_U32 = struct.Struct("<I")
_BAG, _MESSAGE, _CHUNK, _CONNECTION, _INDEX, _SUMMARY = 3, 2, 5, 7, 4, 6
_LZ4_CONTENT_CHECKSUM = 0x04
_BOMB = 64 << 20
_OP = rb"(?:\x04\0\0\0op=\x02)?"
_FAST = re.compile(_OP + rb"\x09\0\0\0conn=(.{4})" + _OP + rb"\x0d\0\0\0time=(.{8})", re.S)
_FAST_BYTES = 38
"""The header of a message as rosbag and rosbags write it; any other order is read field by field."""


def read_bag(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The log at `path`; series as for MCAP.

    Raises DataError: `corrupt`, `truncated` (nothing readable), `empty`, `too_large`, `bomb`, `unknown_compression`.
    """
    reading = _Reading(path, limits)
    flags: list[QualityFlag] = []
    salvaged: Salvage | None = None
    try:
        with path.open("rb") as file:
            reading.run(file)
    except Damaged as error:
        kept = reading.topics.count
        if not kept:
            raise
        salvaged = Salvage(kept, error.offset, reading.size)
        detail = f"{error}; lost from byte {error.offset:,} on; {kept:,} messages before that were kept"
        flags.append(QualityFlag(code="truncated" if error.code == "truncated" else "corrupt", detail=detail))
    series = reading.topics.series()
    topics = reading.topics.facts(reading.said() if salvaged is None else None)
    if not series:
        raise none_readable(path.name, topics)
    flags += reading.topics.flags(topics)
    return RawLog(
        "rosbag1", pick(series, columns), tuple(series), {}, tuple(flags), topics, reading.integrity(), salvaged
    )


class _Reading:
    """What is found in one bag, record by record."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name, self.limits, self.size = path.name, limits, path.stat().st_size
        self.topics = TopicSet(limits, path.name)
        self.position = 0
        self._expanded = 0
        self._compressions: set[str] = set()
        self._unchecked = 0
        self._summaries: dict[int, int] = {}
        self._places: dict[int, dict[int, int]] = {}
        self._indexed = False
        self._chunk_at = 0
        self._chunks = 0
        self._expected: tuple[int, int] | None = None

    def run(self, file: BinaryIO) -> None:
        """Reads to the end. Raises Damaged where the bag breaks or contradicts itself."""
        if file.read(len(MAGIC)) != MAGIC:
            raise DataError(f"'{self.name}' is a ROS bag of another version than 2.0", code="unknown_format")
        self.position = len(MAGIC)
        while self.position < self.size:
            header, data, end = self._record(file)
            self._take(header, data)
            self.position = end
        if not self._indexed:
            raise self._broken("its index is missing: the recorder was stopped before it could write it", "truncated")
        expected = self._expected or (0, 0)
        if expected[1] != self._chunks:
            raise self._broken(f"{self._chunks} chunks are there, its header says {expected[1]}")
        counts = {key: topic.seen for key, topic in self.topics.by_key.items() if topic.seen}
        if len(self.topics.by_key) > expected[0]:
            raise self._broken(f"{len(self.topics.by_key)} connections are there, its header says {expected[0]}")
        if sum(counts.values()) and not self._summaries:
            raise self._broken("its chunk summaries are missing")

    def _record(self, file: BinaryIO) -> tuple[dict[str, bytes], bytes, int]:
        """(header fields, data, end) of the record at the file's position."""
        head = self._sized(file, self.limits.record_bytes)
        data = self._sized(file, self.limits.chunk_bytes)
        return self._fields(head), data, self.position + 8 + len(head) + len(data)

    def _sized(self, file: BinaryIO, limit: int) -> bytes:
        raw = file.read(4)
        if len(raw) != 4:
            raise self._cut()
        length = _U32.unpack(raw)[0]
        if length > limit:
            code = "truncated" if file.tell() + length > self.size else "too_large"
            raise self._broken(f"a record of {length:,} bytes is over the limit of {limit:,}", code)
        data = file.read(length)
        if len(data) != length:
            raise self._cut()
        return data

    def _fields(self, head: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        at = 0
        while at < len(head):
            if at + 4 > len(head):
                raise self._broken("a record's header ends in the middle of a field")
            length = _U32.unpack_from(head, at)[0]
            at += 4
            name, equals, value = head[at : at + length].partition(b"=")
            if at + length > len(head) or not equals:
                raise self._broken("a record's header holds a field without a name or beyond its end")
            found[name.decode("ascii", "replace")] = value
            at += length
        return found

    def _take(self, header: dict[str, bytes], data: bytes) -> None:
        kind = self._number(header, "op", 1)
        if kind == _BAG:
            self._indexed = self._number(header, "index_pos", 8) != 0
            self._expected = self._number(header, "conn_count", 4), self._number(header, "chunk_count", 4)
        elif kind == _CHUNK:
            self._chunks += 1
            self._chunk(header, data)
        elif kind == _CONNECTION:
            self._connection(header, data)
        elif kind == _MESSAGE:
            self._message(header, data)
        elif kind == _INDEX:
            self._check_index(header, data)
        elif kind == _SUMMARY:
            self._summary(header, data)
        else:
            raise self._broken(f"a record of the unknown kind {kind}")

    def _number(self, header: dict[str, bytes], name: str, size: int) -> int:
        value = header.get(name, b"")
        if len(value) != size:
            raise self._broken(f"a record without '{name}' of {size} bytes")
        return int.from_bytes(value, "little")

    def _connection(self, header: dict[str, bytes], data: bytes) -> None:
        key = self._number(header, "conn", 4)
        topic = header.get("topic", b"").decode("utf-8", "replace")
        facts = self._fields(data)
        kind = facts.get("type", b"").decode("utf-8", "replace")
        known = self.topics.by_key.get(key)
        if known is not None:
            if known.type != kind or known.name.split("#")[0] != topic:
                raise self._broken(f"connection {key} is declared twice, differently")
            return
        definition = facts.get("message_definition", b"")
        self.topics.declare(key, topic, kind, "ros1", "ros1msg", definition)

    def _message(self, header: dict[str, bytes], data: bytes) -> None:
        key, time = self._number(header, "conn", 4), header.get("time", b"")
        if len(time) != 8:
            raise self._broken("a message without a time")
        self._add(key, time, data)

    def _add(self, key: int, time: bytes, data: bytes) -> int:
        """One message; returns its time as the index writes it."""
        if key not in self.topics.by_key:
            raise self._broken(f"a message of connection {key}, which was not declared")
        stamp = int.from_bytes(time, "little")
        ns = (stamp & 0xFFFFFFFF) * 1_000_000_000 + (stamp >> 32)
        self.topics.add(key, ns, ns, data)
        return stamp

    def _chunk(self, header: dict[str, bytes], data: bytes) -> None:
        size = self._number(header, "size", 4)
        compression = header.get("compression", b"").decode("ascii", "replace")
        if size > self.limits.chunk_bytes:
            raise self._broken(f"a chunk of {size:,} unpacked bytes is over the limit", "too_large")
        plain = self._unpack(compression, data, size)
        self._expanded += size
        if self._expanded > self.limits.expanded_bytes:
            raise too_large(f"unpacked bytes of '{self.name}'", self._expanded, self.limits.expanded_bytes)
        self._places, self._chunk_at = {}, self.position
        at = 0
        while at < size:
            first = at
            head, at = self._part(plain, at)
            body, at = self._part(plain, at)
            fast = _FAST.fullmatch(head) if len(head) == _FAST_BYTES else None
            if fast is not None:
                key = int.from_bytes(fast[1], "little")
                self._places.setdefault(key, {})[first] = self._add(key, fast[2], body)
                continue
            fields = self._fields(head)
            kind = self._number(fields, "op", 1)
            if kind == _CONNECTION:
                self._connection(fields, body)
            elif kind == _MESSAGE:
                self._message(fields, body)
                key, time = self._number(fields, "conn", 4), int.from_bytes(fields["time"], "little")
                self._places.setdefault(key, {})[first] = time
            else:
                raise self._broken(f"a chunk holds a record of kind {kind}")

    def _part(self, plain: bytes, at: int) -> tuple[bytes, int]:
        """The bytes whose length stands at `at`, and where they end."""
        begin = at + 4
        if begin > len(plain):
            raise self._broken("a chunk ends in the middle of a record")
        end = begin + _U32.unpack_from(plain, at)[0]
        if end > len(plain):
            raise self._broken("a chunk ends in the middle of a record")
        return plain[begin:end], end

    def _unpack(self, compression: str, data: bytes, size: int) -> bytes:
        self._compressions.add(compression)
        if compression == "none":
            plain = data
        elif compression == "lz4":
            self._unchecked += len(data) < 5 or not data[4] & _LZ4_CONTENT_CHECKSUM
            plain = self._bounded(lz4.frame.LZ4FrameDecompressor().decompress, data, size)
        elif compression == "bz2":
            plain = self._bounded(bz2.BZ2Decompressor().decompress, data, size)
        else:
            raise self._broken(
                f"it is compressed with '{compression[:40]}'; known: none, bz2, lz4", "unknown_compression"
            )
        if len(plain) != size:
            raise self._broken(f"a chunk unpacks to {len(plain)} bytes, it declares {size}")
        return plain

    def _bounded(self, unpack: Callable[..., Any], data: bytes, size: int) -> bytes:
        try:
            plain = bytes(unpack(data, max_length=size))
            extra = 0
            while extra < _BOMB and (more := unpack(b"", max_length=1 << 20)):
                extra += len(more)
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            if isinstance(error, EOFError):
                return plain
            raise self._broken(f"a chunk cannot be unpacked: {error}") from error
        if extra >= _BOMB:
            raise DataError(
                f"'{self.name}': a chunk unpacks to more than the {size} bytes that it declares", code="bomb"
            )
        if extra:
            raise self._broken(f"a chunk unpacks to more than the {size} bytes that it declares")
        return plain

    def _check_index(self, header: dict[str, bytes], data: bytes) -> None:
        """Times and places that the index of a chunk lists must be those of its messages."""
        key, count = self._number(header, "conn", 4), self._number(header, "count", 4)
        held = self._places.get(key, {})
        if len(data) != 12 * count or count != len(held):
            self.position = self._chunk_at
            raise self._broken(f"connection {key} has {len(held)} messages in a chunk, the index says {count}")
        listed = np.frombuffer(data, dtype=np.dtype([("time", "<u8"), ("at", "<u4")]))
        if held != dict(zip(listed["at"].tolist(), listed["time"].tolist(), strict=True)):
            self.position = self._chunk_at  # either of them may be what has changed
            raise self._broken("the index of a chunk lists other times or places than its messages have")

    def _summary(self, header: dict[str, bytes], data: bytes) -> None:
        count = self._number(header, "count", 4)
        if len(data) != 8 * count:
            raise self._broken("a chunk summary has another length than it says")
        for key, messages in np.frombuffer(data, dtype="<u4").reshape(-1, 2).tolist():
            self._summaries[key] = self._summaries.get(key, 0) + messages

    def said(self) -> dict[str, int]:
        """Messages by topic, by the bag's chunk summaries."""
        counts: dict[str, int] = {}
        for key, messages in self._summaries.items():
            topic = self.topics.by_key.get(key)
            name = topic.name if topic is not None else f"connection {key}"
            counts[name] = counts.get(name, 0) + messages
        return counts

    def integrity(self) -> Integrity:
        """bz2 and most lz4 chunks carry a checksum of their content; the rest of the bag has none."""
        covered = self._compressions and "none" not in self._compressions and not self._unchecked
        return "partial" if covered else "none"

    def _cut(self) -> Damaged:
        return self._broken("it is cut off in the middle: its end is missing", "truncated")

    def _broken(self, why: str, code: str = "corrupt") -> Damaged:
        return Damaged(f"'{self.name}': {why}", code=code, offset=self.position, remedy="Copy the whole file again.")
