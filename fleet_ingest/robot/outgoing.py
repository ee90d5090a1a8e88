"""Files that an operator sends by hand: read where they lie, with a journal that lets an interrupted upload go on.

Unlike the robot's spool it owns no bytes: the operator's file is neither moved nor deleted, whatever becomes of the
upload.
"""

import hashlib
import json
import os
from pathlib import Path

from fleet_ingest.robot.protocol import Receipt
from fleet_ingest.robot.spool import Spooled

Parts = dict[int, dict[str, str | None]]


def outgoing(path: Path, format: str, mapping_sha256: str | None, journal: Path) -> Spooled:
    """The file at `path` as the uploader wants it, with what an earlier attempt sent of it."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    session, parts = SentFiles(journal).progress(sha256)
    return Spooled("operator", None, 0, sha256, path.stat().st_size, path, session, parts, format, mapping_sha256)


class SentFiles:
    """One small JSON file per upload under way, replaced by rename, removed with the receipt."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def progress(self, sha256: str) -> tuple[str, Parts]:
        """Session and parts of an unfinished upload; empty when there is none, or it cannot be read."""
        try:
            found = json.loads(self._path(sha256).read_text())
            return str(found["session"]), {int(number): part for number, part in found["parts"].items()}
        except (OSError, ValueError, KeyError, AttributeError):
            return "", {}

    def journal(self, sha256: str, session: str, parts: Parts) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path(sha256).with_suffix(f".{os.getpid()}")
        with temporary.open("w") as file:
            json.dump({"session": session, "parts": parts}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(sha256))

    def confirm(self, receipt: Receipt) -> None:
        self._path(receipt.sha256).unlink(missing_ok=True)

    def spoil(self, log: Spooled) -> None:
        self._path(log.sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._directory / f"{sha256}.json"
