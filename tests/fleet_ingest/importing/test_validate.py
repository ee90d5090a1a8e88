"""Hostile files cost a bounded child, never this process; the next file is read all the same."""

import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from mcap.writer import Writer

from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.mapping import Mapping
from fleet_ingest.validate import Sandbox, validate_in_child
from storage.codecs.episodes import decode_episode

MAPPING = Mapping.model_validate(
    {"name": "arm", "time": {"column": "t", "unit": "s"}, "rate_hz": 100,
     "channels": [{"column": "q", "name": "q", "kind": "angle", "unit": "rad"}]}
)  # fmt: skip
SHA = "d" * 64


def good(path: Path) -> Path:
    t = np.arange(200) / 100
    pq.write_table(pa.table({"t": t, "q": np.sin(t)}), path)
    return path


def test_a_good_file_gives_an_encoded_episode(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        verdict = sandbox.read(good(tmp_path / "a.parquet"), MAPPING, raw_sha256=SHA, out=tmp_path, robot="arm-1")
        assert (verdict.state, verdict.code, verdict.rate_hz) == ("accepted", "", 100.0)
        episode = decode_episode(verdict.episodes[0].read_bytes())
    np.testing.assert_allclose(episode.column("q"), np.sin(episode.time_s), atol=1e-4)
    assert episode.provenance.raw_sha256 == SHA


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is capped on Linux only")
def test_too_much_memory_ends_in_a_reason_and_the_child_is_replaced(tmp_path: Path) -> None:
    """One text of 60 MB in 40,000 rows, dictionary-coded: 60 MB in the file, terabytes when decoded."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(40_000, np.int32)), pa.array(["x" * 60_000_000]))
    t = np.arange(40_000) / 100
    pq.write_table(pa.table({"t": t, "q": words}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2_000_000
    with Sandbox(Limits(memory_bytes=2 << 30, wall_s=60)) as sandbox:
        verdict = sandbox.read(tmp_path / "bomb.parquet", MAPPING, raw_sha256=SHA, out=tmp_path, robot="arm-1")
        assert verdict.state == "quarantined"
        assert verdict.code in ("too_costly", "too_large", "corrupt")
        after = sandbox.read(good(tmp_path / "a.parquet"), MAPPING, raw_sha256=SHA, out=tmp_path, robot="arm-1")
    assert after.state == "accepted"


def test_a_reader_that_hangs_is_stopped(tmp_path: Path) -> None:
    fifo = tmp_path / "never.csv"
    import os

    os.mkfifo(fifo)
    started = time.monotonic()
    with Sandbox(Limits(wall_s=3)) as sandbox:
        verdict = sandbox.read(fifo, MAPPING, raw_sha256=SHA, out=tmp_path, robot="arm-1")
        assert (verdict.state, verdict.code) == ("quarantined", "too_slow")
        assert time.monotonic() - started < 10
        assert (
            sandbox.read(good(tmp_path / "a.parquet"), MAPPING, raw_sha256=SHA, out=tmp_path, robot="a").state
            == "accepted"
        )


def test_processor_time_is_capped(tmp_path: Path) -> None:
    target = BytesIO()
    writer = Writer(target)
    writer.start()
    channel = writer.register_channel(topic="/x", message_encoding="json", schema_id=0)
    data = b'{"a": {"b": [' + b",".join(b'{"c": 1}' for _ in range(60)) + b"]}}"
    for i in range(100_000):
        writer.add_message(channel, log_time=i, publish_time=i, data=data)
    writer.finish()
    (tmp_path / "slow.mcap").write_bytes(target.getvalue())
    verdict = validate_in_child(tmp_path / "slow.mcap", limits=Limits(cpu_s=1, wall_s=60))
    assert (verdict.state, verdict.code) == ("quarantined", "too_costly")


def test_an_mcap_bomb_is_refused(tmp_path: Path) -> None:
    from fleet_ingest.formats.mcap_records import MAGIC

    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    body = (
        bytes(16)
        + (100).to_bytes(8, "little")
        + bytes(4)
        + (4).to_bytes(4, "little")
        + b"zstd"
        + len(bomb).to_bytes(8, "little")
        + bomb
    )
    (tmp_path / "b.mcap").write_bytes(MAGIC + b"\x06" + len(body).to_bytes(8, "little") + body)
    verdict = validate_in_child(tmp_path / "b.mcap")
    assert (verdict.state, verdict.code) == ("quarantined", "bomb")
    assert "more than the 100 bytes" in verdict.detail


def test_a_link_in_a_parquet_footer_reads_no_other_file(tmp_path: Path) -> None:
    """Column chunks of a `_metadata` file may name other files; they are not followed."""
    good(tmp_path / "secret.parquet")
    meta = pq.read_metadata(tmp_path / "secret.parquet")
    meta.set_file_path("secret.parquet")
    meta.write_metadata_file(tmp_path / "link.parquet")
    verdict = validate_in_child(tmp_path / "link.parquet")
    assert verdict.state == "quarantined"


def test_readable_files_pass(tmp_path: Path) -> None:
    assert validate_in_child(good(tmp_path / "a.parquet"), "parquet").state == "accepted"
    verdict = validate_in_child(tmp_path / "a.parquet", "csv")
    assert (verdict.state, verdict.code) == ("quarantined", "wrong_format")
