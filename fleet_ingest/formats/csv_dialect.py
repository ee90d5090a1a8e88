"""Finds out how a CSV file is written: encoding, separator, decimal sign, header, a row of units, a preamble.

What the mapping says wins over what is guessed. This module reads the beginning of a file only and converts no values.
"""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from fleet_ingest.formats.arrow import is_number
from storage.contracts.base import Contract
from storage.contracts.errors import DataError

MISSING = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "none", "-", "--", "?")
_SEPARATORS = (";", "\t", "|", ",", " ")
_DECIMAL_COMMA = re.compile(r"^\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*$")
_PREAMBLE_LINES = 100


class CsvOptions(Contract):
    """How a CSV file is written; whatever is left out is found from the file."""

    separator: str | None = Field(
        default=None, min_length=1, max_length=1, description="one character; ' ' is any white space"
    )
    decimal: Literal[".", ","] | None = None
    header: bool | None = Field(default=None, description="false: columns are called column_1, column_2 ...")
    names: tuple[str, ...] = Field(
        default=(), description="column names, for a file without a header or with a wrong one"
    )
    skip_rows: int = Field(default=0, ge=0, le=10_000, description="lines before the header")
    comment: str = Field(default="#", description="lines that begin so, before the header, are skipped")
    encoding: str | None = None


@dataclass(frozen=True)
class Dialect:
    """How one file is written.

    `skip_lines` are the lines before the first row of data; `units` a row of units, if any.
    """

    separator: str
    decimal: str
    names: tuple[str, ...]
    skip_lines: int
    units: tuple[str, ...] = ()


def find_encoding(head: bytes, options: CsvOptions) -> str:
    """The option, a byte order mark, UTF-8, or else Latin-1 (which reads any bytes)."""
    if options.encoding is not None:
        return options.encoding
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return name
    try:
        head[: head.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def find_dialect(name: str, text: str, options: CsvOptions) -> Dialect:
    """The dialect of a file that begins with `text`.

    Raises DataError `empty` or `wrong_separator`; `name` is for messages.
    """
    lines = text.splitlines()
    start = options.skip_rows
    comments: list[str] = []
    while start < len(lines) and (
        not lines[start].strip() or (options.comment and lines[start].startswith(options.comment))
    ):
        comments.append(lines[start])
        start += 1
    body = [line for line in lines[start : start + 200]]
    if not any(line.strip() for line in body):
        raise DataError(f"'{name}' has no rows", code="empty")
    separator = options.separator or _separator(body)
    rows = [split_fields(line, separator) for line in body if line.strip()]
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    _check_separator(name, rows, separator, width)
    skipped = next(
        (i for i, line in enumerate(body[:_PREAMBLE_LINES]) if len(split_fields(line, separator)) == width), 0
    )
    before = split_fields(body[skipped - 1], separator) if skipped else []
    body = body[skipped:]
    rows = [split_fields(line, separator) for line in body if line.strip()]
    if len(before) == width - 1 and not any(row[-1].strip() for row in rows if len(row) == width):
        rows, skipped = [[*before, ""], *rows], skipped - 1  # every row but the header ends in a separator
    else:
        _check_header(name, before, rows[0], options)
    if options.names and len(options.names) != width:
        raise DataError(
            f"'csv: names' has {len(options.names)} names, the rows of '{name}' have {width} fields", code="ragged"
        )
    decimal = options.decimal or _decimal(rows, separator)
    return _with_header(rows, comments, start + skipped, separator, decimal, options)


def _with_header(
    rows: list[list[str]], comments: list[str], start: int, separator: str, decimal: str, options: CsvOptions
) -> Dialect:
    header = options.header if options.header is not None else not _is_numeric(rows[0], decimal)
    if not header:
        names = (
            list(options.names)
            or _commented_names(comments, separator, len(rows[0]), options)
            or [f"column_{i + 1}" for i in range(len(rows[0]))]
        )
        return Dialect(separator, decimal, _unique(names), start)
    units: tuple[str, ...] = ()
    if (
        len(rows) > 2
        and not any(_plain_number(f, decimal) for f in rows[1] if f.strip())
        and any(_plain_number(f, decimal) for f in rows[2])
        and not all(not f.strip() for f in rows[1])
    ):
        units = tuple(rows[1])
    found = options.names or tuple(rows[0])
    return Dialect(separator, decimal, _unique(list(found)), start + 1 + bool(units), units)


def _check_header(name: str, header: list[str], row: list[str], options: CsvOptions) -> None:
    """A header with another number of names than the rows have fields is refused: which ones are absent nobody can
    tell.
    """
    words = len(header) > 1 and not any(is_number(field) for field in header)
    if words and any(is_number(field) for field in row) and not options.names:
        raise DataError(
            f"the header of '{name}' has {len(header)} names and its rows have {len(row)} fields; which names "
            "have no field cannot be told",
            code="header_mismatch",
            remedy=f"Give the {len(row)} right ones: 'csv: {{names: [...], header: false, skip_rows: 1}}' in the map.",
        )


def _commented_names(comments: list[str], separator: str, width: int, options: CsvOptions) -> list[str] | None:
    """The last comment line, when it names as many columns as there are: how numpy.savetxt writes a header."""
    if not comments or options.header is not None:
        return None
    fields = split_fields(comments[-1].lstrip(options.comment).strip(), separator)
    return fields if len(fields) == width and width > 1 else None


def split_fields(line: str, separator: str) -> list[str]:
    """The fields of one line."""
    if separator == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _separator(lines: list[str]) -> str:
    """The separator that cuts most lines into the same number of fields, two or more."""
    best, best_score = ",", 0.0
    for candidate in _SEPARATORS:
        counts = Counter(len(split_fields(line, candidate)) for line in lines if line.strip())
        width, share = max(counts.items(), key=lambda item: (item[1], item[0]))
        score = share / sum(counts.values())
        if width > 1 and score > best_score + 1e-9 and score > 0.5:
            best, best_score = candidate, score
    return best


def _check_separator(name: str, rows: list[list[str]], separator: str, width: int) -> None:
    if width > 1:
        return
    joined = " ".join(row[0] for row in rows[:20] if row)
    for other in _SEPARATORS[:4]:
        if other != separator and joined.count(other) >= min(len(rows), 20):
            raise DataError(
                f"'{name}' has a single column when it is cut at {separator!r}: {rows[0][0][:60]!r}",
                code="wrong_separator",
                remedy=f"Set 'csv: {{separator: {other!r}}}' in the mapping, or leave it out to have it found.",
            )  # fmt: skip


def _decimal(rows: list[list[str]], separator: str) -> str:
    if separator == ",":
        return "."
    fields = [field for row in rows[1:] for field in row if field.strip()]
    commas = sum(_DECIMAL_COMMA.match(field) is not None for field in fields)
    points = sum("." in field and is_number(field) for field in fields)
    return "," if commas > points else "."


def _plain_number(field: str, decimal: str) -> bool:
    return is_number(field.replace(",", ".") if decimal == "," else field)


def _is_numeric(row: list[str], decimal: str) -> bool:
    """A row of data: at least one number, and nothing but numbers, times and missing values."""
    texts = [f.strip() for f in row]
    numbers = [_plain_number(f, decimal) for f in texts]
    rest = [f for f, number in zip(texts, numbers, strict=True) if not number and f not in MISSING]
    return any(numbers) and all(re.match(r"^\d{4}-\d\d-\d\d|^\d\d?:\d\d", f) for f in rest)


def _unique(fields: list[str]) -> tuple[str, ...]:
    """Trimmed names; empty ones become column_N and repeated ones get _2, _3."""
    names: dict[str, None] = {}
    copies: Counter[str] = Counter()
    for index, field in enumerate(fields):
        name = candidate = field.strip().strip('"').strip() or f"column_{index + 1}"
        while candidate in names:
            copies[name] += 1
            candidate = f"{name}_{copies[name] + 1}"
        names[candidate] = None
    return tuple(names)
