"""What the footer of a Parquet file says of its column chunks, read here: Arrow 26 ends the process that asks it for
the column metadata of some damaged footers.

Thrift compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) of the
structs in parquet.thrift (`FileMetaData` 4 row groups; `RowGroup` 1 columns, 3 rows; `ColumnChunk` 1 file, 3 metadata;
`ColumnMetaData` 3 path, 5 values, 6 unpacked bytes, 9 data page, 11 dictionary page). Every length is checked against
the bytes that are there. This module reads no pages.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STRUCT, _LIST, _SET, _MAP, _BINARY, _DOUBLE = 12, 9, 10, 11, 8, 7
_TRUE, _FALSE, _BYTE = 1, 2, 3
_DEPTH = 16
_TAIL = 8


@dataclass(frozen=True)
class Chunk:
    """One column in one row group; `page` is the byte at which its first page begins."""

    path: str
    values: int
    unpacked_bytes: int
    page: int


@dataclass(frozen=True)
class Group:
    rows: int
    chunks: tuple[Chunk, ...]


def read_footer(path: Path) -> tuple[Group, ...]:
    """The row groups. Raises ValueError where the footer makes no sense, also for a column in another file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        length = int.from_bytes(file.read(4), "little")
        if length > size - _TAIL:
            raise ValueError(f"its footer is said to have {length:,} bytes, the file has {size:,}")
        file.seek(size - _TAIL - length)
        whole = _Reader(file.read(length)).struct(0)
    return tuple(_group(group) for group in _typed(whole.get(4, []), list))


def _group(fields: Any) -> Group:
    group = _typed(fields, dict)
    return Group(_typed(group.get(3), int), tuple(_chunk(chunk) for chunk in _typed(group.get(1, []), list)))


def _chunk(fields: Any) -> Chunk:
    chunk = _typed(fields, dict)
    if chunk.get(1):
        raise ValueError("a column is said to be in another file")
    facts = _typed(chunk.get(3), dict)
    path = ".".join(_typed(name, bytes).decode("utf-8", "replace") for name in _typed(facts.get(3), list))
    pages = [_typed(facts[key], int) for key in (9, 11) if facts.get(key)]
    return Chunk(path, _typed(facts.get(5), int), _typed(facts.get(6), int), min(pages, default=0))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError("a field of its footer is missing or of another type")
    return value


class _Reader:
    """Structs become dicts by field number, lists lists, binaries bytes, numbers ints; booleans and doubles None."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEPTH:
            raise ValueError("its footer is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = None if head & 15 in (_TRUE, _FALSE) else self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_TRUE, _FALSE, _BYTE):  # booleans in lists have a byte of their own
            self._byte()
            return None
        if kind == _DOUBLE:
            self._bytes(8)
            return None
        if kind in (4, 5, 6):
            return self._zigzag()
        raise ValueError(f"its footer holds a field of the unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        if count > len(self._data) - self._at:  # each entry has a byte at least
            raise ValueError("a list of its footer is longer than the footer")
        return [self._value(head & 15, depth) for _ in range(count)]

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of its footer has too many bytes")

    def _byte(self) -> int:
        if self._at >= len(self._data):
            raise ValueError("its footer ends too early")
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("its footer ends too early")
        return self._data[self._at - count : self._at]
