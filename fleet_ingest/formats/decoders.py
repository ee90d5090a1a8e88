"""From encoded messages to columns: JSON, protobuf, ROS 2 CDR, ROS 1; one decoder a topic.

A topic without a decoder is no error of its file: `decoder_for` says why in words. Messages that do not decode are
counted and leave no row. This module reads no files.
"""

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from fleet_ingest.formats.columns import WIDTH, Columns
from fleet_ingest.formats.ros_layout import RosDecoder
from fleet_ingest.formats.ros_types import fields_of
from storage.contracts.errors import DataError

_DEPTH = 8
_ELEMENTS = 64
_PROTO_TIMES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
_ROS2 = {"ros2msg", "ros2idl"}


class Decoder(Protocol):
    """Puts the fields of messages, rows from `first_row` on, into columns; True [n] where one did not decode."""

    def decode(self, messages: Sequence[bytes], first_row: int, columns: Columns) -> np.ndarray: ...


def decoder_for(encoding: str, type_name: str, schema_encoding: str, schema: bytes) -> Decoder:
    """The decoder of a topic. Raises DataError `undecodable`, whose text says why."""
    name = encoding.lower()
    if name == "json":
        return JsonDecoder()
    if name == "protobuf":
        return ProtobufDecoder(type_name, schema)
    if name == "cdr":
        if schema_encoding not in _ROS2 and schema.strip():
            raise DataError(f"CDR with a schema in '{schema_encoding[:40]}' cannot be decoded", code="undecodable")
        return RosDecoder(fields_of(type_name, _text(schema), schema_encoding or "ros2msg"), cdr=True)
    if name == "ros1":
        return RosDecoder(fields_of(type_name, _text(schema), "ros1msg"), cdr=False)
    raise DataError(f"messages in '{encoding[:40]}' cannot be decoded", code="undecodable")


def _text(schema: bytes) -> str:
    return schema.decode("utf-8", "replace")


class JsonDecoder:
    """Objects become dotted fields, lists of numbers [n, k]."""

    def decode(self, messages: Sequence[bytes], first_row: int, columns: Columns) -> np.ndarray:
        bad = np.zeros(len(messages), dtype=bool)
        found = _json_values(messages, bad)
        alike = None if bad.any() else _alike(found)
        if alike is not None:
            rows = np.arange(len(messages), dtype=np.int64) + first_row
            for name, cells in alike.items():
                _put_cells(name, rows, cells, columns)
            return bad
        leaves: dict[str, tuple[list[int], list[Any]]] = {}
        for row, value in enumerate(found):
            if not bad[row]:
                _leaves("", value, 0, row, leaves)
        for name, (at, values) in leaves.items():
            _put_cells(name, np.array(at, dtype=np.int64) + first_row, values, columns)
        return bad


def _alike(values: list[Any]) -> dict[str, list[Any]] | None:
    """Name -> cells of objects that all have the same keys and no objects inside, else None: the common case, at a
    third of the cost of `_leaves`, which gives the same.
    """
    names = list(values[0]) if values and type(values[0]) is dict else []
    if not names or "" in names or any(type(value) is not dict or list(value) != names for value in values):
        return None
    cells = {name: [value[name] for value in values] for name in names}
    for column in cells.values():
        kinds = set(map(type, column))
        if dict in kinds or (list in kinds and any(type(c) is list and c and type(c[0]) is dict for c in column)):
            return None
    return cells


def _json_values(messages: Sequence[bytes], bad: np.ndarray) -> list[Any]:
    """All of a batch in one parse, since most of the cost is in the call; one by one when that fails."""
    try:
        values = json.loads(b"[" + b",".join(messages) + b"]")
        if len(values) == len(messages):
            return list(values)
    except (ValueError, RecursionError):
        pass
    values = []
    for row, message in enumerate(messages):
        try:
            values.append(json.loads(message))
        except (ValueError, RecursionError):
            bad[row] = True
            values.append(None)
    return values


def _leaves(path: str, value: Any, depth: int, row: int, cells: dict[str, tuple[list[int], list[Any]]]) -> None:
    kind = type(value)
    if kind is dict and depth < _DEPTH:
        for key, inner in value.items():
            _leaves(f"{path}.{key}" if path else key, inner, depth + 1, row, cells)
        return
    if kind is list and value and type(value[0]) is dict and depth < _DEPTH and len(value) <= _ELEMENTS:
        for i, inner in enumerate(value):
            _leaves(f"{path}[{i}]", inner, depth + 1, row, cells)
        return
    rows, values = cells.setdefault(path or "value", ([], []))
    rows.append(row)
    values.append(value)


def _put_cells(name: str, at: np.ndarray, cells: list[Any], columns: Columns) -> None:
    kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {list}:
        _put_lists(name, at, cells, columns)
        return
    values = _scalars(cells, kinds)
    if values is None:
        columns.leave_out(name, len(at))
    else:
        columns.put(name, at, values)


def _scalars(cells: list[Any], kinds: set[type]) -> np.ndarray | None:
    none = None in cells
    if kinds == {float} and not none:
        return np.array(cells, dtype=np.float64)
    if kinds == {int} and not none:
        try:
            return np.array(cells, dtype=np.int64)
        except OverflowError:
            return np.array([float(cell) if abs(cell) < 1e300 else np.nan for cell in cells])
    if kinds <= {float, int, bool}:
        return np.array(
            [np.nan if c is None or (type(c) is int and abs(c) > 1e300) else c for c in cells], dtype=np.float64
        )
    return np.array(cells, dtype=object) if kinds == {str} else None


def _put_lists(name: str, at: np.ndarray, cells: list[Any], columns: Columns) -> None:
    """[n, k] of the longest; shorter rows end in NaN."""
    width = max((len(cell) for cell in cells if cell is not None), default=0)
    if width == 0:
        return
    if width > WIDTH:
        columns.leave_out(name, len(cells))
        return
    blank = [np.nan] * width
    padded = [blank if c is None else c if len(c) == width else [*c, *blank[len(c) :]] for c in cells]
    try:
        values = np.array(padded, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        columns.leave_out(name, len(cells))
        return
    if values.ndim == 2:
        columns.put(name, at, values)
    else:
        columns.leave_out(name, len(cells))


class ProtobufDecoder:
    """Messages by the schema's descriptor set, with google's own parser. Unset fields have their default."""

    def __init__(self, type_name: str, schema: bytes) -> None:
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(schema)
            pool = descriptor_pool.DescriptorPool()
            pending = list(files.file)
            while pending:
                ready = [f for f in pending if not ({d.name for d in pending if d is not f} & set(f.dependency))]
                for file in ready or pending:
                    pool.Add(file)
                pending = [f for f in pending if f not in ready] if ready else []
            self._class: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(type_name))
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the protobuf schema of '{type_name[:80]}' cannot be used: {str(error)[:120]}", code="undecodable"
            ) from error

    def decode(self, messages: Sequence[bytes], first_row: int, columns: Columns) -> np.ndarray:
        bad = np.zeros(len(messages), dtype=bool)
        parsed: list[Any] = []
        parse = self._class.FromString
        for row, data in enumerate(messages):
            try:
                parsed.append(parse(data))
            except (DecodeError, ValueError):
                bad[row] = True
        rows = np.flatnonzero(~bad) + first_row
        if parsed:
            _proto_columns("", parsed[0].DESCRIPTOR, parsed, rows, 0, columns)
        return bad


def _proto_columns(
    prefix: str, descriptor: Any, messages: list[Any], rows: np.ndarray, depth: int, columns: Columns
) -> None:
    """Field by field over all messages at once; `rows` int64 [n] are theirs."""
    for field in descriptor.fields:
        name = f"{prefix}{field.name}"
        values = list(map(attrgetter(field.name), messages))
        if field.type not in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
            if field.type == FieldDescriptor.TYPE_BYTES:
                columns.leave_out(name, len(rows))
            else:
                _put_cells(name, rows, [list(v) for v in values] if field.is_repeated else values, columns)
        elif field.message_type.GetOptions().map_entry or depth >= _DEPTH:
            columns.leave_out(name, len(rows))
        elif field.is_repeated:
            longest = max((len(v) for v in values), default=0)
            for index in range(min(longest, _ELEMENTS)):
                there = [i for i, v in enumerate(values) if len(v) > index]
                inner = [values[i][index] for i in there]
                _proto_message(f"{name}[{index}]", field.message_type, inner, rows[there], depth, columns)
            if longest > _ELEMENTS:
                columns.leave_out(f"{name}[{_ELEMENTS}:]", len(rows))
        elif depth == 0 or any(message.HasField(field.name) for message in messages):
            _proto_message(name, field.message_type, values, rows, depth, columns)


def _proto_message(
    name: str, descriptor: Any, messages: list[Any], rows: np.ndarray, depth: int, columns: Columns
) -> None:
    if descriptor.full_name in _PROTO_TIMES:
        columns.put(name, rows, np.array([m.seconds * 1_000_000_000 + m.nanos for m in messages], dtype=np.int64))
    else:
        _proto_columns(f"{name}.", descriptor, messages, rows, depth + 1, columns)
