"""A robot's sending side alone, as a process to be killed: takes files from a folder into its spool and uploads them.

A source file is deleted as soon as the spool has acknowledged it. What goes over the wire is counted in a small file
that outlives the process: bytes, and parts whose sending began.
"""

import argparse
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.spool import Spool
from fleet_ingest.robot.throttle import Throttle
from fleet_ingest.robot.uploader import Uploader

_COUNTS = struct.Struct("<qq")


class Counted(Throttle):
    """A throttle that counts in `path` what it lets through."""

    def __init__(self, bytes_per_s: float, path: Path) -> None:
        super().__init__(bytes_per_s)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._sent, self._begun = read_counts(path)

    def chunks(self, data: bytes) -> Iterator[bytes]:
        self._begun += 1
        for piece in super().chunks(data):
            self._sent += len(piece)
            os.pwrite(self._file, _COUNTS.pack(self._sent, self._begun), 0)
            yield piece


def read_counts(path: Path) -> tuple[int, int]:
    """(bytes sent, parts whose sending began)."""
    data = path.read_bytes() if path.exists() else b""
    return _COUNTS.unpack(data) if len(data) == _COUNTS.size else (0, 0)


def priority_of(path: Path) -> str:
    """Files say how urgent they are by the first word of their name."""
    return path.name.split("-", 1)[0]


def run(state: Path, serial: str, api: str, source: Path, mappings: dict[str, str], bytes_per_s: float) -> None:
    key, counted = RobotKey.load(state / "robot.key", serial), Counted(bytes_per_s, state / "sent")
    client = Client(api, key, pause=threading.Event().wait, note=_note, throttle=counted)
    spool = Spool(state, serial)
    uploader = Uploader(client, spool, serial)
    while True:
        for path in sorted(source.glob("*-*")):
            form = path.suffix[1:]
            spool.add(path, format=form, priority=priority_of(path), mapping_sha256=mappings.get(form))  # type: ignore[arg-type]
            path.unlink()
        waiting = spool.waiting()
        if not waiting:
            time.sleep(0.1)
            continue
        try:
            uploader.upload(waiting[0])
        except Refused as error:
            _note(f"refused: {error.status} {error.code} {error}")
            time.sleep(0.5)


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    for name in ("--state", "--source"):
        words.add_argument(name, type=Path, required=True)
    for name in ("--serial", "--api"):
        words.add_argument(name, required=True)
    words.add_argument("--mapping", action="append", default=[], help="SUFFIX=SHA256")
    words.add_argument("--bytes-per-s", type=float, default=20e6)
    given = words.parse_args()
    pairs = dict(text.split("=", 1) for text in given.mapping)
    run(given.state, given.serial, given.api, given.source, pairs, given.bytes_per_s)
