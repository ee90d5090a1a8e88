"""Logs that the server has not confirmed yet, on the robot's disk: files and one SQLite journal.

A log is acknowledged by `put` only after file and row are on disk (fsync), and its file leaves only with a
verified receipt. The row stays, so that a restarted robot knows which episodes of an assignment it has run. One
process at a time.
"""

import fcntl
import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet_ingest.robot.protocol import Receipt
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import ConflictError, DataError, UnavailableError

KEEP_ASSIGNMENTS = 200
MIN_FREE_BYTES = 64 * 2**20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS logs (
  assignment TEXT NOT NULL, episode INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  assignment_id INTEGER, receipt TEXT, session TEXT NOT NULL DEFAULT '', parts TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (assignment, episode));
"""


@dataclass(frozen=True)
class Spooled:
    """One log. `parts`: part number -> {"sha256": base64, "etag": str or None} of multipart `session`."""

    assignment: str
    assignment_id: int | None
    episode: int
    sha256: str
    size: int
    path: Path
    session: str
    parts: dict[int, dict[str, str | None]]
    format: str = "mcap"
    mapping_sha256: str | None = None
    name: str | None = None
    outing: str | None = None
    notes: str = ""
    priority: Literal["incident", "intervention", "on_demand", "routine"] = "routine"


class Spool:
    """The spool in `directory` of robot `serial`. Raises ConflictError when another process holds it."""

    def __init__(self, directory: Path, serial: str) -> None:
        self.directory = directory
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lock = _exclusive(directory / "lock")
        self._db = sqlite3.connect(directory / "spool.db", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.execute("PRAGMA synchronous=EXTRA")
        self._db.execute("PRAGMA fullfsync=ON")
        self._db.executescript(_SCHEMA)
        self._serial = serial
        self._sweep()

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def episodes(self, assignment: str) -> dict[int, str]:
        """Episode index -> digest of the log, for all that were run, uploaded or not."""
        rows = self._db.execute("SELECT episode, sha256 FROM logs WHERE assignment = ?", (assignment,))
        return dict(rows.fetchall())

    def put(self, assignment: str, episode: int, data: bytes, *, assignment_id: int | None = None) -> str:
        """Keeps `data` and returns its digest; when it returns, the log survives a loss of power.

        Raises UnavailableError when the disk is nearly full: recording stops, what is spooled stays.
        """
        if _free_bytes(self._logs) < MIN_FREE_BYTES + len(data):
            raise UnavailableError(
                f"less than {MIN_FREE_BYTES >> 20} MiB are free below {self._logs}; recording waits",
                remedy="Let the robot reach the server, so that the spool drains, or free disk space.",
            )
        digest = sha256_hex(data)
        temporary, path = self._logs / f"{digest}.tmp", self._path(digest)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_directory(self._logs)
        self._db.execute(
            "INSERT INTO logs (assignment, episode, sha256, size, assignment_id) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (assignment, episode) DO NOTHING",
            (assignment, episode, digest, len(data), assignment_id),
        )
        return digest

    def waiting(self) -> list[Spooled]:
        """Logs without a verified receipt, oldest first."""
        query = (
            "SELECT assignment, assignment_id, episode, sha256, size, session, parts FROM logs"
            " WHERE receipt IS NULL ORDER BY rowid"
        )
        return [
            Spooled(key, number, e, sha, size, self._path(sha), session, _parts(parts))
            for key, number, e, sha, size, session, parts in self._db.execute(query).fetchall()
        ]

    def journal(self, sha256: str, session: str, parts: dict[int, dict[str, str | None]]) -> None:
        """Records what is about to be sent or was confirmed, before anything depends on it."""
        text = json.dumps(parts, sort_keys=True)
        self._db.execute("UPDATE logs SET session = ?, parts = ? WHERE sha256 = ?", (session, text, sha256))

    def confirm(self, receipt: Receipt) -> None:
        """Lets the file go. Raises DataError unless the receipt is verified and for a log of this robot and size."""
        row = self._db.execute("SELECT size FROM logs WHERE sha256 = ?", (receipt.sha256,)).fetchone()
        if row is None or not receipt.verified or receipt.robot != self._serial or receipt.size != row[0]:
            raise DataError(
                f"receipt {receipt.upload} (robot {receipt.robot}, {receipt.sha256[:12]}, {receipt.size} bytes, "
                f"verified={receipt.verified}) does not settle a spooled log of {self._serial}",
                code="receipt",
            )
        self._db.execute("UPDATE logs SET receipt = ? WHERE sha256 = ?", (receipt.to_json().decode(), receipt.sha256))
        self._path(receipt.sha256).unlink(missing_ok=True)

    def spoil(self, log: Spooled) -> None:
        """Sets a file aside whose bytes changed on disk, and forgets its row, so that the episode is run again."""
        aside = self.directory / "spoiled"
        aside.mkdir(exist_ok=True)
        if log.path.exists():
            log.path.replace(aside / log.path.name)
        self._db.execute("DELETE FROM logs WHERE sha256 = ?", (log.sha256,))

    def _path(self, digest: str) -> Path:
        return self._logs / f"{digest}.mcap"

    def _sweep(self) -> None:
        """Removes what a killed process left: unfinished files, files without a row, rows of old assignments."""
        waiting = {log.path for log in self.waiting()}
        for path in self._logs.iterdir():
            if path not in waiting:
                path.unlink()
        self._db.execute(
            "DELETE FROM logs WHERE receipt IS NOT NULL AND assignment NOT IN"
            " (SELECT assignment FROM logs GROUP BY assignment ORDER BY max(rowid) DESC LIMIT ?)",
            (KEEP_ASSIGNMENTS,),
        )


def _parts(text: str) -> dict[int, dict[str, str | None]]:
    return {int(number): part for number, part in json.loads(text).items()}


def _exclusive(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConflictError(
            f"another robot process holds the spool at {path.parent}", remedy="One process per robot and directory."
        ) from error
    return handle


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
