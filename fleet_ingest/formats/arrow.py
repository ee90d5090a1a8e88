"""Arrow columns as numpy series: numbers, times in nanoseconds, text. Nested columns become one series a leaf.

This module reads no files.
"""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleet_ingest.formats.rawlog import Series

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_NOT_FINITE = r"^\s*[+-]?(?i:nan|inf|infinity)\s*$"


def flatten(name: str, column: Any) -> dict[str, Any]:
    """Leaf name -> array; a struct `imu` with a field `x` gives `imu.x`."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    if not pa.types.is_struct(array.type):
        return {name: array}
    leaves: dict[str, Any] = {}
    for index in range(array.type.num_fields):
        leaves |= flatten(f"{name}.{array.type.field(index).name}", pc.struct_field(array, [index]))
    return leaves


def to_series(array: Any) -> Series | None:
    """The series of one leaf, or None for a type that no channel can come from (maps, binaries, nested lists)."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return to_series(array.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _list_series(array)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Series(
            array.cast(pa.timestamp("ns"), safe=False).to_numpy(zero_copy_only=False).astype("datetime64[ns]")
        )
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        unit = pa.duration("ns") if pa.types.is_duration(kind) else pa.time64("ns")
        return Series(np.asarray(_numbers(array.cast(unit).cast(pa.int64())), dtype=np.float64) * 1e-9)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Series(np.asarray(array.to_numpy(zero_copy_only=False), dtype=object))
    if pa.types.is_null(kind):
        return Series(np.full(len(array), np.nan))
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        return Series(_numbers(array))
    return None


def _numbers(array: Any) -> np.ndarray:
    """int64 where exact (times need it), else float64 with NaN for nulls."""
    if pa.types.is_integer(array.type) and array.null_count == 0 and not pa.types.is_uint64(array.type):
        return np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False))
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _list_series(array: Any) -> Series | None:
    """[n, k] for lists of numbers, k the longest; shorter rows end in NaN."""
    inner = array.type.value_type
    if not (pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_boolean(inner)):
        return None
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    width = int(lengths.max(initial=0))
    flat = np.asarray(_numbers(pc.list_flatten(array)), dtype=np.float64)
    if not 0 < width <= 4096 or width * len(lengths) > 50 * max(flat.size, 1_000_000):
        return None
    values = np.full((len(lengths), width), np.nan)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.arange(flat.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values[rows, columns] = flat
    return Series(values)


def parse_numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Text [n] -> float64 [n] with NaN where there is no number, and bool [n]: True where text stood that is no number.

    None, empty text, nan and inf are not counted as bad text.
    """
    text: Any = pa.array(values, type=pa.string(), from_pandas=True)
    text = pc.utf8_trim_whitespace(text)
    number: Any = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    none: Any = pc.fill_null(pc.equal(text, pa.scalar("")), True)
    not_finite: Any = pc.fill_null(pc.match_substring_regex(text, _NOT_FINITE), False)
    known: Any = pc.or_(number, pc.or_(none, not_finite))
    parsed: Any = pc.if_else(number, text, None).cast(pa.float64())
    bad = np.asarray(pc.invert(known).to_numpy(zero_copy_only=False), dtype=bool)
    return np.asarray(parsed.to_numpy(zero_copy_only=False), dtype=np.float64), bad


def is_number(text: str) -> bool:
    """Is `text` a number, nan or inf included."""
    return re.match(_NUMBER, text) is not None or text.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}
