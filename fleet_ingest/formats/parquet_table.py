"""Parquet tables. Counts in the footer are checked before a single value is read: 600 kB can declare 134 million rows.

This module does not salvage: without its footer a Parquet file cannot be read.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fleet_ingest.formats.arrow import flatten, to_series
from fleet_ingest.formats.rawlog import Limits, RawLog, Series, too_large
from storage.contracts.errors import DataError


def read_parquet(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The table at `path`; `columns` are leaf names (`imu.x` of a struct `imu`).

    Raises DataError: `truncated` (no footer), `corrupt`, `empty` (no rows), `too_large`.
    """
    _check_ends(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = _leaf_names(file)
            wanted = names if columns is None else tuple(name for name in names if name in set(columns))
            _check_counts(path, file, wanted, limits)
            top = list(dict.fromkeys(_top(name, file) for name in wanted))
            table = file.read(columns=top, use_threads=False) if top else None
            facts = {
                str(k, "utf-8", "replace"): str(v, "utf-8", "replace")
                for k, v in (file.metadata.metadata or {}).items()
            }
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"'{path.name}' is damaged: {error}", code="corrupt", remedy="Copy it again from the robot."
        ) from error
    series: dict[str, Series] = {}
    for name in top:
        for leaf, array in flatten(name, table.column(name) if table is not None else None).items():
            found = to_series(array) if leaf in wanted else None
            if found is not None:
                series[leaf] = found
    facts.pop("ARROW:schema", None)
    return RawLog("parquet", series, names, facts)


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


def _check_counts(path: Path, file: Any, wanted: tuple[str, ...], limits: Limits) -> None:
    meta = file.metadata
    if meta.num_columns > limits.columns:
        raise too_large(f"columns of '{path.name}'", meta.num_columns, limits.columns)
    if meta.num_rows > limits.rows:
        raise too_large(f"rows of '{path.name}'", meta.num_rows, limits.rows)
    if meta.num_rows == 0:
        raise DataError(f"'{path.name}' has columns but no rows", code="empty")
    values = size = 0
    roots = {_top(name, file) for name in wanted}
    for group in range(meta.num_row_groups):
        for index in range(meta.num_columns):
            column = meta.row_group(group).column(index)
            if column.path_in_schema.split(".")[0] in {root.split(".")[0] for root in roots}:
                values += column.num_values
                size += column.total_uncompressed_size
    if values > limits.values:
        raise too_large(f"values in '{path.name}'", values, limits.values)
    if size > limits.expanded_bytes:
        raise too_large(f"unpacked bytes of '{path.name}'", size, limits.expanded_bytes)
