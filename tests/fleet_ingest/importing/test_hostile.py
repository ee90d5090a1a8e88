"""Hostile files: each is refused with its own reason, quickly and in bounded memory, and nothing outside is read."""

import sqlite3
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet_ingest.names import check_file_name
from fleet_ingest.reasons import REASONS, reason
from fleet_ingest.validate import Sandbox
from storage.contracts.errors import DataError
from tests.fleet_ingest import hostile_files, log_files


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as child:
        yield child


@pytest.mark.parametrize(("name", "make", "codes"), hostile_files.CASES, ids=[c[0] for c in hostile_files.CASES])
def test_refused_within_five_seconds_and_256_mb(
    tmp_path: Path, sandbox: Sandbox, name: str, make: Callable[[Path], Path], codes: tuple[str, ...]
) -> None:
    path = make(tmp_path)
    start = time.monotonic()
    verdict = sandbox.inspect(path)
    assert verdict.state == "quarantined", verdict
    assert verdict.code in codes, verdict
    assert time.monotonic() - start < 10  # the target is 5 s on a quiet machine: the benchmark measures it
    assert 0 < verdict.peak_bytes < 256 << 20
    assert not reason(verdict.code).releasable
    assert verdict.card is not None
    assert verdict.card["words"] == REASONS[verdict.code].words
    assert hostile_files.SECRET not in str(verdict)


@pytest.mark.parametrize(
    "name", ["../x.mcap", "a/../../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "a\nb", "a\x00b", "~/x", "a\u202eb", ""]
)
def test_hostile_file_names(name: str) -> None:
    with pytest.raises(DataError) as caught:
        check_file_name(name)
    assert caught.value.code == "hostile_name"


@pytest.mark.parametrize("name", ["run 7/log.mcap", "Prüfstand.csv", "a..b/c...d", "ログ.bag", "-x"])
def test_odd_names_that_are_fine(name: str) -> None:
    assert check_file_name(name) == name


def test_a_zip_and_a_foreign_database_are_of_no_known_format(tmp_path: Path, sandbox: Sandbox) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", "b")
    with sqlite3.connect(tmp_path / "x.db") as base:
        base.execute("CREATE TABLE holidays (day)")
    for file in ("x.zip", "x.db"):
        assert sandbox.inspect(tmp_path / file).code == "unknown_format"


def test_a_record_that_says_it_is_long_keeps_what_was_before(tmp_path: Path, sandbox: Sandbox) -> None:
    log_files.mcap_cdr(tmp_path / "x.mcap", 100)
    data = (tmp_path / "x.mcap").read_bytes()
    (tmp_path / "x.mcap").write_bytes(data[: len(data) // 2] + b"\xff" * 9 + data[len(data) // 2 :])
    assert sandbox.inspect(tmp_path / "x.mcap").state == "salvaged"
    (tmp_path / "y.mcap").write_bytes(data[:8] + b"\x05" + struct.pack("<Q", 1 << 33) + data[8:])
    assert sandbox.inspect(tmp_path / "y.mcap").code == "too_large"


def test_every_code_has_its_words() -> None:
    for code, row in REASONS.items():
        assert row.code == code
        assert row.words.endswith(".")
        assert row.kind != "hostile" or not row.releasable
    assert not reason("of_the_future").releasable
    assert "of_the_future" in reason("of_the_future").words
