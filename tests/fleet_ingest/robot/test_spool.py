"""The spool keeps what it acknowledged, lets go only with a verified receipt, and cleans up after a killed process."""

from pathlib import Path

import pytest

from fleet_ingest.robot import spool_files
from fleet_ingest.robot.protocol import PartWanted, Receipt
from fleet_ingest.robot.spool import Spool
from storage.contracts.errors import ConflictError, DataError, UnavailableError


def receipt(digest: str, length: int, **changes: object) -> Receipt:
    values = {"upload": "1", "robot": "r-1", "sha256": digest, "size": length, "verified": True, "state": "accepted"}
    return Receipt.model_validate(values | changes)


def test_a_log_waits_until_a_verified_receipt_and_is_remembered_after(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r-1")
    first, second = spool.put("k", 0, b"zero"), spool.put("k", 1, b"one")
    assert [log.sha256 for log in spool.waiting()] == [first, second]
    spool.confirm(receipt(first, 4))
    spool.close()
    spool = Spool(tmp_path, "r-1")
    assert [log.sha256 for log in spool.waiting()] == [second]
    assert spool.waiting()[0].path.read_bytes() == b"one"
    assert spool.episodes("k") == {0: first, 1: second}
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == [f"{second}.mcap"]
    spool.close()


@pytest.mark.parametrize("change", [{"verified": False}, {"robot": "r-2"}, {"size": 5}, {"sha256": "0" * 64}])
def test_no_other_receipt_lets_a_log_go(tmp_path: Path, change: dict[str, object]) -> None:
    spool = Spool(tmp_path, "r-1")
    digest = spool.put("k", 0, b"zero")
    with pytest.raises(DataError, match="does not settle"):
        spool.confirm(receipt(digest, 4, **change))
    assert spool.waiting()[0].path.read_bytes() == b"zero"
    spool.close()


def test_what_a_killed_process_left_is_swept_but_nothing_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r-1")
    kept = spool.put("k", 0, b"zero")
    spool.close()
    (tmp_path / "logs" / f"{'1' * 64}.tmp").write_bytes(b"half")
    (tmp_path / "logs" / f"{'2' * 64}.mcap").write_bytes(b"renamed, but killed before the row")
    spool = Spool(tmp_path, "r-1")
    assert [p.name for p in (tmp_path / "logs").iterdir()] == [f"{kept}.mcap"]
    spool.close()


def test_running_an_episode_twice_keeps_one_log(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r-1")
    spool.put("k", 0, b"zero")
    spool.put("k", 0, b"zero")
    assert len(spool.waiting()) == 1
    spool.close()


def test_parts_are_journaled_and_a_spoiled_file_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r-1")
    digest = spool.put("k", 0, b"zero")
    parts = (PartWanted(number=1, size=3, sha256="x" * 43 + "="), PartWanted(number=2, size=1, sha256="y" * 43 + "="))
    spool.plan_parts(digest, parts)
    spool.sending(digest, 1)
    spool.close()
    spool = Spool(tmp_path, "r-1")
    assert spool.parts(digest) == parts
    (log,) = spool.waiting()
    spool.spoil(log)
    assert spool.waiting() == []
    assert spool.episodes("k") == {}
    assert spool.parts(digest) == ()
    assert (tmp_path / "spoiled" / f"{digest}.mcap").exists()
    assert [(t.sha256, t.reason, t.verified) for t in spool.tombstones()] == [(digest, "changed on disk", False)]
    spool.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r-1")
    with pytest.raises(ConflictError, match="another robot process"):
        Spool(tmp_path, "r-1")
    spool.close()


def test_a_full_disk_stops_recording_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "r-1")
    spool.put("k", 0, b"zero")
    monkeypatch.setattr(spool_files, "free_bytes", lambda path: 1000)
    with pytest.raises(UnavailableError, match="MiB are free"):
        spool.put("k", 1, b"one")
    assert len(spool.waiting()) == 1
    spool.close()


def test_tombstones_are_told_until_they_are_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r")
    for i in range(3):
        spool.put("k", i, b"log %d" % i)
    for log in spool.waiting()[:2]:
        log.path.write_bytes(b"changed")
        spool.spoil(log)
    spool.close()
    spool = Spool(tmp_path, "r")
    first, second = spool.unreported().items()
    assert [t.episode for _, t in (first, second)] == [0, 1]
    spool.reported([first[0]])
    spool.close()
    spool = Spool(tmp_path, "r")
    assert list(spool.unreported()) == [second[0]]
    assert len(spool.tombstones()) == 2
    spool.close()
