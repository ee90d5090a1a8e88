"""`sim2real-robot status`: what waits on a robot's disk, what the server has confirmed, what was evicted.

It reads the journal beside the running process and takes no lock; it changes nothing.
"""

import argparse
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from fleet_ingest.robot.protocol import PRIORITIES
from fleet_ingest.robot.spool_files import free_bytes
from storage.contracts.errors import InputError, Sim2RealError

_SHOWN = 20


def spool_status(directory: Path) -> dict[str, Any]:
    """Counts and bytes by priority, and the newest evictions. Raises InputError where there is no spool."""
    path = directory / "spool.db"
    if not path.is_file():
        raise InputError(f"there is no spool in {directory}", remedy="Name the robot with --serial or its --state.")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        try:
            return {"free_bytes": free_bytes(directory)} | _read(database)
        except sqlite3.OperationalError as error:
            raise InputError(f"the journal {path} cannot be read: {error}") from error


def _read(database: sqlite3.Connection) -> dict[str, Any]:
    waiting = {name: {"logs": 0, "bytes": 0} for name in PRIORITIES}
    grouped = "SELECT priority, count(*), sum(size) FROM logs WHERE receipt IS NULL GROUP BY priority"
    for priority, logs, size in database.execute(grouped):
        waiting[priority] = {"logs": logs, "bytes": size}
    verified = database.execute("SELECT count(*) FROM logs WHERE receipt IS NOT NULL").fetchone()[0]
    evicted = database.execute("SELECT count(*), coalesce(sum(NOT verified), 0) FROM tombstones").fetchone()
    query = (
        "SELECT evicted_ns, priority, size, verified, reason, coalesce(name, assignment || ' #' || episode), sha256"
        " FROM tombstones ORDER BY id DESC LIMIT ?"
    )
    names = ("evicted_ns", "priority", "size", "verified", "reason", "name", "sha256")
    newest = [dict(zip(names, row, strict=True)) for row in database.execute(query, (_SHOWN,))]
    return {
        "waiting": waiting, "verified": verified, "evicted": evicted[0], "lost": evicted[1],
        "newest_evictions": [row | {"verified": bool(row["verified"])} for row in newest],
    }  # fmt: skip


def _lines(found: dict[str, Any]) -> list[str]:
    waiting = [f"{w['logs']} {name} ({w['bytes'] / 1e6:.1f} MB)" for name, w in found["waiting"].items() if w["logs"]]
    lines = [
        f"waiting: {', '.join(waiting) or 'nothing'}",
        f"verified by the server: {found['verified']}; evicted: {found['evicted']}, of these lost: {found['lost']}",
        f"free disk: {found['free_bytes'] / 1e6:.0f} MB",
    ]
    for row in found["newest_evictions"]:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(row["evicted_ns"] / 1e9))
        fate = "the server has it" if row["verified"] else "lost"
        lines.append(f"  {when} {row['priority']} {row['name']} {row['sha256'][:12]}, {fate}: {row['reason']}")
    return lines


def main(argv: list[str]) -> int:
    words = argparse.ArgumentParser(prog="sim2real-robot status", description=__doc__.splitlines()[0])
    words.add_argument("--serial", help="the robot's serial number")
    words.add_argument("--state", type=Path, help="directory of the spool; default ~/.sim2real-robot/SERIAL")
    words.add_argument("--json", action="store_true", help="one JSON object")
    arguments = words.parse_args(argv)
    if arguments.state is None and arguments.serial is None:
        words.error("--serial or --state is needed")
    try:
        found = spool_status(arguments.state or Path.home() / ".sim2real-robot" / arguments.serial)
    except Sim2RealError as error:
        sys.stderr.write(f"sim2real-robot: {error}\n{error.remedy}\n")
        return error.exit_code
    sys.stdout.write("\n".join([json.dumps(found)] if arguments.json else _lines(found)) + "\n")
    return 0
