"""`import` and `upload`: logs of others in, by hand or through the protocol that robots speak."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleet_ingest.api.tokens import operator_token
from fleet_ingest.formats.read import detect_format
from fleet_ingest.import_tree import find_logs, import_tree
from fleet_ingest.ingest import IngestResult
from fleet_ingest.mapping_yaml import load_mapping
from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.outgoing import SentFiles, outgoing
from fleet_ingest.robot.uploader import Uploader
from flows.engine import Engine
from flows.progress import reporting
from flows.services import api_secret

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


def upload_paths(engine: Engine, paths: Sequence[Path], robot: str, mapping: Path | None) -> list[FileResult]:
    """Sends every log under `paths` through the upload protocol in the name of `robot`; one result a file.

    Raises UnknownName for a robot that nobody registered, unless the mapping says what it is.
    """
    loaded = load_mapping(mapping) if mapping is not None else None
    mapping_sha256 = None
    if loaded is not None:
        mapping_sha256 = engine.store.put_bytes(loaded.to_json())
        if robot not in {row.serial for row in engine.catalog.robots.list()}:
            engine.catalog.robots.register(robot, loaded.spec_at(loaded.rate_hz or loaded.nominal_rate_hz or 1.0))
    engine.catalog.robots.get(robot)
    files = find_logs(paths, loaded)
    client = Client(engine.api_url, operator_token(api_secret(engine.home)), pause=_pause, note=lambda text: None)
    uploader = Uploader(client, SentFiles(engine.home.path / "uploads"), robot)
    results = []
    with reporting("upload") as progress:
        for index, path in enumerate(files):
            progress(index / len(files), f"{index + 1} of {len(files)}: {path.name}")
            results.append(_upload(engine, uploader, path, mapping_sha256))
    client.close()
    return results


def _upload(engine: Engine, uploader: Uploader, path: Path, mapping_sha256: str | None) -> FileResult:
    log = outgoing(path, detect_format(path), mapping_sha256, engine.home.path / "uploads")
    try:
        receipt = uploader.upload(log)
    except Refused as error:
        return _row(str(path), log.sha256, "refused", error.code, str(error), error.remedy, ())
    rows = engine.catalog.episodes.get_many(receipt.episodes)
    found = _row(
        str(path), receipt.sha256, receipt.state, receipt.reason_code or "", receipt.detail, "", receipt.episodes
    )
    return found | {"robot": receipt.robot, "duration_s": round(sum(row.duration_s for row in rows), 6)}


def _row(
    path: str, sha256: str, state: str, code: str, detail: str, remedy: str, episodes: Sequence[str]
) -> FileResult:
    return {
        "path": path,
        "robot": "",
        "state": state,
        "code": code,
        "reason": f"{code}: {detail}" if code else "",
        "remedy": remedy,
        "sha256": sha256,
        "episodes": list(episodes),
        "duration_s": 0.0,
    }


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False
