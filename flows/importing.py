"""`import`: logs of others in, by hand. `upload` goes through the protocol that robots speak: see `flows.uploading`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleet_ingest.import_tree import import_tree
from fleet_ingest.ingest import IngestResult
from fleet_ingest.mapping_yaml import load_mapping
from flows.engine import Engine
from flows.progress import reporting

FileResult = dict[str, Any]


def import_paths(
    engine: Engine, paths: Sequence[Path], mapping: Path | None, robot: str | None, *, notes: str
) -> list[FileResult]:
    """Takes in every log under `paths`; one result a file. Raises InputError when the mapping fits none of them."""
    loaded = load_mapping(mapping) if mapping is not None else None
    with reporting("import") as progress:
        results = import_tree(
            paths, loaded, store=engine.store, catalog=engine.catalog, robot=robot, notes=notes, progress=progress
        )
    return [_plain(result) for result in results]


def _plain(result: IngestResult) -> FileResult:
    return {
        "path": result.path,
        "robot": result.robot,
        "state": result.state,
        "code": result.code,
        "reason": f"{result.code}: {result.detail}" if result.code else "",
        "remedy": result.remedy,
        "sha256": result.raw_sha256,
        "episodes": list(result.episodes),
        "duration_s": result.duration_s,
        "gaps": result.gaps,
        "known": result.known,
    }
