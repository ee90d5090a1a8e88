"""Decodes serialised ROS messages many at a time: CDR (ROS 2) and ROS 1's packed form.

One message is walked field by field, which gives the place of every number and of every length in it. All messages of
the same size with the same lengths have their numbers at the same places, so they are cut out of one byte matrix
[messages, size] at once. Messages without a length of their own (the rule for sensor data) need one walk a topic.
CDR: OMG formal/2022-01-05, XCDR version 1; numbers are aligned to their size, counted from behind the 4-byte header.
"""

import struct
from collections.abc import Sequence

import numpy as np

from fleet_ingest.formats.columns import WIDTH, Columns
from fleet_ingest.formats.ros_types import SIZES, Field

_ELEMENTS = 64
_STEPS = 20_000
_HOPELESS = 200
_HEADER = 4


class _Walk:
    """The places in one message: leaves (name, offset, dtype, count), times, texts; `lengths`: offsets of lengths."""

    def __init__(self, data: bytes, cdr: bool) -> None:
        self.data, self.cdr = data, cdr
        self.position = self.origin = _HEADER if cdr else 0
        self.order = "<"
        if cdr:
            if len(data) < _HEADER or data[0] != 0 or data[1] > 1:
                raise ValueError("not plain CDR")
            self.order = "<" if data[1] == 1 else ">"
        self.leaves: list[tuple[str, int, str, int | None]] = []
        self.times: list[tuple[str, int]] = []
        self.texts: list[tuple[str, int, int]] = []
        self.lengths: list[int] = [0] if cdr else []
        self.wide: list[str] = []
        self._steps = 0

    def take(self, size: int, align: int) -> int:
        """The offset of `size` bytes; moves behind them."""
        if self.cdr and align > 1:
            self.position += -(self.position - self.origin) % align
        at = self.position
        self.position = at + size
        if self.position > len(self.data):
            raise ValueError("the message is shorter than its definition")
        return at

    def length(self) -> int:
        at = self.take(4, 4)
        self.lengths.append(at)
        return int(struct.unpack_from(f"{self.order}I", self.data, at)[0])

    def fields(self, prefix: str, fields: tuple[Field, ...], keep: bool) -> None:
        if not fields and self.cdr:
            self.take(1, 1)  # an empty structure has one byte
        for field in fields:
            self.field(f"{prefix}{field.name}", field, keep)

    def field(self, name: str, field: Field, keep: bool) -> None:
        self._steps += 1
        if self._steps > _STEPS:
            raise ValueError("the message is nested too wide")
        if field.count is None:
            self.one(name, field, keep)
            return
        count = field.count or self.length()
        if count > len(self.data):
            raise ValueError("a length reaches beyond the message")
        if field.base in SIZES:
            self.numbers(name, field.base, count, keep)
            return
        shown = keep and count <= _ELEMENTS
        if keep and not shown:
            self.wide.append(name)
        for index in range(count):
            self._steps += 1
            self.one(f"{name}[{index}]", field, shown)
            if self._steps > _STEPS:
                raise ValueError("the message is nested too wide")

    def one(self, name: str, field: Field, keep: bool) -> None:
        if field.time:
            at = self.take(4, 4)
            self.take(4, 4)
            if keep:
                self.times.append((name, at))
        elif field.base == "string":
            size = self.length()
            at = self.take(size, 1)
            if keep:
                self.texts.append((name, at, max(0, size - 1) if self.cdr else size))
        elif field.base:
            dtype, size = SIZES[field.base]
            at = self.take(size, size)
            if keep:
                self.leaves.append((name, at, dtype, None))
        else:
            self.fields(f"{name}.", field.fields, keep)

    def numbers(self, name: str, base: str, count: int, keep: bool) -> None:
        dtype, size = SIZES[base]
        if count == 0:
            return
        at = self.take(size * count, size)
        if not keep or count > WIDTH:
            self.wide += [name] if keep else []
            return
        self.leaves.append((name, at, dtype, count))

    def check_end(self) -> None:
        """CDR writers may pad to 4 bytes; anything more means that the definition is not the message's."""
        rest = len(self.data) - self.position
        if rest > (3 if self.cdr else 0):
            raise ValueError(f"{rest} bytes are left over")


class RosDecoder:
    """Messages of one topic, whose fields are known."""

    def __init__(self, fields: tuple[Field, ...], *, cdr: bool) -> None:
        self._fields, self._cdr = fields, cdr
        self._good = self._bad = 0

    def decode(self, messages: Sequence[bytes], first_row: int, columns: Columns) -> np.ndarray:
        """Puts the fields of `messages`, which are rows from `first_row` on, into `columns`.

        Returns bool [n]: True where a message does not fit its definition; it leaves its cells empty.
        """
        bad = np.zeros(len(messages), dtype=bool)
        sizes = np.fromiter((len(m) for m in messages), dtype=np.int64, count=len(messages))
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            joined = b"".join(messages[int(i)] for i in rows) if len(rows) < len(messages) else b"".join(messages)
            matrix = np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), int(size))
            self._same_size(matrix, rows, first_row, columns, bad)
        return bad

    def _same_size(
        self, matrix: np.ndarray, rows: np.ndarray, first_row: int, columns: Columns, bad: np.ndarray
    ) -> None:
        while len(rows):
            if self._bad > _HOPELESS and not self._good:
                bad[rows] = True
                return
            walk = _Walk(matrix[0].tobytes(), self._cdr) if self._readable(matrix) else None
            try:
                if walk is None:
                    raise ValueError("not plain CDR")
                walk.fields("", self._fields, True)
                walk.check_end()
            except (ValueError, struct.error):
                bad[rows[0]] = True
                self._bad += 1
                matrix, rows = matrix[1:], rows[1:]
                continue
            places = np.array([at + i for at in walk.lengths for i in range(4)], dtype=np.int64)
            same = (matrix[:, places] == matrix[0, places]).all(axis=1)
            whole = bool(same.all())
            self._good += 1
            _cut(walk, matrix if whole else matrix[same], rows[same] + first_row, columns)
            if whole:
                return
            matrix, rows = matrix[~same], rows[~same]

    def _readable(self, matrix: np.ndarray) -> bool:
        return not self._cdr or (matrix.shape[1] >= _HEADER and matrix[0, 0] == 0 and matrix[0, 1] <= 1)


def _cut(walk: _Walk, matrix: np.ndarray, rows: np.ndarray, columns: Columns) -> None:
    for name, at, dtype, count in walk.leaves:
        columns.put(name, rows, _view(matrix, at, f"{walk.order}{dtype}", count))
    for name, at in walk.times:
        parts = _view(matrix, at, f"{walk.order}u4", 2).astype(np.int64)
        seconds = parts[:, 0] - ((parts[:, 0] >> 31) << 32 if walk.cdr else 0)
        columns.put(name, rows, seconds * 1_000_000_000 + parts[:, 1])
    for name, at, size in walk.texts:
        columns.put(name, rows, _texts(matrix[:, at : at + size]))
    for name in walk.wide:
        columns.leave_out(name, len(rows))


def _view(matrix: np.ndarray, at: int, dtype: str, count: int | None) -> np.ndarray:
    """[n] or [n, count] numbers that stand at byte `at` of every row of uint8 [n, size]."""
    width = np.dtype(dtype).itemsize * (count or 1)
    values = np.ascontiguousarray(matrix[:, at : at + width]).view(dtype)
    return values[:, 0] if count is None else values


def _texts(matrix: np.ndarray) -> np.ndarray:
    """Objects [n]: UTF-8 text of each row of uint8 [n, size]."""
    n, size = matrix.shape
    if size == 0:
        return np.full(n, "", dtype=object)
    if bool((matrix == matrix[0]).all()):
        return np.full(n, matrix[0].tobytes().decode("utf-8", "replace"), dtype=object)
    packed = np.ascontiguousarray(matrix)
    return np.array([packed[i].tobytes().decode("utf-8", "replace") for i in range(n)], dtype=object)
