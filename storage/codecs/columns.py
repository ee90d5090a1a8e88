"""How the arrays of an episode lie in the columns of a table with one row per sample.

Samples (time, state, alive) fill all T+1 rows; what acts between two samples (command, exogenous, reward) fills the
first T and is null in the last. An array that equals its default (everything measured, nothing else requested, ...)
has no columns. This module knows the table only; compression and limits are the business of `episodes`.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from storage.contracts.channel import Layout
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError
from storage.contracts.robot import RobotSpec

TIME = "time_ns"
_SAMPLES = frozenset({"state", "state_valid", "alive"})


class Block(NamedTuple):
    """One array of an episode: its attribute, the names of its columns, the type of its values."""

    attribute: str
    columns: tuple[str, ...]
    type: pa.DataType

    @property
    def is_sampled(self) -> bool:
        """True for [T+1, ...], False for [T, ...]."""
        return self.attribute in _SAMPLES


def blocks(spec: RobotSpec) -> list[Block]:
    """Every array that an episode of this robot may have, in the order of the table."""

    def names(attribute: str, layout: Layout) -> tuple[str, ...]:
        return tuple(f"{attribute}:{column}" for column in layout.columns)

    return [
        Block("state", names("state", spec.state_layout), pa.float64()),
        Block("state_valid", names("state_valid", spec.state_layout), pa.bool_()),
        Block("command", names("command", spec.command_layout), pa.float64()),
        Block("command_requested", names("command_requested", spec.command_layout), pa.float64()),
        Block("command_valid", names("command_valid", spec.command_layout), pa.bool_()),
        Block("exogenous", names("exogenous", spec.exogenous_layout), pa.float64()),
        Block("alive", tuple(f"alive:{entity.name}" for entity in spec.entities), pa.bool_()),
        Block("reward", ("reward",), pa.float64()),
    ]


def is_default(episode: Episode, attribute: str) -> bool:
    """True if the array is bit for bit what `Episode` fills in when it is not given."""
    value = getattr(episode, attribute)
    match attribute:
        case "state_valid":
            return bool(np.array_equal(value, np.isfinite(episode.state)))
        case "command_valid":
            return bool(np.array_equal(value, np.isfinite(episode.command)))
        case "command_requested":
            return _same_bits(value, episode.command)
        case "exogenous":
            return _same_bits(value, np.zeros_like(value))
        case "alive":
            return bool(value.all())
        case "reward":
            return _same_bits(value, np.full_like(value, np.nan))
    return False


def to_table(episode: Episode) -> tuple[pa.Table, list[str]]:
    """The table, and the attributes that it holds."""
    arrays, columns = [pa.array(episode.time_ns)], [TIME]
    stored = []
    for block in blocks(episode.spec):
        if is_default(episode, block.attribute):
            continue
        stored.append(block.attribute)
        values = getattr(episode, block.attribute).reshape(-1, len(block.columns)) if block.columns else None
        for index, column in enumerate(block.columns):
            arrays.append(_column(values[:, index], block))  # type: ignore[index]
            columns.append(column)
    return pa.table(arrays, names=columns), stored


def schema(spec: RobotSpec, stored: list[str]) -> list[tuple[str, pa.DataType]]:
    """Names and types of the columns of a table that holds the attributes `stored`."""
    return [(TIME, pa.int64())] + [
        (column, block.type) for block in blocks(spec) if block.attribute in stored for column in block.columns
    ]


def from_table(table: pa.Table, spec: RobotSpec, stored: list[str]) -> dict[str, np.ndarray]:
    """Attribute -> array, for `Episode`.

    The table must have `schema(spec, stored)`. Raises DataError for a null in between.
    """
    rows = table.num_rows
    found = {TIME: _values(table.column(TIME), TIME)}
    for block in blocks(spec):
        if block.attribute not in stored:
            continue
        length = rows if block.is_sampled else rows - 1
        dtype = np.float64 if block.type == pa.float64() else np.bool_
        array: np.ndarray = np.empty((length, len(block.columns)), dtype=dtype)
        for index, column in enumerate(block.columns):
            array[:, index] = _values(table.column(column).slice(0, length), column)
        found[block.attribute] = array[:, 0] if block.attribute == "reward" else array
    return found


def _column(values: np.ndarray, block: Block) -> "pa.Array[Any]":
    if block.is_sampled:
        return pa.array(np.ascontiguousarray(values), type=block.type)
    padded = np.append(values, np.zeros(1, dtype=values.dtype))
    absent = np.zeros(len(padded), dtype=bool)
    absent[-1] = True
    return pa.array(padded, type=block.type, mask=absent, from_pandas=False)


def _values(column: "pa.ChunkedArray[Any]", name: str) -> np.ndarray:
    if column.null_count:
        raise DataError(f"column '{name}' has {column.null_count} missing values", code="episode")
    values: np.ndarray = column.to_numpy()
    return values


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))
