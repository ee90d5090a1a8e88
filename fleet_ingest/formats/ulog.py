"""PX4 ULog flight logs: one series a field of a topic, times on the autopilot's clock since boot.

See https://docs.px4.io/main/en/dev_log/ulog_file_format.html. Read here rather than by pyulog, which takes cut files
for whole ones: the framing is walked once, then all samples of a topic are one structured array. The tests hold the
result against pyulog. Several instances of a topic are `name`, `name_1`, `name_2`. ULog carries no checksums and no
counts; the frames of a topic are counted apart from the samples that decode.
"""

import re
import struct
from collections.abc import Collection
from pathlib import Path

import numpy as np

from fleet_ingest.formats.columns import WIDTH, plain
from fleet_ingest.formats.rawlog import Damaged, Limits, RawLog, Salvage, Series, Topic, count_flags, too_large
from fleet_ingest.formats.topics import pick
from fleet_ingest.names import check_inner_name
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

MAGIC = b"ULog\x01\x12\x35"
_HEADER = 16
_FIELDS = 4096
_FRAME = struct.Struct("<HB")
_KNOWN = frozenset(b"BFIMPQARDLCSO")
_SYNC = bytes((0x2F, 0x73, 0x13, 0x20, 0x25, 0x0C, 0xBB, 0x12))
_TYPES = {
    "int8_t": "i1", "uint8_t": "u1", "int16_t": "<i2", "uint16_t": "<u2", "int32_t": "<i4", "uint32_t": "<u4",
    "int64_t": "<i8", "uint64_t": "<u8", "float": "<f4", "double": "<f8", "bool": "?", "char": "S1",
}  # fmt: skip
_FIELD = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d{1,6})\])? ([A-Za-z_][A-Za-z0-9_]*)$")
_SOUND = re.compile(r"^([^:]*):(?:\w+(?:\[\d+\])? \w+;)+$")
_FORMAT = re.compile(r"^([A-Za-z_][A-Za-z0-9_/-]*):(.*)$", re.S)


def read_ulog(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The log at `path`. Raises DataError: `corrupt`, `truncated` (nothing readable), `empty`, `too_large`."""
    if path.stat().st_size > limits.expanded_bytes:
        raise too_large(f"size of '{path.name}' in bytes", path.stat().st_size, limits.expanded_bytes)
    walk = _Walk(path.name, path.read_bytes(), limits)
    flags: list[QualityFlag] = []
    broken: Damaged | None = None
    try:
        walk.run()
    except Damaged as error:
        if not walk.count:
            raise
        broken = error
    series, topics = _decoded(walk)
    if not series:
        raise DataError(f"'{path.name}' holds no samples", code="empty")
    salvaged = None
    if broken is not None:
        salvaged = Salvage(walk.count, broken.offset, path.stat().st_size)
        detail = f"{broken}; lost from byte {broken.offset:,} on; {walk.count:,} samples before that were kept"
        flags.append(QualityFlag(code=broken.code, detail=detail))
    if walk.dropouts:
        detail = f"the logger lost {sum(walk.dropouts)} ms of data in all"
        flags.append(QualityFlag(code="dropout", count=len(walk.dropouts), detail=detail))
    flags += count_flags(topics)
    return RawLog(
        "ulog", pick(series, columns), tuple(series), walk.facts, tuple(flags), topics, "none", salvaged
    )  # fmt: skip


class _Walk:
    """The frames of one log: formats, subscriptions, and the places of the samples of each subscription."""

    def __init__(self, name: str, data: bytes, limits: Limits) -> None:
        self.name, self.data, self.limits = name, data, limits
        self.formats: dict[str, str] = {}
        self.topics: dict[int, tuple[str, str]] = {}
        self.samples: dict[int, list[int]] = {}
        self.sizes: dict[int, list[int]] = {}
        self.facts: dict[str, str] = {}
        self.dropouts: list[int] = []
        self.count = 0
        self._ends: list[int] = []

    def run(self) -> None:
        """Walks to the end. Raises Damaged where the framing breaks."""
        if len(self.data) < _HEADER or not self.data.startswith(MAGIC):
            raise Damaged(f"'{self.name}' ends within its header", code="truncated", offset=0)
        position = _HEADER
        while position < len(self.data):
            position = self._segment(position)

    def _segment(self, position: int) -> int:
        """Walks to the end or to where an appended part begins (a frame may be cut there)."""
        data, size = self.data, len(self.data)
        while position < size:
            end = next((e for e in self._ends if e > position), size)
            if position + 3 > end:
                break
            length, kind = _FRAME.unpack_from(data, position)
            after = position + 3 + length
            if kind not in _KNOWN:
                raise self._broken(position, f"a frame of the unknown kind {kind}")
            if after > end:
                break
            if kind == 68:  # D: a sample
                self._sample(position, length)
            else:
                self._other(chr(kind), data[position + 3 : after], position)
            position = after
            if position in self._ends:
                self._ends.remove(position)
        if position == size:
            return size
        at = next((e for e in self._ends if e > position), None)
        if at is not None and at < size:
            self._ends.remove(at)
            return at
        raise self._broken(position, "it is cut off in the middle of a frame", "truncated")

    def _sample(self, position: int, length: int) -> None:
        key = int.from_bytes(self.data[position + 3 : position + 5], "little")
        if key not in self.topics or length < 2:
            raise self._broken(position, f"a sample of subscription {key}, which was not made")
        self.samples[key].append(position + 5)
        self.sizes[key].append(length - 2)
        self.count += 1
        if self.count > self.limits.rows:
            raise too_large(f"samples in '{self.name}'", self.count, self.limits.rows)

    def _other(self, kind: str, body: bytes, position: int) -> None:
        if kind == "F":
            self._format(body.decode("utf-8", "replace"), position)
        elif kind == "A":
            self._subscription(body, position)
        elif kind == "B":
            self._flag_bits(body, position)
        elif kind == "O" and len(body) >= 2:
            self.dropouts.append(int.from_bytes(body[:2], "little"))
        elif kind == "S" and body[:8] != _SYNC:
            raise self._broken(position, "a synchronisation frame has other bytes than it must")
        elif kind == "I" and len(body) > 1 and len(self.facts) < 1000:
            name, value = body[1 : 1 + body[0]].decode("utf-8", "replace"), body[1 + body[0] :]
            if name.startswith("char["):
                self.facts[name.split(" ", 1)[-1][:100]] = value.decode("utf-8", "replace")[:1000]

    def _format(self, text: str, position: int) -> None:
        if sound := _SOUND.match(text):
            check_inner_name(sound[1] or "?", f"format in '{self.name}'")
        found = _FORMAT.match(text)
        if found is None or self.formats.setdefault(found[1], found[2]) != found[2]:
            raise self._broken(position, f"the format {text[:40]!r} makes no sense or differs from an earlier one")

    def _subscription(self, body: bytes, position: int) -> None:
        name = body[3:].decode("utf-8", "replace")
        if len(body) < 4 or name not in self.formats:
            raise self._broken(position, f"a subscription of '{name[:60]!a}', whose format is not there")
        check_inner_name(name, f"topic in '{self.name}'")
        key, instance = int.from_bytes(body[1:3], "little"), body[0]
        label = name if instance == 0 else f"{name}_{instance}"
        if self.topics.setdefault(key, (label, name)) != (label, name):
            raise self._broken(position, f"subscription {key} is made twice, differently")
        self.samples.setdefault(key, [])
        self.sizes.setdefault(key, [])

    def _flag_bits(self, body: bytes, position: int) -> None:
        if len(body) < 40:
            raise self._broken(position, "its flags are cut off")
        if any(body[9:16]) or body[8] & ~1:
            raise self._broken(position, "it needs a newer reader (incompatible flags are set)")
        if body[8] & 1:
            self._ends = sorted(o for o in struct.unpack_from("<QQQ", body, 16) if o)

    def _broken(self, offset: int, why: str, code: str = "corrupt") -> Damaged:
        return Damaged(
            f"'{self.name}': {why} (byte {offset:,})", code=code, offset=offset, remedy="Copy the whole file again."
        )

    def dtype(self, name: str, depth: int = 0) -> list[tuple[str, str, int]]:
        """(field, numpy type, count; 0 for a single one) of the format `name`, in order. Raises DataError."""
        if depth > 8 or name not in self.formats:
            raise DataError(f"the format '{name[:60]}' is missing or nested too deep", code="undecodable")
        parts: list[tuple[str, str, int]] = []
        for text in self.formats[name].strip(";").split(";"):
            found = _FIELD.match(text.strip())
            if found is None:
                raise DataError(f"the format '{name[:60]}' has the field {text[:40]!r}", code="undecodable")
            kind, count, field = found[1], int(found[2] or 0), found[3]
            if kind in _TYPES:
                parts.append((field, _TYPES[kind], count))
            else:
                for index in range(count or 1):
                    inner = f"{field}[{index}]" if count else field
                    parts += [(f"{inner}.{n}", k, c) for n, k, c in self.dtype(kind, depth + 1)]
                    if len(parts) > _FIELDS:
                        raise DataError(f"the format '{name[:60]}' has too many fields", code="undecodable")
        return parts


def _decoded(walk: _Walk) -> tuple[dict[str, Series], tuple[Topic, ...]]:
    series: dict[str, Series] = {}
    topics = []
    for key, (label, name) in walk.topics.items():
        places = np.array(walk.samples[key], dtype=np.int64)
        if not len(places):
            continue
        try:
            found, rows = _table(walk, name, places, np.array(walk.sizes[key], dtype=np.int64))
            reason = "" if rows == len(places) else "samples of another length than the format's"
        except DataError as error:
            found, rows, reason = {}, 0, str(error)
        time = found.pop("timestamp", None)
        if rows and time is None:
            rows, reason = 0, "the format has no timestamp"
        topics.append(Topic(label, rows, len(places), name, "ulog", reason))
        if time is not None:
            time_ns = time.astype(np.int64) * 1000
            series |= {f"{label}.{field}": Series(values, time_ns, label) for field, values in found.items()}
            series[f"{label}.log_time"] = Series(time_ns, time_ns, label)
    return series, tuple(topics)


def _table(walk: _Walk, name: str, places: np.ndarray, sizes: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """Field -> [n] or [n, k] of the samples whose size fits, and their number; padding at the end may be left out."""
    fields = walk.dtype(name)
    kinds = [(f"{i}", kind if not count else (kind, (count,))) for i, (_, kind, count) in enumerate(fields)]
    whole = np.dtype([(n, *k) if isinstance(k, tuple) else (n, k) for n, k in kinds])
    least = whole.itemsize
    for _, kind, count in reversed([f for f in fields]):
        if not fields[-1][0].startswith("_padding"):
            break
        least -= np.dtype(kind).itemsize * max(count, 1)
        break
    fits = (sizes >= least) & (sizes <= whole.itemsize)
    places, sizes = places[fits], sizes[fits]
    if whole.itemsize > 65_535 or not len(places):
        return {}, 0
    raw = np.frombuffer(walk.data, dtype=np.uint8)
    offsets = np.arange(whole.itemsize)
    matrix = np.zeros((len(places), whole.itemsize), dtype=np.uint8)
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        matrix[rows, :size] = raw[places[rows, None] + offsets[None, :size]]
    table = matrix.view(whole)[:, 0]
    found: dict[str, np.ndarray] = {}
    for index, (field, kind, count) in enumerate(fields):
        values = table[f"{index}"]
        if field.startswith("_padding") or count > WIDTH:
            continue
        if kind == "S1":
            texts = np.ascontiguousarray(values).view(f"S{max(count, 1)}").ravel()
            found[field] = np.array([t.decode("utf-8", "replace") for t in texts.tolist()], dtype=object)
        else:
            found[field] = plain(np.ascontiguousarray(values))
    return found, len(places)
