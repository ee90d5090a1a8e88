"""LeRobot data sets, versions 2.1 and 3.0: one of their Parquet files in its folder, or the whole folder.

What `meta/` says (episode lengths, names, rate, where videos are) is compared with what is there: data sets are passed
on in parts, so episodes and videos that are listed and absent are flagged, never an error. Videos stay files; their
frames are counted and timed against the table. Paths that `meta/` gives are kept inside the folder. This module copies
nothing.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fleet_ingest.formats.parquet_table import read_parquet
from fleet_ingest.formats.rawlog import Limits, Media, RawLog, Salvage, Series, Topic, count_flags, too_large
from fleet_ingest.formats.video import read_video
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_INFO_BYTES, _LIST_BYTES = 4 << 20, 32 << 20
_SLOT = re.compile(r"\{(\w+)(?::0?(\d+)d)?\}")
_UP = 5


@dataclass
class _Meta:
    """What `meta/` says: facts, and by episode its row (length, tasks, places of its files)."""

    root: Path
    info: dict[str, Any]
    episodes: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        fps = self.info.get("fps")
        return float(fps) if isinstance(fps, int | float) and 0 < fps < 100_000 else 30.0

    @property
    def cameras(self) -> list[str]:
        features = self.info.get("features")
        found = features.items() if isinstance(features, dict) else ()
        return [str(k) for k, v in found if isinstance(v, dict) and v.get("dtype") == "video"]


def root_of(path: Path) -> Path | None:
    """The data set's folder that the Parquet file `path` stands in, or `path` itself; None where there is none."""
    for folder in [path, *path.parents][: _UP + 1]:
        info = folder / "meta" / "info.json"
        try:
            if info.is_file() and "codebase_version" in _json(info, _INFO_BYTES):
                return folder
        except DataError:
            return None
    return None


def read_lerobot(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The table at `path`, a Parquet file of a data set or its folder, with its episodes' videos as media.

    Raises DataError as `read_parquet` does, `corrupt` for unreadable `meta/`, `hostile_name` for paths that lead out.
    """
    root = root_of(path)
    if root is None:
        raise DataError(f"'{path.name}' stands in no LeRobot data set (no meta/info.json)", code="wrong_format")
    meta = _meta(root)
    files = sorted(root.glob("data/**/*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"'{path.name}' has no Parquet file under data/", code="empty")
    logs, flags = [], list[QualityFlag]()
    for file in files:
        try:
            logs.append(read_parquet(file, columns=None, limits=limits))
        except DataError as error:
            if len(files) == 1 or error.code == "too_large":
                raise
            flags.append(QualityFlag(code=error.code, detail=f"{file.name}: {error}"[:500]))
    if not logs:
        raise DataError(f"no file of '{path.name}' can be read: {flags[0].detail}", code=flags[0].code)
    table = _joined(logs, limits)
    flags += [flag for log in logs for flag in log.salvage]
    broken = any(f.code in ("corrupt", "truncated") for f in flags)
    topics, rows = _episodes(table, meta, whole=path.is_dir())
    media, found = _videos(meta, table, rows)
    flags += found + _missing(meta, rows, path.is_dir())
    flags += count_flags(tuple(t for t in topics if t.decoded))
    wanted = None if columns is None else set(columns)
    kept = table if wanted is None else {name: s for name, s in table.items() if name in wanted}
    total = sum(len(r) for r in rows.values())
    return RawLog(
        "lerobot", kept, tuple(table), _facts(meta, logs[0]), tuple(flags), topics,
        "partial" if all(log.integrity == "partial" for log in logs) else "none",
        Salvage(total, None, sum(f.stat().st_size for f in files)) if broken else None, tuple(media),
    )  # fmt: skip


def _json(path: Path, limit: int) -> dict[str, Any]:
    try:
        if path.stat().st_size > limit:
            raise too_large(f"size of '{path.name}' in bytes", path.stat().st_size, limit)
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'meta/{path.name}' cannot be read: {str(error)[:120]}", code="corrupt") from error
    if not isinstance(found, dict):
        raise DataError(f"'meta/{path.name}' holds no object", code="corrupt")
    return found


def _meta(root: Path) -> _Meta:
    meta = _Meta(root, _json(root / "meta" / "info.json", _INFO_BYTES))
    listed = root / "meta" / "episodes.jsonl"
    try:
        if listed.is_file():
            if listed.stat().st_size > _LIST_BYTES:
                raise too_large("size of 'episodes.jsonl' in bytes", listed.stat().st_size, _LIST_BYTES)
            rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            rows = [r for file in sorted((root / "meta" / "episodes").glob("**/*.parquet")) for r in _rows(file)]
        meta.episodes = {int(row["episode_index"]): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        raise DataError(
            f"the list of episodes in 'meta/' cannot be read: {str(error)[:120]}", code="corrupt"
        ) from error
    return meta


def _rows(file: Path) -> list[dict[str, Any]]:
    with pq.ParquetFile(file) as table:
        names = [n for n in table.schema_arrow.names if not n.startswith("stats/")]
        size = sum(table.metadata.row_group(i).total_byte_size for i in range(table.metadata.num_row_groups))
        if size > 4 * _LIST_BYTES:
            raise too_large(f"unpacked bytes of '{file.name}'", size, 4 * _LIST_BYTES)
        if table.metadata.num_rows > 1_000_000:
            raise too_large(f"episodes in '{file.name}'", table.metadata.num_rows, 1_000_000)
        return list(table.read(columns=names, use_threads=False).to_pylist())


def _joined(logs: list[RawLog], limits: Limits) -> dict[str, Series]:
    """The tables one below the other; columns that not all have are left out."""
    if len(logs) == 1:
        return dict(logs[0].series)
    rows = sum(len(next(iter(log.series.values())).values) for log in logs)
    if rows > limits.rows:
        raise too_large("rows of the data set", rows, limits.rows)
    names = [n for n in logs[0].series if all(n in log.series for log in logs)]
    same = [n for n in names if len({log.series[n].values.shape[1:] for log in logs}) == 1]
    return {name: Series(np.concatenate([log.series[name].values for log in logs])) for name in same}


def _episodes(table: dict[str, Series], meta: _Meta, *, whole: bool) -> tuple[tuple[Topic, ...], dict[int, np.ndarray]]:
    """(counts by episode beside what `meta/` says, rows of each episode)."""
    index = table["episode_index"].values if "episode_index" in table else None
    if index is None:
        return (Topic("", len(next(iter(table.values())).values), None, "table", "lerobot"),), {}
    index = np.nan_to_num(np.asarray(index, dtype=np.float64), nan=-1).astype(np.int64).ravel()
    order = np.argsort(index, kind="stable")
    values, starts = np.unique(index[order], return_index=True)
    rows = {int(v): r for v, r in zip(values, np.split(order, starts[1:]), strict=True)}
    topics = []
    for number in sorted(set(rows) | (set(meta.episodes) if whole else set())):
        says = meta.episodes.get(number, {}).get("length")
        count = len(rows.get(number, ()))
        reason = "" if count else "its file is not here"
        topics.append(
            Topic(f"episode {number}", count, int(says) if says is not None else None, "episode", "lerobot", reason)
        )
    return tuple(topics), rows


def _missing(meta: _Meta, rows: dict[int, np.ndarray], whole: bool) -> list[QualityFlag]:
    absent = sorted(set(meta.episodes) - set(rows))
    unknown = sorted(set(rows) - set(meta.episodes))
    flags = []
    if whole and absent:
        detail = f"meta/ lists {len(meta.episodes)} episodes, {len(rows)} are here; absent: {_listed(absent)}"
        flags.append(QualityFlag(code="files_missing", count=len(absent), detail=detail))
    if unknown:
        detail = f"episodes that meta/ does not list: {_listed(unknown)}"
        flags.append(QualityFlag(code="count_mismatch", count=len(unknown), detail=detail))
    return flags


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(n) for n in numbers[:20]) + (f" and {len(numbers) - 20} more" if len(numbers) > 20 else "")


def _videos(
    meta: _Meta, table: dict[str, Series], rows: dict[int, np.ndarray]
) -> tuple[list[Media], list[QualityFlag]]:
    """The clips of the episodes in `rows`, and what is wrong with them."""
    media: list[Media] = []
    flags: list[QualityFlag] = []
    absent: list[str] = []
    cache: dict[Path, Any] = {}
    times = table.get("timestamp")
    for number, where in rows.items():
        for camera, file, begin in _places(meta, number):
            if file is None:
                absent.append(f"{camera} of episode {number}")
                continue
            try:
                if file not in cache:
                    cache[file] = read_video(file)
            except DataError as error:
                flags.append(QualityFlag(code="video_mismatch", channel=camera, detail=str(error)[:300]))
                continue
            if not len(cache[file].times_s):
                flags.append(QualityFlag(code="video_mismatch", channel=camera, detail=f"'{file.name}' has no frames"))
                continue
            video = cache[file]
            at = None if times is None else np.asarray(times.values[where], dtype=np.float64)
            problem = _differs(video.times_s, at, len(where), begin, meta.fps, shared=_is_shared(meta))
            if problem:
                detail = f"episode {number}: {problem}"
                flags.append(QualityFlag(code="video_mismatch", channel=camera, detail=detail))
            end = float(video.times_s[-1] - begin + 1 / meta.fps) if len(video.times_s) else 0.0
            media.append(
                Media(camera, file, video.sha256, "video/mp4", round(-begin * 1e9), round(end * 1e9),
                      len(video.times_s), number)
            )  # fmt: skip
    if absent:
        detail = f"videos that are listed and not here: {', '.join(absent[:10])}"
        flags.append(QualityFlag(code="files_missing", count=len(absent), detail=detail))
    return media, flags


def _is_shared(meta: _Meta) -> bool:
    """Version 3 puts several episodes into one file."""
    return not str(meta.info.get("codebase_version", "")).startswith("v2")


def _places(meta: _Meta, number: int) -> list[tuple[str, Path | None, float]]:
    """(camera, file or None, second at which the episode begins in it) of episode `number`."""
    template = str(meta.info.get("video_path") or "")
    row = meta.episodes.get(number, {})
    chunks = meta.info.get("chunks_size")
    chunk = number // chunks if isinstance(chunks, int) and chunks > 0 else 0
    found: list[tuple[str, Path | None, float]] = []
    for camera in meta.cameras:
        begin = row.get(f"videos/{camera}/from_timestamp")
        slots = {
            "episode_chunk": chunk, "episode_index": number, "video_key": camera,
            "chunk_index": row.get(f"videos/{camera}/chunk_index", 0),
            "file_index": row.get(f"videos/{camera}/file_index", 0),
        }  # fmt: skip
        file = _inside(meta.root, _filled(template, slots))
        found.append((camera, file if file.is_file() else None, float(begin or 0.0)))
    if not _is_shared(meta):
        known = {file for _, file, _ in found}
        name = f"episode_{number:06d}.mp4"
        beside = [p for p in sorted((meta.root / "videos").glob(f"chunk-*/*/{name}")) if p not in known]
        if beside:  # the folder is called otherwise than the feature
            found = [entry for entry in found if entry[1] is not None]
            found += [(p.parent.name, _inside(meta.root, p.relative_to(meta.root).as_posix()), 0.0) for p in beside]
    return found


def _filled(template: str, slots: dict[str, Any]) -> str:
    """The template with `{name:03d}` replaced; unlike str.format it reaches no attribute."""

    def value(found: re.Match[str]) -> str:
        text = slots.get(found.group(1), "")
        digits = int(found.group(2) or 0)
        return f"{int(text):0{min(digits, 12)}d}" if digits else str(text)

    return _SLOT.sub(value, template)


def _inside(root: Path, name: str) -> Path:
    """The file `name` below `root`. Raises DataError `hostile_name` when it, or a link in it, leads out."""
    file = root / name
    if not file.resolve().is_relative_to(root.resolve()) or "\0" in name:
        raise DataError(f"meta/ names a file outside the data set: {name[:80]!a}", code="hostile_name")
    return file


def _differs(frames: np.ndarray, times: np.ndarray | None, rows: int, begin: float, fps: float, *, shared: bool) -> str:
    """What is wrong with a clip's frames, in words; empty when each row has its frame within half a period."""
    half = 0.5 / fps
    if not shared and len(frames) != rows:
        return f"{len(frames)} frames, the table has {rows} rows"
    if times is None or not len(frames):
        return "" if len(frames) else "no frames"
    wanted = times + begin
    nearest = frames[np.clip(np.searchsorted(frames, wanted - half), 0, len(frames) - 1)]
    off = np.abs(nearest - wanted)
    late = int((off > half + 1e-4).sum())
    return f"{late} rows have no frame within {half * 1e3:.1f} ms; the worst is {off.max():.3f} s off" if late else ""


def _facts(meta: _Meta, log: RawLog) -> dict[str, str]:
    facts = {key: value for key, value in log.metadata.items() if key != "huggingface"}
    for key in ("codebase_version", "robot_type", "fps"):
        facts[key] = str(meta.info.get(key, ""))[:200]
    features = meta.info.get("features")
    for name, feature in features.items() if isinstance(features, dict) else ():
        names = feature.get("names") if isinstance(feature, dict) else None
        names = names.get("motors", names.get("axes")) if isinstance(names, dict) else names
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
            names = names[0]
        if isinstance(names, list) and all(isinstance(n, str) for n in names) and feature.get("dtype") != "video":
            facts[f"names:{name}"] = json.dumps([n[:80] for n in names[:4096]])
    return facts
