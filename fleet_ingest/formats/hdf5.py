"""HDF5 files as one table; those in robomimic's layout (`data/demo_0/actions`, `obs/...`) as one table of all demos.

Every link and data set is looked at before a value is read: external links, external storage, virtual data sets, soft
links that lead out, filters that need a plug-in, and sizes over the limits are refused. Elsewhere the data sets whose
first axis has the usual length are the columns; others are named in a flag. Images are not read. This module follows no
link.
"""

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fleet_ingest.formats.columns import WIDTH, plain
from fleet_ingest.formats.rawlog import Integrity, Limits, RawLog, Salvage, Series, Topic, count_flags, too_large
from fleet_ingest.names import check_inner_name
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_BUILT_IN = frozenset({1, 2, 3, 4, 5, 6})  # deflate, shuffle, fletcher32, szip, nbit, scale-offset
_FLETCHER = 3
_DEPTH = 24
_RATIO = 2000


def read_hdf5(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The table at `path`.

    Raises DataError: `external_link`, `unsafe_content`, `corrupt`, `truncated`, `empty`, `too_large`, `bomb`.
    """
    _check_end(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            sets = _inspected(file, path, limits)
            demos = _demos(file)
            found = _robomimic(file, demos, sets) if demos else _table(sets)
            found.metadata_checked = _superblock(path) >= 2  # from version 2 on all of HDF5's own metadata is
            return found.log(path, columns)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(
            f"'{path.name}' is damaged: {str(error)[:200]}", code="corrupt", remedy="Copy it again from the robot."
        ) from error


def _superblock(path: Path) -> int:
    """The version of the superblock; written with libver='latest' it is 2 or 3."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8] if len(head) == 9 else 0


def _check_end(path: Path) -> None:
    """The superblock says how long the file is (versions 0 to 3, 8-byte offsets)."""
    with path.open("rb") as file:
        head = file.read(96)
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8] if len(head) > 8 else -1)
    if at is None or len(head) < at + 8:
        return
    end = int.from_bytes(head[at : at + 8], "little")
    if end != 2**64 - 1 and path.stat().st_size < end:
        raise DataError(
            f"'{path.name}' is cut off: {path.stat().st_size:,} of {end:,} bytes are there", code="truncated",
            remedy="Copy the whole file again.",
        )  # fmt: skip


def _inspected(file: Any, path: Path, limits: Limits) -> dict[str, Any]:
    """Every data set by its path. Raises DataError for whatever leads out of the file or is over a limit."""
    sets: dict[str, Any] = {}
    seen: set[bytes] = set()
    pending: list[tuple[str, Any, int]] = [("", file, 0)]
    values = size = 0
    while pending:
        prefix, group, depth = pending.pop()
        if depth > _DEPTH or len(sets) + len(pending) > limits.columns:
            raise too_large(f"groups and data sets in '{path.name}'", len(sets) + len(pending), limits.columns)
        for name in group:
            where = f"{prefix}/{check_inner_name(name, f'data set in {path.name!r}')}"
            _check_link(group.get(name, getlink=True), where, path)
            item = group[name]
            token = h5py.h5o.get_info(item.id).addr.to_bytes(8, "little")
            if isinstance(item, h5py.Group):
                if token not in seen:
                    pending.append((where, item, depth + 1))
                seen.add(token)
            elif isinstance(item, h5py.Dataset):
                _check_set(item, where, path, limits)
                sets[where] = item
                values, size = values + item.size if item.size else values, size + item.nbytes
    if values > limits.values:
        raise too_large(f"values in '{path.name}'", values, limits.values)
    if size > limits.expanded_bytes:
        raise too_large(f"unpacked bytes of '{path.name}'", size, limits.expanded_bytes)
    if size > _RATIO * max(path.stat().st_size, 4096):
        raise DataError(
            f"'{path.name}' has {path.stat().st_size:,} bytes and declares {size:,} bytes of data", code="bomb"
        )
    return sets


def _check_link(link: Any, where: str, path: Path) -> None:
    if isinstance(link, h5py.ExternalLink):
        raise _outside(path, f"'{where}' is a link into the file {link.filename[:80]!a}")
    if isinstance(link, h5py.SoftLink):
        raise _outside(path, f"'{where}' is a soft link to {link.path[:80]!a}: links are not followed")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"'{path.name}': '{where}' is a link of an unknown kind", code="unsafe_content")


def _check_set(item: Any, where: str, path: Path, limits: Limits) -> None:
    chunk = int(np.prod(item.chunks, dtype=np.float64)) * item.dtype.itemsize if item.chunks else 0
    if chunk > limits.chunk_bytes:
        raise too_large(f"'{path.name}': chunk of '{where}', bytes", chunk, limits.chunk_bytes)
    plist = item.id.get_create_plist()
    if plist.get_external_count():
        raise _outside(path, f"the values of '{where}' are in the file {plist.get_external(0)[0][:80]!r}")
    if item.is_virtual:
        raise _outside(path, f"'{where}' is put together from data sets of other files")
    for index in range(plist.get_nfilters()):
        if plist.get_filter(index)[0] not in _BUILT_IN:
            raise DataError(
                f"'{path.name}': '{where}' needs the plug-in filter {plist.get_filter(index)[0]}",
                code="unknown_compression", remedy="Write it with gzip or without compression.",
            )  # fmt: skip


def _outside(path: Path, why: str) -> DataError:
    return DataError(f"'{path.name}': {why}", code="external_link", remedy="Copy the linked data into the file.")


class _Found:
    """Columns of the table, what was left out, and the counts."""

    def __init__(self) -> None:
        self.columns: dict[str, np.ndarray] = {}
        self.facts: dict[str, str] = {}
        self.topics: list[Topic] = []
        self.left: list[str] = []
        self.odd: list[str] = []
        self.broken: list[str] = []
        self.checked: list[bool] = []
        self.metadata_checked = False

    def take(self, item: Any) -> np.ndarray | None:
        """The values of one data set as [n] or [n, k]; None where no channel can come from them."""
        kind = item.dtype.kind
        width = int(np.prod(item.shape[1:])) if item.ndim > 1 else 1
        text = h5py.check_string_dtype(item.dtype) is not None
        if item.ndim == 0 or item.ndim > 3 or width > WIDTH or (kind not in "fiub" and not text) or width == 0:
            return None
        plist = item.id.get_create_plist()
        self.checked.append(any(plist.get_filter(i)[0] == _FLETCHER for i in range(plist.get_nfilters())))
        if text:
            return np.array(item.asstr(errors="replace")[()], dtype=object) if item.ndim == 1 else None
        values = plain(np.asarray(item[()]))
        return values if values.ndim == 1 else values.reshape(len(values), -1)

    def log(self, path: Path, columns: Collection[str] | None) -> RawLog:
        if not self.columns:
            raise DataError(
                f"'{path.name}' has no data set that can be read as a column"
                + (f"; damaged: {', '.join(self.broken[:5])}" if self.broken else ""),
                code="corrupt" if self.broken else "empty",
            )
        flags: list[QualityFlag] = []
        salvaged = None
        if self.broken:
            rows = sum(t.decoded for t in self.topics)
            detail = f"data sets that cannot be read: {', '.join(self.broken[:10])}"
            flags.append(QualityFlag(code="corrupt", count=len(self.broken), detail=detail[:500]))
            salvaged = Salvage(rows, None, path.stat().st_size)
        for code, names in (("field_left_out", self.left), ("other_length", self.odd)):
            if names:
                flags.append(QualityFlag(code=code, count=len(names), detail=", ".join(names[:20])[:500]))
        topics = tuple(self.topics)
        flags += count_flags(topics)
        series = {name: Series(values) for name, values in self.columns.items()}
        wanted = None if columns is None else set(columns)
        kept = series if wanted is None else {name: s for name, s in series.items() if name in wanted}
        whole = bool(self.checked) and all(self.checked) and self.metadata_checked
        integrity: Integrity = "checksums" if whole else "partial" if any(self.checked) else "none"
        return RawLog("hdf5", kept, tuple(series), self.facts, tuple(flags), topics, integrity, salvaged)


def _read(found: _Found, where: str, item: Any) -> np.ndarray | None:
    """The values, or None for what cannot be a column or is damaged: one broken data set does not break the file."""
    try:
        values = found.take(item)
    except (OSError, RuntimeError, ValueError, UnicodeError) as error:
        found.broken.append(f"{where} ({str(error)[:80]})")
        return None
    if values is None:
        found.left.append(where)
    return values


def _table(sets: dict[str, Any]) -> _Found:
    found = _Found()
    lengths = Counter(item.shape[0] for item in sets.values() if item.ndim and item.shape[0] > 1)
    usual = max(lengths, key=lambda n: (lengths[n], n), default=0)
    for where, item in sets.items():
        if item.ndim == 0:
            continue
        if item.shape[0] != usual:
            found.odd.append(where)
            continue
        values = _read(found, where, item)
        if values is not None:
            found.columns[where.strip("/").replace("/", ".")] = values
    rows = len(next(iter(found.columns.values()))) if found.columns else 0
    found.topics.append(Topic("", rows, usual, "table", "hdf5"))
    return found


def _demos(file: Any) -> list[str]:
    """Names of the demonstrations, in order, when the file is in robomimic's layout."""
    data = file.get("data")
    if not isinstance(data, h5py.Group):
        return []
    names = [
        n for n in data if isinstance(data.get(n), h5py.Group) and isinstance(data[n].get("actions"), h5py.Dataset)
    ]
    numbered = [(int(tail), n) for n in names if (tail := n.rpartition("_")[2]).isdigit() and len(tail) < 10]
    return [n for _, n in sorted(numbered)] if len(numbered) == len(names) else sorted(names)


def _robomimic(file: Any, demos: list[str], sets: dict[str, Any]) -> _Found:
    """Rows of all demos one after another, with columns `demo` and `timestamp` (seconds, where a rate is given)."""
    found = _Found()
    rate = _control_rate(file["data"], found.facts)
    parts: dict[str, list[np.ndarray | None]] = {}
    lengths = []
    for index, demo in enumerate(demos):
        prefix = f"/data/{demo}/"
        length = int(file["data"][demo]["actions"].shape[0])
        says = file["data"][demo].attrs.get("num_samples")
        decoded = length
        for where, item in sets.items():
            if not where.startswith(prefix):
                continue
            name = where[len(prefix) :].replace("/", ".")
            if item.ndim == 0 or item.shape[0] != length:
                found.odd.append(where)
                continue
            values = _read(found, where, item)
            if values is None and any(where in b for b in found.broken):
                decoded = 0
            parts.setdefault(name, [None] * len(demos))[index] = values
        lengths.append(length)
        found.topics.append(Topic(demo, decoded, length if says is None else int(says), "demo", "hdf5"))
    for name, arrays in parts.items():
        joined = _stacked(arrays, lengths)
        if joined is not None:
            found.columns[name] = joined
    found.columns["demo"] = np.repeat(np.arange(len(demos)), lengths)
    steps = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.zeros(0)
    found.columns["timestamp"] = steps / rate
    return found


def _stacked(arrays: list[np.ndarray | None], lengths: list[int]) -> np.ndarray | None:
    """Demos one below the other; NaN where one lacks the column."""
    there = [a for a in arrays if a is not None]
    if not there or len({a.shape[1:] for a in there}) != 1 or len({a.dtype.kind == "O" for a in there}) != 1:
        return None
    if len(there) == len(arrays):
        return np.concatenate(there)
    if there[0].dtype.kind == "O":
        return None
    return np.concatenate(
        [np.full((n, *there[0].shape[1:]), np.nan) if a is None else a for a, n in zip(arrays, lengths, strict=True)]
    )


def _control_rate(data: Any, facts: dict[str, str]) -> float:
    """Rows a second: `control_freq` of the environment's arguments, else 20 as robosuite has it."""
    try:
        text = data.attrs["env_args"]
        facts["env_args"] = str(text)[:4000]
        rate = float(json.loads(text)["env_kwargs"]["control_freq"])
    except (KeyError, TypeError, ValueError, RecursionError):
        facts["rate"] = "assumed 20 Hz: the file does not say"
        return 20.0
    facts["rate"] = f"{rate:g} Hz"
    return rate if 0 < rate < 100_000 else 20.0
