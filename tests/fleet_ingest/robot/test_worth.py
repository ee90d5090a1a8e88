"""What leaves first when the disk is full, in which order logs go home, and what `status` says of both."""

import json
import sqlite3
from pathlib import Path

import pytest

from fleet_ingest.robot import spool_files
from fleet_ingest.robot.cli import main
from fleet_ingest.robot.protocol import Receipt
from fleet_ingest.robot.spool import Spool
from fleet_ingest.robot.worth import Candidate, victims
from storage.contracts.errors import IncompatibleError, InputError, UnavailableError, UnknownName

ROUTINE = Candidate("r1", 10, "routine", False)
NEWER = Candidate("r2", 10, "routine", False)
ASKED = Candidate("o", 10, "on_demand", False)
INCIDENT = Candidate("i", 10, "incident", False)
HELD = Candidate("h", 10, "incident", True)
ALL = [INCIDENT, ROUTINE, ASKED, NEWER, HELD]


@pytest.mark.parametrize(
    ("missing", "priority", "displace", "expected"),
    [
        (1, "incident", False, [HELD]),
        (11, "incident", False, [HELD, ROUTINE]),
        (35, "incident", False, [HELD, ROUTINE, NEWER, ASKED]),
        (41, "incident", False, None),
        (41, "incident", True, [HELD, ROUTINE, NEWER, ASKED, INCIDENT]),
        (11, "routine", False, None),
        (21, "routine", True, [HELD, ROUTINE, NEWER]),
        (31, "routine", True, None),
        (0, "routine", True, []),
    ],
)
def test_the_least_worth_goes_first_and_never_for_something_worth_less(
    missing: int, priority: str, displace: bool, expected: list[Candidate] | None
) -> None:
    assert victims(ALL, missing, priority, displace=displace) == expected


class Disk:
    """`size` bytes, of which the spool's files take their part."""

    def __init__(self, size: int) -> None:
        self.size = size

    def free(self, path: Path) -> int:
        return self.size - sum(p.stat().st_size for p in path.iterdir())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(1000)
    monkeypatch.setattr(spool_files, "free_bytes", made.free)
    return made


def recorded(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(name.encode().ljust(size, b"."))
    return path


def test_a_ring_of_routine_logs_keeps_the_incident_and_leaves_tombstones(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(tmp_path / "s", "r", min_free_bytes=100)
    names = ["incident-0", *(f"routine-{i}" for i in range(1, 8))]
    for name in names:
        spool.add(recorded(tmp_path, name, 200), format="csv", priority=name.split("-")[0])  # type: ignore[arg-type]
    kept = [log.name for log in spool.waiting()]
    assert kept == ["incident-0", "routine-5", "routine-6", "routine-7"]
    assert [t.name for t in spool.tombstones()] == ["routine-4", "routine-3", "routine-2", "routine-1"]
    assert len(list((tmp_path / "s" / "logs").iterdir())) == 4
    with pytest.raises(UnavailableError, match="recording waits"):
        spool.put("k", 0, b"." * 200)  # an assigned episode is run later instead
    spool.close()
    assert main(["status", "--state", str(tmp_path / "s"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["evicted"], said["lost"], said["waiting"]["routine"]["logs"]) == (4, 4, 3)
    assert said["newest_evictions"][0]["name"] == "routine-4"
    assert main(["status", "--state", str(tmp_path / "s")]) == 0
    assert "routine routine-4" in capsys.readouterr().out


def test_copies_of_what_the_server_has_go_first(tmp_path: Path, disk: Disk) -> None:
    spool = Spool(tmp_path / "s", "r", min_free_bytes=100, keep_verified=True)
    held = spool.put("k", 0, b"h" * 300, priority="incident")
    spool.put("k", 1, b"w" * 300)
    spool.confirm(Receipt(upload="1", robot="r", sha256=held, size=300, verified=True, state="accepted"))
    assert (tmp_path / "s" / "logs" / f"{held}.mcap").exists()
    spool.put("k", 2, b"n" * 500)
    assert not (tmp_path / "s" / "logs" / f"{held}.mcap").exists()
    assert [(t.sha256, t.verified) for t in spool.tombstones()] == [(held, 1)]
    assert spool.episodes("k")[0] == held
    spool.close()


def test_an_evicted_episode_is_run_again(tmp_path: Path, disk: Disk) -> None:
    spool = Spool(tmp_path / "s", "r", min_free_bytes=100)
    spool.put("k", 0, b"a" * 500)
    spool.put("k", 1, b"b" * 600, priority="incident")
    assert list(spool.episodes("k")) == [1]
    spool.close()


def test_urgent_logs_go_home_first_then_old_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r")
    for i, priority in enumerate(("routine", "on_demand", "incident", "routine", "intervention", "incident")):
        spool.put("k", i, str(i).encode(), priority=priority)  # type: ignore[arg-type]
    assert [log.episode for log in spool.waiting()] == [2, 5, 4, 1, 0, 3]
    with pytest.raises(UnknownName, match="priority"):
        spool.put("k", 9, b"x", priority="urgent")  # type: ignore[arg-type]
    spool.close()


def test_a_file_of_another_recorder_is_kept_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", "r")
    path = recorded(tmp_path, "day.csv", 50)
    first, second = (spool.add(path, format="csv", priority="incident", notes="hit a wall") for _ in range(2))
    (log,) = spool.waiting()
    assert first == second == log.sha256
    assert (log.format, log.name, log.notes, log.path.read_bytes()) == (
        "csv",
        "day.csv",
        "hit a wall",
        path.read_bytes(),
    )
    with pytest.raises(InputError, match="no such file"):
        spool.add(tmp_path / "gone.csv", format="csv")
    spool.close()


_FIRST = """
CREATE TABLE logs (assignment TEXT NOT NULL, episode INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  assignment_id INTEGER, receipt TEXT, session TEXT NOT NULL DEFAULT '', parts TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (assignment, episode));
INSERT INTO logs (assignment, episode, sha256, size) VALUES ('k', 0, 'abc', 3);
"""


def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "abc.mcap").write_bytes(b"one")
    database = sqlite3.connect(tmp_path / "spool.db")
    database.executescript(_FIRST)
    database.close()
    spool = Spool(tmp_path, "r")
    (log,) = spool.waiting()
    assert (log.sha256, log.priority, log.path.read_bytes()) == ("abc", "routine", b"one")
    spool.close()
    database = sqlite3.connect(tmp_path / "spool.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(IncompatibleError, match="version 99"):
        Spool(tmp_path, "r")


def test_status_of_no_spool_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state", str(tmp_path)]) == 2
    assert "no spool" in capsys.readouterr().err
