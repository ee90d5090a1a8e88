"""The spool against kills at every single step and against losses of power: what `put` acknowledged is there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet_ingest.robot import spool_files, spool_tables
from fleet_ingest.robot.protocol import Receipt
from fleet_ingest.robot.spool import Spool
from storage.contracts.canonical import sha256_hex

_UNLINK = Path.unlink


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours catches it."""


class Steps:
    """Ends the program before the n-th step that touches the disk; what was not synced is lost with `power`."""

    def __init__(self, last: int, *, power: bool) -> None:
        self.left, self.power = last, power
        self.unsynced: dict[Path, Path | None] = {}

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.lose()
            raise Killed

    def lose(self) -> None:
        """Renames that no sync of the folder followed are undone, and their files with them."""
        if self.power:
            for path in self.unsynced:
                if path.exists():
                    _UNLINK(path)
        self.unsynced = {}


@contextmanager
def stepping(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        settle, write, sync, begin = (
            spool_files.settle, spool_files.write_whole, spool_files.sync_directory, spool_tables.transaction,
        )  # fmt: skip
        unlink = Path.unlink

        def slow_settle(temporary: Path, path: Path) -> None:
            steps.step()
            steps.unsynced[path] = temporary
            settle(temporary, path)

        def slow_sync(path: Path) -> None:
            steps.step()
            sync(path)
            steps.unsynced = {}

        def slow_write(path: Path, chunks: Any) -> tuple[str, int]:
            steps.step()
            return write(path, chunks)

        def slow_unlink(path: Path, missing_ok: bool = False) -> None:
            if path.parent.name == "logs":
                steps.step()
            unlink(path, missing_ok=missing_ok)

        @contextmanager
        def slow_transaction(database: Any) -> Iterator[None]:
            steps.step()
            with begin(database):
                yield
                steps.step()
            steps.step()

        patch.setattr(spool_files, "settle", slow_settle)
        patch.setattr(spool_files, "write_whole", slow_write)
        patch.setattr(spool_files, "sync_directory", slow_sync)
        patch.setattr("fleet_ingest.robot.spool.transaction", slow_transaction)
        patch.setattr(Path, "unlink", slow_unlink)
        yield


def receipt(data: bytes) -> Receipt:
    return Receipt(
        upload="1", robot="r", sha256=sha256_hex(data), size=len(data), verified=True, state="accepted"
    )  # fmt: skip


def work(directory: Path, acknowledged: dict[bytes, str], confirmed: set[bytes]) -> None:
    """Two logs in, one confirmed, an incident that evicts the other; notes what was acknowledged."""
    spool = Spool(directory, "r")
    try:
        for i, data in enumerate((b"one", b"two")):
            acknowledged[data] = spool.put("k", i, data)
        confirmed.add(b"one")  # from here on the server has it
        spool.confirm(receipt(b"one"))
        confirmed.add(b"two")
        spool.confirm(receipt(b"two"))
        acknowledged[b"three"] = spool.put("k", 2, b"three", priority="incident")
    finally:
        spool.close()


@pytest.mark.parametrize("power", [False, True])
def test_killed_before_any_step_nothing_acknowledged_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power: bool
) -> None:
    ended = False
    for last in range(200):
        directory = tmp_path / str(last)
        acknowledged, confirmed = dict[bytes, str](), set[bytes]()
        with stepping(Steps(last, power=power), monkeypatch):
            try:
                work(directory, acknowledged, confirmed)
                ended = True
            except Killed:
                pass
        spool = Spool(directory, "r")
        waiting = {log.sha256: log.path.read_bytes() for log in spool.waiting()}
        for data, digest in acknowledged.items():
            assert waiting.get(digest) == data or data in confirmed, f"killed before step {last}"
            assert list(spool.episodes("k").values()).count(digest) == 1
        assert {path.stem for path in (directory / "logs").iterdir()} == set(waiting)
        spool.close()
        if ended:
            break
    assert ended
    assert last > 15


_CHILD = """
import sys
from pathlib import Path
from fleet_ingest.robot.protocol import Receipt
from fleet_ingest.robot.spool import Spool
spool, first = Spool(Path(sys.argv[1]), "r"), int(sys.argv[2])
for i in range(first, first + 10_000):
    data = f"log {i} ".encode() * 5000
    digest = spool.put("k", i, data)
    print("put", i, digest, flush=True)
    if i % 3 == 0:
        log = spool.waiting()[0]
        print("sent", log.episode, log.sha256, flush=True)
        spool.confirm(Receipt(upload="1", robot="r", sha256=log.sha256, size=log.size, verified=True, state="accepted"))
"""


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    """A real process, killed ten times; every line that it printed is a promise."""
    put: dict[int, str] = {}
    sent: set[int] = set()
    draw = random.Random(3)
    for _ in range(10):
        argv = [sys.executable, "-c", _CHILD, str(tmp_path / "spool"), str(max(put, default=-1) + 1)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.15))
            os.kill(child.pid, signal.SIGKILL)
            for line in [first, *child.stdout.read().splitlines()]:
                words = line.split()
                if len(words) == 3 and len(words[2]) == 64:
                    if words[0] == "put":
                        put[int(words[1])] = words[2]
                    else:
                        sent.add(int(words[1]))
    spool = Spool(tmp_path / "spool", "r")
    waiting = {log.episode: log for log in spool.waiting()}
    assert len(put) >= 10
    for episode, digest in put.items():
        assert spool.episodes("k")[episode] == digest
        assert episode in waiting or episode in sent
    for log in waiting.values():
        assert sha256_hex(log.path.read_bytes()) == log.sha256
    spool.close()
