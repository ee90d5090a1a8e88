"""An episode as a Parquet file: one row per sample, one column per signal, everything else as JSON in the schema.

Equal episodes give equal bytes (with equal library versions). Any Parquet reader can read the columns. A file is
hostile until its footer has been compared with what its own robot specification allows: only then are values read.
This module reads the engine's own files, not the logs of robots.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from storage.codecs import columns
from storage.contracts.base import Contract, explain
from storage.contracts.canonical import canonical_json
from storage.contracts.episode import Episode, MediaRef, Provenance, QualityFlag
from storage.contracts.errors import ContractError, DataError, IncompatibleError
from storage.contracts.robot import RobotSpec

FORMAT = 1
_KEY = b"sim2real.episode"
_MAX_HEADER_BYTES = 16 << 20
MAX_VALUES = 200_000_000
"""Rows times columns that `decode_episode` is willing to read: 1.6 GB of float64."""


class Header(Contract):
    """All of an episode but its arrays.

    `stored` names the arrays that are in the table; the rest have their defaults.
    """

    format: int = Field(ge=1)
    robot: str
    spec: RobotSpec
    provenance: Provenance
    stored: tuple[str, ...]
    terminated: bool
    truncated: bool
    resets: tuple[int, ...]
    media: tuple[MediaRef, ...]
    notes: tuple[str, ...]
    policy: str | None
    quality: tuple[QualityFlag, ...]
    tags: dict[str, str]


def encode_episode(episode: Episode) -> bytes:
    """Parquet bytes. Columns: `time_ns`, `state:<channel>`, `command:<channel>`, ...; see `columns`."""
    table, stored = columns.to_table(episode)
    kept = (
        "robot",
        "spec",
        "provenance",
        "terminated",
        "truncated",
        "resets",
        "media",
        "notes",
        "policy",
        "quality",
        "tags",
    )
    header = {"format": FORMAT, "stored": stored} | {name: getattr(episode, name) for name in kept}
    encodings = {field.name: "BYTE_STREAM_SPLIT" for field in table.schema if field.type == pa.float64()}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        column_encoding=encodings | {columns.TIME: "DELTA_BINARY_PACKED"},
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
        version="2.6",
    ) as writer:
        writer.add_key_value_metadata({_KEY.decode(): canonical_json(header).decode()})
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def decode_episode(data: bytes, *, max_values: int = MAX_VALUES) -> Episode:
    """The episode that `encode_episode` wrote, exactly.

    Raises DataError (code `episode`) for anything else, before more than `max_values` values are read, and
    IncompatibleError for a file of a newer format.
    """
    try:
        file = pq.ParquetFile(
            pa.BufferReader(data),
            page_checksum_verification=True,
            thrift_string_size_limit=4 * _MAX_HEADER_BYTES,
            thrift_container_size_limit=1 << 20,
        )
        header = _header(file)
        _check_size(file, max_values)
        _check_schema(file, header)
        arrays: dict[str, Any] = dict(
            columns.from_table(file.read(use_threads=False), header.spec, list(header.stored))
        )
        values: dict[str, Any] = {
            name: getattr(header, name) for name in Header.model_fields if name not in ("format", "stored")
        }
        return Episode(**values, **arrays)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        MemoryError,
        RecursionError,
    ) as error:
        raise DataError(f"not an episode file ({len(data)} bytes): {str(error)[:300]}", code="episode") from error


def _header(file: pq.ParquetFile) -> Header:
    raw = (file.metadata.metadata or {}).get(_KEY)
    if raw is None:
        raise ContractError(f"it has no metadata '{_KEY.decode()}'; was it written by this engine?")
    if len(raw) > _MAX_HEADER_BYTES:
        raise ContractError(f"its header has {len(raw)} bytes, at most {_MAX_HEADER_BYTES} are read")
    values = json.loads(raw)
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise IncompatibleError(
            f"the episode has format {found}; this version reads up to {FORMAT}",
            remedy="Install a newer version of the engine.",
        )
    try:
        return Header.model_validate_json(raw)
    except ValidationError as error:
        raise ContractError(f"its header is wrong: {explain(error)[:300]}") from error


def _check_size(file: pq.ParquetFile, max_values: int) -> None:
    """Compares the sizes that the footer declares with the limit, before any page is touched."""
    meta = file.metadata
    rows, width = meta.num_rows, meta.num_columns
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    if rows < 0 or rows * width > max_values:
        raise ContractError(f"it declares {rows} rows of {width} columns; at most {max_values} values are read")
    if sum(group.num_rows for group in groups) != rows or any(group.num_rows < 0 for group in groups):
        raise ContractError(f"its row groups do not add up to {rows} rows")
    # Never `group.column(i)`: of a damaged footer it ends the process (Arrow 26 throws where pyarrow catches nothing).
    chunks = sum(group.num_columns for group in groups)
    declared = sum(group.total_byte_size for group in groups)
    if declared > 16 * rows * width + 4096 * chunks:
        raise ContractError(f"its columns declare {declared} bytes for {rows} rows of {width} columns")


def _check_schema(file: pq.ParquetFile, header: Header) -> None:
    expected = columns.schema(header.spec, list(header.stored))
    found = [(field.name, field.type) for field in file.schema_arrow]
    if found != expected:
        odd = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
        raise ContractError(
            f"it has {len(found)} columns, its specification says {len(expected)}; first difference: {odd}"
        )
