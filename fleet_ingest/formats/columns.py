"""Columns that arrive in pieces: rows of one field from batches of messages, put together into one array a field.

Fields that some messages lack are NaN (or None) there; lists of different lengths end in NaN. This module knows no
encoding.
"""

from typing import Any

import numpy as np

WIDTH = 4096
"""The longest list that becomes a series; longer ones (images, scans, clouds) are left out and named."""


class Columns:
    """Fields of one topic, in order of first sight; rows are numbered from 0 within the topic."""

    def __init__(self) -> None:
        self.parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.left_out: dict[str, int] = {}
        self.values = 0

    @property
    def fields(self) -> int:
        return len(self.parts)

    def put(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Rows int64 [m] of field `name`: numbers or objects, [m] or [m, k]."""
        if values.ndim > 2 or (values.ndim == 2 and values.shape[1] > WIDTH):
            self.leave_out(name, len(rows))
            return
        self.values += values.size
        self.parts.setdefault(name, []).append((rows, plain(values)))

    def leave_out(self, name: str, count: int) -> None:
        self.left_out[name] = self.left_out.get(name, 0) + count

    def finish(self, n: int) -> dict[str, np.ndarray]:
        """Field -> [n] or [n, k]."""
        return {name: joined for name, parts in self.parts.items() if (joined := _joined(parts, n)) is not None}


def plain(values: np.ndarray) -> np.ndarray:
    """int64, float64 or object; unsigned numbers beyond int64 become floats."""
    kind = values.dtype.kind
    if kind in "fb":
        return values.astype(np.float64, copy=False)
    if kind == "u" and values.dtype.itemsize == 8 and values.size and int(values.max()) > np.iinfo(np.int64).max:
        return values.astype(np.float64)
    return values.astype(np.int64, copy=False) if kind in "iu" else values


def _joined(parts: list[tuple[np.ndarray, np.ndarray]], n: int) -> np.ndarray | None:
    rows = np.concatenate([r for r, _ in parts])
    arrays = [a for _, a in parts]
    whole = len(rows) == n
    kinds = {a.dtype.kind for a in arrays}
    if "O" in kinds and kinds != {"O"}:
        return None
    if len({a.ndim for a in arrays}) > 1:  # a number here, a list there
        return None
    dtype: Any = object if kinds == {"O"} else np.int64 if kinds == {"i"} and whole else np.float64
    if arrays[0].ndim == 1:
        values = np.concatenate(arrays).astype(dtype, copy=False)
        if whole and bool((np.diff(rows) > 0).all()):
            return values
        out = np.full(n, None if dtype is object else np.nan if dtype is np.float64 else 0, dtype=dtype)
        out[rows] = values
        return out
    width = max(a.shape[1] for a in arrays)
    if width == 0:
        return None
    same = whole and all(a.shape[1] == width for a in arrays)
    out = np.full((n, width), np.nan) if not (same and dtype is np.int64) else np.zeros((n, width), dtype=np.int64)
    for r, a in parts:
        out[r, : a.shape[1]] = a
    return out
