"""Parquet tables. Counts in the footer are checked before a single value is read: 600 kB can declare 134 million rows.

A damaged column is left out and named, the others are read. Without its footer a Parquet file cannot be read. Page
checksums cover the values, not the headers of pages and not the footer. This module does not tell which column is the
time.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fleet_ingest.formats.arrow import flatten, to_series
from fleet_ingest.formats.parquet_footer import Group, read_footer
from fleet_ingest.formats.parquet_pages import pages_are_checked
from fleet_ingest.formats.rawlog import Limits, RawLog, Salvage, Series, Topic, count_flags, too_large
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_ERRORS = (pa.ArrowException, OSError, ValueError)


def read_parquet(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The table at `path`; `columns` are leaf names (`imu.x` of a struct `imu`).

    Raises DataError: `truncated` (no footer), `corrupt` (no column can be read), `empty` (no rows), `too_large`.
    """
    _check_ends(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = _leaf_names(file)
            wanted = names if columns is None else tuple(name for name in names if name in set(columns))
            groups = read_footer(path)
            _check_counts(path, file, groups, wanted, limits)
            _check_footer(file, groups)
            top = list(dict.fromkeys(_top(name, file) for name in wanted))
            arrays, broken = _read(file, top)
            facts = {
                str(k, "utf-8", "replace"): str(v, "utf-8", "replace")
                for k, v in (file.metadata.metadata or {}).items()
            }
            rows, checked = file.metadata.num_rows, pages_are_checked(path, groups)
    except _ERRORS as error:
        raise _damaged(path, error) from error
    series: dict[str, Series] = {}
    for name, column in arrays.items():
        if len(column) != rows:
            broken[name] = ValueError(f"{len(column):,} of {rows:,} rows")
            continue
        for leaf, array in flatten(name, column).items():
            found = to_series(array) if leaf in wanted else None
            if found is not None:
                series[leaf] = found
    if broken and not series:
        raise _damaged(path, next(iter(broken.values())))
    facts.pop("ARROW:schema", None)
    decoded = min((len(s.values) for s in series.values()), default=0)
    topic = Topic("", decoded if series else rows, rows, "table", "parquet")
    left = sorted(n for n in wanted if n not in series and _top(n, file) not in broken)
    flags, salvaged = _flags(path, broken, left, decoded)
    return RawLog(
        "parquet", series, names, facts, (*flags, *count_flags((topic,))), (topic,),
        "partial" if checked else "none", salvaged,
    )  # fmt: skip


def _read(file: Any, top: list[str]) -> tuple[dict[str, Any], dict[str, Exception]]:
    """(column -> values, damaged column -> its error)."""
    if not top:
        return {}, {}
    try:
        table = file.read(columns=top, use_threads=False)
        return {name: table.column(name) for name in top}, {}
    except _ERRORS:
        pass
    arrays: dict[str, Any] = {}
    broken: dict[str, Exception] = {}
    for name in top:
        try:
            arrays[name] = file.read(columns=[name], use_threads=False).column(name)
        except _ERRORS as error:
            broken[name] = error
    return arrays, broken


def _flags(
    path: Path, broken: dict[str, Exception], left: list[str], rows: int
) -> tuple[list[QualityFlag], Salvage | None]:
    flags: list[QualityFlag] = []
    salvaged = None
    if broken:
        listed = "; ".join(f"'{name[:40]}': {str(error)[:100]}" for name, error in list(broken.items())[:5])
        detail = f"columns of '{path.name}' that cannot be read: {listed}"
        flags.append(QualityFlag(code="corrupt", count=len(broken), detail=detail))
        salvaged = Salvage(rows, None, path.stat().st_size)
    if left:
        flags.append(QualityFlag(code="field_left_out", count=len(left), detail=", ".join(left[:20])[:500]))
    return flags, salvaged


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"'{path.name}' is damaged: {error}", code="corrupt", remedy="Copy it again from the robot.")


def _check_ends(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if size < 12 or tail != b"PAR1":
        raise DataError(
            f"'{path.name}' is cut off: it begins as Parquet and its end, with the table of contents, "
            f"is missing ({size:,} bytes)",
            code="truncated",
            remedy="Copy the whole file again; a logger that was killed leaves such files.",
        )


def _leaf_names(file: Any) -> tuple[str, ...]:
    names: list[str] = []

    def walk(prefix: str, kind: Any) -> None:
        if pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                walk(f"{prefix}.{kind.field(index).name}", kind.field(index).type)
        else:
            names.append(prefix)

    for column in file.schema_arrow:
        walk(column.name, column.type)
    return tuple(names)


def _top(leaf: str, file: Any) -> str:
    """The name of the top-level column that `leaf` stands in."""
    matches = [c for c in file.schema_arrow.names if leaf == c or leaf.startswith(f"{c}.")]
    return str(max(matches, key=len))


def _check_footer(file: Any, groups: tuple[Group, ...]) -> None:
    """The footer has no checksum, but says some things twice. Raises ValueError where it contradicts itself."""
    meta = file.metadata
    paths = [meta.schema.column(i).path for i in range(meta.num_columns)]
    flat = [meta.schema.column(i).max_repetition_level == 0 for i in range(meta.num_columns)]
    for index, group in enumerate(groups):
        if len(group.chunks) != len(paths):
            raise ValueError(f"row group {index} has {len(group.chunks)} columns, the schema {len(paths)}")
        for path, once, chunk in zip(paths, flat, group.chunks, strict=True):
            if chunk.path != path:
                raise ValueError(f"column '{path[:60]}' is called '{chunk.path[:60]}' in row group {index}")
            if once and chunk.values != group.rows:
                raise ValueError(f"'{path[:60]}' has {chunk.values:,} values, row group {index} {group.rows:,} rows")
    rows = sum(group.rows for group in groups)
    if rows != meta.num_rows:
        raise ValueError(f"its row groups have {rows:,} rows, the footer says {meta.num_rows:,}")


def _check_counts(path: Path, file: Any, groups: tuple[Group, ...], wanted: tuple[str, ...], limits: Limits) -> None:
    meta = file.metadata
    if meta.num_columns > limits.columns:
        raise too_large(f"columns of '{path.name}'", meta.num_columns, limits.columns)
    if meta.num_rows > limits.rows:
        raise too_large(f"rows of '{path.name}'", meta.num_rows, limits.rows)
    if meta.num_rows == 0:
        raise DataError(f"'{path.name}' has columns but no rows", code="empty")
    roots = {_top(name, file).split(".")[0] for name in wanted}
    chunks = [chunk for group in groups for chunk in group.chunks if chunk.path.split(".")[0] in roots]
    values, size = sum(chunk.values for chunk in chunks), sum(chunk.unpacked_bytes for chunk in chunks)
    if values > limits.values:
        raise too_large(f"values in '{path.name}'", values, limits.values)
    if size > limits.expanded_bytes:
        raise too_large(f"unpacked bytes of '{path.name}'", size, limits.expanded_bytes)
