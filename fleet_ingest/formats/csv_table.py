"""CSV tables, by Arrow's vectorised reader, in whatever dialect they are written.

Rows with too many or too few fields are left out and counted. Columns with text stay text: whether that is an error is
for the channel that uses them to say. This module guesses no units.
"""

import re
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from fleet_ingest.formats.arrow import parse_numbers, to_series
from fleet_ingest.formats.csv_dialect import MISSING, CsvOptions, Dialect, find_dialect, find_encoding, split_fields
from fleet_ingest.formats.rawlog import Limits, RawLog, Salvage, Series, Topic, count_flags, too_large
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError, InputError

_HEAD_BYTES = 1 << 18
_RAGGED_SHARE = 0.1
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f"))


def read_csv(path: Path, *, columns: Collection[str] | None, options: CsvOptions | None, limits: Limits) -> RawLog:
    """The table at `path`. Raises DataError: `empty`, `wrong_separator`, `ragged`, `corrupt`, `too_large`."""
    options = options or CsvOptions()
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    encoding = find_encoding(head, options)
    dialect = find_dialect(path.name, _decode(path, head, encoding), options)
    if len(dialect.names) > limits.columns:
        raise too_large(f"columns of '{path.name}'", len(dialect.names), limits.columns)
    wanted = [name for name in dialect.names if columns is None or name in set(columns)]
    table, ragged = _read(path, dialect, encoding, wanted)
    if table.num_rows > limits.rows:
        raise too_large(f"rows of '{path.name}'", table.num_rows, limits.rows)
    if table.num_rows == 0:
        raise DataError(f"'{path.name}' has a header but no rows", code="empty")
    series = {}
    for name in wanted:
        found = to_series(table.column(name).combine_chunks())
        if found is not None:
            series[name] = found
    units = {f"unit:{name}": unit.strip(" []()") for name, unit in zip(dialect.names, dialect.units, strict=False)}
    facts = {"separator": dialect.separator, "decimal": dialect.decimal, "encoding": encoding, **units}
    cut = _cut_off(path, dialect, encoding)
    flags = _salvage(path, ragged[:-1] if cut else ragged, table.num_rows)
    lines, odd = _lines(path)
    said = None if lines is None or encoding == "utf-16" else lines - len(ragged) - _head_lines(path, dialect)
    topic = Topic("", table.num_rows, said, "table", "csv")
    flags = (*flags, *odd, *_open_end(path, encoding, bool(cut)), *_texts(series), *count_flags((topic,)))
    salvaged = Salvage(table.num_rows, _last_line(path), path.stat().st_size) if cut else None
    return RawLog("csv", series, dialect.names, facts, (*flags, *cut), (topic,), "none", salvaged)


def _lines(path: Path) -> tuple[int | None, tuple[QualityFlag, ...]]:
    """(lines that are not empty, None where quotes may hold line ends; a flag for bytes that are no text)."""
    count, odd, quoted, last = 0, 0, False, b"\n"
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return None, ()
        file.seek(0)
        while block := file.read(1 << 20):
            quoted |= b'"' in block
            odd += len(block) - len(block.translate(None, _CONTROL))
            whole = last + block
            if b"\r" in whole or b"\n\n" in whole:
                ends = np.isin(np.frombuffer(whole, dtype=np.uint8), (10, 13))
                count += int((~ends[1:] & ends[:-1]).sum())
            else:  # each line end but the last begins a line that is not empty
                count += whole.count(b"\n") - whole.endswith(b"\n")
            last = block[-1:]
    flag = QualityFlag(code="corrupt", count=odd, detail="bytes that are no text (control characters) in the table")
    return None if quoted else count, (flag,) if odd else ()


def _open_end(path: Path, encoding: str, cut: bool) -> tuple[QualityFlag, ...]:
    """A flag when the last row has all its fields and no end of line: its last number may be half."""
    with path.open("rb") as file:
        file.seek(-1, 2)
        if cut or encoding == "utf-16" or file.read(1) in (b"\n", b"\r"):
            return ()
    return (QualityFlag(code="open_end", detail=f"the last row of '{path.name}' has no end of line"),)


def _head_lines(path: Path, dialect: Dialect) -> int:
    """Lines before the first row of data that are not empty."""
    with path.open("rb") as file:
        return sum(bool(file.readline().strip()) for _ in range(dialect.skip_lines))


def _last_line(path: Path) -> int:
    """The byte at which the last line begins."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - (1 << 16))
        file.seek(start)
        return start + file.read().rfind(b"\n") + 1


def _texts(series: dict[str, Series]) -> tuple[QualityFlag, ...]:
    """A flag for each column of numbers with some text in it."""
    flags = []
    for name, found in series.items():
        if found.values.dtype == object:
            _, bad = parse_numbers(found.values)
            if 0 < bad.mean() < 0.1:
                detail = f"column '{name[:80]}', the first in row {int(np.argmax(bad)) + 1}"
                flags.append(QualityFlag(code="text_in_numbers", channel=name, count=int(bad.sum()), detail=detail))
    return tuple(flags)


def _cut_off(path: Path, dialect: Dialect, encoding: str) -> tuple[QualityFlag, ...]:
    """A flag `truncated` when the last row has no end of line and too few fields."""
    if encoding == "utf-16":
        return ()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        tail = file.read()
    last = split_fields(tail.rsplit(b"\n", 1)[-1].decode(encoding, errors="replace").strip("\r"), dialect.separator)
    if tail.endswith((b"\n", b"\r")) or not last or len(last) >= len(dialect.names):
        return ()
    detail = f"'{path.name}' is cut off: its last row has {len(last)} of {len(dialect.names)} fields and no end of line"
    return (QualityFlag(code="truncated", detail=detail),)


def _decode(path: Path, head: bytes, encoding: str) -> str:
    try:
        return head.decode(encoding, errors="replace").replace("\x00", "")
    except LookupError as error:
        raise InputError(
            f"unknown encoding '{encoding}' for '{path.name}'; for example utf-8, latin-1, utf-16"
        ) from error


def _read(path: Path, dialect: Dialect, encoding: str, wanted: list[str]) -> tuple[Any, list[Any]]:
    ragged: list[Any] = []

    def skip(row: Any) -> Literal["skip", "error"]:
        ragged.append((row.number, row.actual_columns, row.text[:80] if row.text else ""))
        return "skip"

    source: Any = path
    if dialect.separator == " " or encoding not in ("utf-8", "utf-8-sig"):
        source = BytesIO(_as_utf8(path, encoding, dialect.separator))
    try:
        table = pacsv.read_csv(
            source,
            read_options=pacsv.ReadOptions(
                column_names=list(dialect.names), skip_rows=dialect.skip_lines, use_threads=False, block_size=4 << 20
            ),
            parse_options=pacsv.ParseOptions(delimiter=dialect.separator, invalid_row_handler=skip),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted,
                null_values=list(MISSING),
                strings_can_be_null=True,
                decimal_point=dialect.decimal,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if "Empty CSV" in str(error):
            raise DataError(f"'{path.name}' has a header but no rows", code="empty") from error
        raise DataError(f"'{path.name}' cannot be read as CSV: {error}", code="corrupt") from error
    return table, ragged


def _as_utf8(path: Path, encoding: str, separator: str) -> bytes:
    text = path.read_bytes().decode(encoding, errors="replace")
    if separator == " ":
        text = re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text)
        text = re.sub(r"[ \t]+", " ", text)
    return text.encode()


def _salvage(path: Path, ragged: list[Any], rows: int) -> tuple[QualityFlag, ...]:
    if not ragged:
        return ()
    if len(ragged) > _RAGGED_SHARE * (rows + len(ragged)):
        number, found, text = ragged[0]
        raise DataError(
            f"{len(ragged)} of {rows + len(ragged)} rows of '{path.name}' have another number of fields than its "
            f"header; the first has {found}: {text!r}" + (f" (row {number})" if number else ""),
            code="ragged",
            remedy="Check separator and decimal sign: set 'csv: {separator: ..., decimal: ...}' in the mapping.",
        )
    detail = f"rows with a wrong number of fields were left out; the first: {ragged[0][2]!r}"
    return (QualityFlag(code="ragged_rows", count=len(ragged), detail=detail),)
