"""Names that others chose: of uploaded files and of things inside them. They are shown and stored, never obeyed.

This module opens nothing.
"""

import re
import unicodedata

from storage.contracts.errors import DataError

_MAX = 400
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn the text around
_DOTS = re.compile(r"(^|[\\/])\.\.([\\/]|$)")


def check_file_name(name: str) -> str:
    """`name` as it is: a relative path of printable words without `..`. Raises DataError `hostile_name`."""
    _check_characters(name, "file name")
    if name.startswith(("/", "\\", "~")) or _DRIVE.match(name):
        raise _hostile("file name", name, "is an absolute path")
    return name


def check_inner_name(name: str, what: str) -> str:
    """`name` of a topic, attachment or data set (a leading `/` is usual there). Raises DataError `hostile_name`."""
    _check_characters(name, what)
    return name


def _check_characters(name: str, what: str) -> None:
    if not name or len(name) > _MAX:
        raise _hostile(what, name, f"has {len(name)} characters; 1 to {_MAX} are usual")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in name):
        raise _hostile(what, name, "holds control characters")
    if _DOTS.search(name):
        raise _hostile(what, name, "climbs out of its folder")


def _hostile(what: str, name: str, why: str) -> DataError:
    return DataError(
        f"the {what} {name[:80]!a} {why}", code="hostile_name",
        remedy="Rename it: no '..', no leading '/', no control characters.",
    )  # fmt: skip
