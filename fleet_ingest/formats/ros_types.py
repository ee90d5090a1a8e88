"""ROS message definitions, parsed by rosbags, as a flat tree that layouts walk. Nothing here reads messages.

A definition that cannot be parsed, or that lacks a part, is an error of its topic alone.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from storage.contracts.errors import DataError

_LINE = re.compile(r"^=+\s*$", re.M)
_MAX_TEXT = 1 << 20
_TIMES = {"builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"}
_RENAMED = {"char": "uint8", "byte": "uint8", "octet": "uint8"}
SIZES = {
    "bool": ("?", 1), "int8": ("i1", 1), "uint8": ("u1", 1), "int16": ("i2", 2), "uint16": ("u2", 2),
    "int32": ("i4", 4), "uint32": ("u4", 4), "int64": ("i8", 8), "uint64": ("u8", 8), "float32": ("f4", 4),
    "float64": ("f8", 8),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field: `base` one of SIZES or `string`, else `fields` of a nested message; `time`: seconds and nanoseconds.

    `count` None: a single one; 0: a sequence with its length before it; above: an array of that many.
    """

    name: str
    base: str = ""
    fields: tuple["Field", ...] = ()
    count: int | None = None
    time: bool = False


def fields_of(name: str, text: str, encoding: str) -> tuple[Field, ...]:
    """Fields of message type `name`, whose definition is `text` in `encoding` (ros1msg, ros2msg, ros2idl).

    With an empty text the type must be one of ROS's own. Raises DataError `undecodable`.
    """
    if len(text) > _MAX_TEXT:
        raise DataError(f"the definition of '{name[:80]}' has {len(text):,} characters", code="undecodable")
    try:
        known = _parsed(_full(name), text, encoding)
        return _fields(_full(name), known, encoding == "ros1msg", 0)
    except DataError:
        raise
    except Exception as error:  # the parser raises many kinds on hostile text; the topic alone is lost
        raise DataError(
            f"the definition of '{name[:80]}' cannot be parsed: {type(error).__name__}: {str(error)[:120]}",
            code="undecodable",
        ) from error


def _full(name: str) -> str:
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name


@lru_cache(maxsize=256)
def _parsed(name: str, text: str, encoding: str) -> dict[str, Any]:
    if not text.strip():
        return dict(_own())
    if encoding == "ros2idl":
        return dict(get_types_from_idl(text))
    return dict(get_types_from_msg(_LINE.sub("=" * 80, text), name))


@lru_cache(maxsize=1)
def _own() -> Any:
    return get_typestore(Stores.ROS2_HUMBLE).fielddefs


def _fields(name: str, known: dict[str, Any], ros1: bool, depth: int) -> tuple[Field, ...]:
    if depth > 12:
        raise DataError(f"'{name[:80]}' is nested more than 12 deep", code="undecodable")
    definition = known.get(name) or _own().get(name)
    if definition is None:
        raise DataError(f"the definition of '{name[:80]}' is missing", code="undecodable")
    if ros1 and name == "std_msgs/msg/Header" and name not in known:
        raise DataError("the definition of 'std_msgs/Header' is missing", code="undecodable")
    return tuple(_field(str(field), kind, known, ros1, depth) for field, kind in definition[1])


def _field(name: str, kind: Any, known: dict[str, Any], ros1: bool, depth: int) -> Field:
    node, what = kind
    if node == Nodetype.BASE:
        base = _RENAMED.get(what[0], what[0])
        if base not in SIZES and base != "string":
            raise DataError(f"field '{name}' is of type '{base}', which cannot be decoded", code="undecodable")
        return Field(name, base=base)
    if node == Nodetype.NAME:
        if what in _TIMES:
            return Field(name, time=True)
        return Field(name, fields=_fields(what, known, ros1, depth + 1))
    inner, count = what
    one = _field(name, inner, known, ros1, depth)
    if one.count is not None:
        raise DataError(f"field '{name}' is an array of arrays", code="undecodable")
    return Field(name, one.base, one.fields, int(count) if node == Nodetype.ARRAY else 0, one.time)
