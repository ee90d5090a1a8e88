"""The spool's journal: one SQLite file, synced at every commit, and its versions.

Rollback journal with synchronous=EXTRA: a commit that returned is on the disk, and so is the removal of the journal
that would undo it (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.contracts.errors import IncompatibleError

VERSION = 3

_TABLES = """
CREATE TABLE logs (
  assignment TEXT NOT NULL, episode INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  assignment_id INTEGER, receipt TEXT, priority TEXT NOT NULL DEFAULT 'routine', format TEXT NOT NULL DEFAULT 'mcap',
  mapping_sha256 TEXT, name TEXT, outing TEXT, notes TEXT NOT NULL DEFAULT '', sends INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (assignment, episode));
"""
_MORE = """
CREATE INDEX logs_by_digest ON logs (sha256);
CREATE TABLE parts (
  sha256 TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL,
  sends INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (sha256, number)) WITHOUT ROWID;
CREATE TABLE tombstones (
  id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL, priority TEXT NOT NULL, assignment TEXT NOT NULL,
  episode INTEGER NOT NULL, name TEXT, verified INTEGER NOT NULL, reason TEXT NOT NULL, evicted_ns INTEGER NOT NULL);
"""
_FROM_FIRST = """
ALTER TABLE logs DROP COLUMN session;
ALTER TABLE logs DROP COLUMN parts;
ALTER TABLE logs ADD COLUMN priority TEXT NOT NULL DEFAULT 'routine';
ALTER TABLE logs ADD COLUMN format TEXT NOT NULL DEFAULT 'mcap';
ALTER TABLE logs ADD COLUMN mapping_sha256 TEXT;
ALTER TABLE logs ADD COLUMN name TEXT;
ALTER TABLE logs ADD COLUMN outing TEXT;
ALTER TABLE logs ADD COLUMN notes TEXT NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN sends INTEGER NOT NULL DEFAULT 0;
"""
_REPORTED = "ALTER TABLE tombstones ADD COLUMN reported INTEGER NOT NULL DEFAULT 0;"


def open_journal(path: Path) -> sqlite3.Connection:
    """The journal at `path`, made or brought up to date. Raises IncompatibleError for one of a newer program."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "fullfsync=ON"):
        database.execute(f"PRAGMA {pragma}")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        database.close()
        raise IncompatibleError(
            f"the spool's journal {path} has version {version}, this program knows {VERSION}",
            remedy="Use the program that wrote it, or a newer one.",
        )
    if version < VERSION:
        old = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'logs'").fetchone()[0]
        script = ((_FROM_FIRST if old else _TABLES) + _MORE if version < 2 else "") + _REPORTED
        database.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {VERSION}; COMMIT;")
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the statements inside, or none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
