"""Logs that the server has not confirmed yet, on the robot's disk: files and one SQLite journal.

A log is acknowledged by `put` only after file and row are on disk (fsync), and its file leaves only with a verified
receipt, or by an eviction that leaves a tombstone. The row of an assigned episode stays, so that a restarted robot
knows what it has run. One process at a time. This module sends nothing.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet_ingest.robot import spool_files as files
from fleet_ingest.robot.protocol import PRIORITIES, PartWanted, Receipt
from fleet_ingest.robot.spool_tables import open_journal, transaction
from fleet_ingest.robot.worth import Candidate, Tombstone, victims
from storage.contracts.errors import ConflictError, DataError, InputError, UnavailableError, UnknownName

Priority = Literal["incident", "intervention", "on_demand", "routine"]
KEEP_ASSIGNMENTS = 200
KEEP_TOMBSTONES = 10_000
MIN_FREE_BYTES = 64 * 2**20

_URGENCY = " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(PRIORITIES))
_WAITING = (
    "SELECT assignment, assignment_id, episode, sha256, size, format, mapping_sha256, name, outing, notes, priority"
    f" FROM logs WHERE receipt IS NULL ORDER BY CASE priority {_URGENCY} ELSE 9 END, rowid"
)


@dataclass(frozen=True)
class Spooled:
    """One log; `size` in bytes. `outing` groups the files of one occasion."""

    assignment: str
    assignment_id: int | None
    episode: int
    sha256: str
    size: int
    path: Path
    format: str = "mcap"
    mapping_sha256: str | None = None
    name: str | None = None
    outing: str | None = None
    notes: str = ""
    priority: Priority = "routine"


class Spool:
    """The spool in `directory` of robot `serial`.

    `min_free_bytes`: the floor of free disk. `keep_verified`: files stay after their receipt, until room is needed.
    Raises ConflictError when another process holds it.
    """

    def __init__(
        self, directory: Path, serial: str, *, min_free_bytes: int = MIN_FREE_BYTES, keep_verified: bool = False
    ) -> None:
        self.directory = directory
        self._serial, self._floor, self._keep = serial, min_free_bytes, keep_verified
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lock = _exclusive(directory / "lock")
        self._turn = threading.RLock()
        try:
            self._db = open_journal(directory / "spool.db")
            files.sync_directory(directory)
            self._sweep()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def episodes(self, assignment: str) -> dict[int, str]:
        """Episode index -> digest of the log, for all that were run, uploaded or not."""
        rows = self._db.execute("SELECT episode, sha256 FROM logs WHERE assignment = ?", (assignment,))
        return dict(rows.fetchall())

    def put(
        self, assignment: str, episode: int, data: bytes, *, assignment_id: int | None = None,
        priority: Priority = "routine",
    ) -> str:  # fmt: skip
        """Keeps `data` and returns its digest; when it returns, the log survives a loss of power.

        Room is made at the cost of what is worth less. Raises UnavailableError when that is not enough: recording
        waits, what is spooled stays.
        """
        with self._turn:
            self._make_room(len(data), priority, displace=False)
            return self._take([data], assignment, episode, assignment_id=assignment_id, priority=priority)

    def add(
        self, path: Path, *, format: str, priority: Priority = "routine", mapping_sha256: str | None = None,
        outing: str | None = None, notes: str = "",
    ) -> str:  # fmt: skip
        """Keeps a copy of the file at `path`, of another recorder, and returns its digest; the same file twice is one.

        It belongs to no assignment, so that the newest pushes out the oldest of equal worth where the disk is full.
        Raises InputError when there is no such file, UnavailableError when there is no room.
        """
        if not path.is_file():
            raise InputError(f"no such file: {path}")
        with self._turn:
            self._make_room(path.stat().st_size, priority, displace=True)
            return self._take(
                files.chunks_of(path), None, 0, priority=priority, format=format, mapping_sha256=mapping_sha256,
                name=path.name[-200:], outing=outing, notes=notes,
            )  # fmt: skip

    def waiting(self) -> list[Spooled]:
        """Logs without a verified receipt: the most urgent first, then the oldest."""
        return [
            Spooled(key, number, e, sha, size, self._path(sha, format), format, *more)
            for key, number, e, sha, size, format, *more in self._db.execute(_WAITING).fetchall()
        ]

    def plan_parts(self, sha256: str, parts: Iterable[PartWanted]) -> None:
        """Journals size and digest of each part, before any is sent."""
        rows = [(sha256, p.number, p.size, p.sha256) for p in parts]
        with self._turn, transaction(self._db):
            self._db.execute("DELETE FROM parts WHERE sha256 = ?", (sha256,))
            self._db.executemany("INSERT INTO parts (sha256, number, size, digest) VALUES (?, ?, ?, ?)", rows)

    def parts(self, sha256: str) -> tuple[PartWanted, ...]:
        """The journaled parts, in order; none when the file has not been measured yet."""
        query = "SELECT number, size, digest FROM parts WHERE sha256 = ? ORDER BY number"
        return tuple(PartWanted(number=n, size=s, sha256=d) for n, s, d in self._db.execute(query, (sha256,)))

    def sending(self, sha256: str, number: int) -> None:
        """Counts that part `number` is about to be sent (once more)."""
        with self._turn, transaction(self._db):
            self._db.execute("UPDATE parts SET sends = sends + 1 WHERE sha256 = ? AND number = ?", (sha256, number))
            self._db.execute("UPDATE logs SET sends = sends + 1 WHERE sha256 = ?", (sha256,))

    def forget_parts(self, sha256: str) -> None:
        """The journaled digests are in doubt: the file is measured again."""
        self._db.execute("DELETE FROM parts WHERE sha256 = ?", (sha256,))

    def confirm(self, receipt: Receipt) -> None:
        """Lets the file go. Raises DataError unless the receipt is verified and for a log of this robot and size."""
        with self._turn:
            row = self._db.execute("SELECT size, format FROM logs WHERE sha256 = ?", (receipt.sha256,)).fetchone()
            if row is None or not receipt.verified or receipt.robot != self._serial or receipt.size != row[0]:
                raise DataError(
                    f"receipt {receipt.upload} (robot {receipt.robot}, {receipt.sha256[:12]}, {receipt.size} bytes, "
                    f"verified={receipt.verified}) does not settle a spooled log of {self._serial}",
                    code="receipt",
                )
            with transaction(self._db):
                values = (receipt.to_json().decode(), receipt.sha256)
                self._db.execute("UPDATE logs SET receipt = ? WHERE sha256 = ?", values)
                self._db.execute("DELETE FROM parts WHERE sha256 = ?", (receipt.sha256,))
            if not self._keep:
                self._path(receipt.sha256, row[1]).unlink(missing_ok=True)

    def spoil(self, log: Spooled) -> None:
        """Sets a file aside whose bytes changed on disk, and forgets its row, so that the episode is run again."""
        aside = self.directory / "spoiled"
        aside.mkdir(exist_ok=True)
        with self._turn:
            if log.path.exists():
                log.path.replace(aside / log.path.name)
            self._bury(Candidate(log.sha256, log.size, log.priority, False), "changed on disk")

    def tombstones(self) -> list[Tombstone]:
        """What was evicted or spoiled, newest first."""
        query = (
            "SELECT sha256, size, priority, assignment, episode, name, verified, reason, evicted_ns FROM tombstones"
            " ORDER BY id DESC"
        )
        return [Tombstone(*row) for row in self._db.execute(query)]

    def unreported(self, limit: int = 200) -> dict[int, Tombstone]:
        """Number -> tombstone of logs that the server never had and that it has not been told of, oldest first."""
        query = (
            "SELECT id, sha256, size, priority, assignment, episode, name, verified, reason, evicted_ns FROM tombstones"
            " WHERE NOT reported AND NOT verified ORDER BY id LIMIT ?"
        )
        return {number: Tombstone(*row) for number, *row in self._db.execute(query, (limit,)).fetchall()}

    def reported(self, numbers: Iterable[int]) -> None:
        """The server knows of these."""
        with self._turn, transaction(self._db):
            self._db.executemany("UPDATE tombstones SET reported = 1 WHERE id = ?", [(n,) for n in numbers])

    def _take(
        self, chunks: Iterable[bytes], assignment: str | None, episode: int, *, format: str = "mcap", **fields: object
    ) -> str:
        temporary = self._logs / f"{time.monotonic_ns()}.tmp"
        digest, size = files.write_whole(temporary, chunks)
        path = self._path(digest, format)
        files.settle(temporary, path)
        key = assignment or f"file:{digest}"
        values = {"assignment": key, "episode": episode, "sha256": digest, "size": size, "format": format} | fields
        names = ", ".join(values)
        self._db.execute(
            f"INSERT INTO logs ({names}) VALUES ({', '.join('?' * len(values))})"
            " ON CONFLICT (assignment, episode) DO NOTHING",
            tuple(values.values()),
        )
        if path not in self._held():
            path.unlink()
        return self.episodes(key)[episode]

    def _held(self) -> set[Path]:
        """The files that rows vouch for."""
        keep = "" if self._keep else " WHERE receipt IS NULL"
        return {self._path(*row) for row in self._db.execute(f"SELECT sha256, format FROM logs{keep}")}

    def _make_room(self, size: int, priority: str, *, displace: bool) -> None:
        if priority not in PRIORITIES:
            raise UnknownName("priority", priority, PRIORITIES)
        missing = self._floor + size - files.free_bytes(self._logs)
        if missing <= 0:
            return
        chosen = victims(self._candidates(), missing, priority, displace=displace)
        if chosen is None:
            raise UnavailableError(
                f"less than {self._floor >> 20} MiB are free below {self._logs}; recording waits",
                remedy="Let the robot reach the server, so that the spool drains, or free disk space.",
            )
        for victim in chosen:
            self._bury(victim, f"room for a log of priority {priority}")

    def _candidates(self) -> list[Candidate]:
        """Oldest first; of logs with equal bytes one."""
        query = (
            "SELECT sha256, size, priority, format, min(receipt IS NOT NULL) FROM logs GROUP BY sha256 ORDER BY rowid"
        )
        return [
            Candidate(sha256, size, priority, bool(verified))
            for sha256, size, priority, format, verified in self._db.execute(query)
            if self._path(sha256, format).exists()
        ]

    def _bury(self, victim: Candidate, reason: str) -> None:
        """The tombstone and the end of the row in one commit, then the file: a kill in between leaves it to `_sweep`.

        The row of a verified log stays, with its receipt.
        """
        path = self._file_of(victim.sha256)
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO tombstones"
                " (sha256, size, priority, assignment, episode, name, verified, reason, evicted_ns)"
                " SELECT sha256, size, priority, assignment, episode, name, ?, ?, ? FROM logs WHERE sha256 = ?",
                (victim.verified, reason, time.time_ns(), victim.sha256),
            )
            self._db.execute("DELETE FROM logs WHERE sha256 = ? AND receipt IS NULL", (victim.sha256,))
            self._db.execute("DELETE FROM parts WHERE sha256 = ?", (victim.sha256,))
        path.unlink(missing_ok=True)

    def _file_of(self, sha256: str) -> Path:
        row = self._db.execute("SELECT format FROM logs WHERE sha256 = ?", (sha256,)).fetchone()
        return self._path(sha256, row[0] if row else "mcap")

    def _path(self, digest: str, format: str) -> Path:
        return self._logs / f"{digest}.{format}"

    def _sweep(self) -> None:
        """Removes what a killed process left: unfinished files, files without a row, rows of old assignments."""
        held = self._held()
        for path in self._logs.iterdir():
            if path not in held:
                path.unlink()
        with transaction(self._db):
            self._db.execute(
                "DELETE FROM logs WHERE receipt IS NOT NULL AND assignment NOT IN"
                " (SELECT assignment FROM logs GROUP BY assignment ORDER BY max(rowid) DESC LIMIT ?)",
                (KEEP_ASSIGNMENTS,),
            )
            self._db.execute(
                "DELETE FROM tombstones WHERE id <= (SELECT max(id) FROM tombstones) - ?", (KEEP_TOMBSTONES,)
            )


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
