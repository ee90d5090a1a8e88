"""MCAP: JSON topics, salvage, hostile chunks; every flipped bit is noticed."""

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.writer import CompressionType, Writer

from fleet_ingest.formats.mcap_records import MAGIC, read_records
from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.formats.read import read_log
from storage.contracts.errors import DataError


def mcap(messages: int = 20, compression: CompressionType = CompressionType.ZSTD, encoding: str = "json") -> bytes:
    target = BytesIO()
    writer = Writer(target, chunk_size=256, compression=compression)
    writer.start(profile="test", library="test")
    topics = {t: writer.register_channel(topic=t, message_encoding=encoding, schema_id=0) for t in ("/imu", "/cmd")}
    for i in range(messages):
        data = {"gyro": {"x": 0.5 * i, "y": -1}, "v": [i, 2 * i], "note": "ok", "ok": True}
        writer.add_message(
            topics["/imu"], log_time=1000 + 10 * i, publish_time=1000 + 10 * i, data=json.dumps(data).encode()
        )
        if i % 2 == 0:
            writer.add_message(
                topics["/cmd"], log_time=1005 + 10 * i, publish_time=7, data=json.dumps({"u": i}).encode()
            )
    writer.add_metadata("where", {"place": "lab"})
    writer.finish()
    return target.getvalue()


@pytest.mark.parametrize("compression", list(CompressionType))
def test_fields_become_series(tmp_path: Path, compression: CompressionType) -> None:
    (tmp_path / "x.mcap").write_bytes(mcap(compression=compression))
    raw = read_log(tmp_path / "x.mcap")
    assert raw.series["/imu.gyro.x"].values.tolist() == [0.5 * i for i in range(20)]
    np.testing.assert_array_equal(raw.series["/imu.v"].values, [[i, 2 * i] for i in range(20)])
    assert raw.series["/cmd.u"].time_ns is not None
    assert raw.series["/cmd.u"].time_ns.tolist() == [1005 + 20 * i for i in range(10)]
    assert raw.series["/cmd.publish_time"].values.tolist() == [7] * 10
    assert raw.metadata["where:place"] == "lab"
    assert raw.metadata["profile"] == "test"
    assert not raw.salvage


def test_a_cut_file_gives_its_readable_part(tmp_path: Path) -> None:
    whole = mcap(200)
    (tmp_path / "x.mcap").write_bytes(whole[: len(whole) // 2])
    raw = read_log(tmp_path / "x.mcap")
    assert raw.salvage[0].code == "truncated"
    assert 0 < len(raw.series["/imu.v"].values) < 200


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Every checksum is on: a flip changes no message in silence."""
    whole = mcap(8)
    path = tmp_path / "x.mcap"
    path.write_bytes(whole)
    good = read_log(path)
    for position in range(len(MAGIC), len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            raw = read_log(path)
        except DataError:
            continue
        if not raw.salvage:
            for name, series in good.series.items():
                np.testing.assert_array_equal(raw.series[name].values, series.values, err_msg=f"bit at {position}")


def chunk_file(data: bytes, compression: str, declared: int) -> bytes:
    name = compression.encode()
    body = (
        struct.pack("<QQQI", 0, 0, declared, 0)
        + struct.pack("<I", len(name))
        + name
        + struct.pack("<Q", len(data))
        + data
    )
    header = struct.pack("<II", 0, 0)
    return MAGIC + b"\x01" + struct.pack("<Q", len(header)) + header + b"\x06" + struct.pack("<Q", len(body)) + body


def test_a_chunk_that_expands_beyond_what_it_declares_is_refused() -> None:
    """100 bytes declared, 1 GiB inside: decompression stops at the first byte too many."""
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(1 << 30))
    assert len(bomb) < 200_000
    with pytest.raises(DataError, match="more than the 100 bytes") as caught:
        list(read_records(BytesIO(chunk_file(bomb, "zstd", 100)), "bomb", Limits()))
    assert caught.value.code == "bomb"
    with pytest.raises(DataError) as caught:
        list(read_records(BytesIO(chunk_file(bomb, "zstd", 1 << 30)), "bomb", Limits()))
    assert caught.value.code == "too_large"


def test_unknown_compression_is_not_taken_as_raw() -> None:
    with pytest.raises(DataError) as caught:
        list(read_records(BytesIO(chunk_file(b"abc", "snappy", 3)), "x", Limits()))
    assert caught.value.code == "unknown_compression"


def test_lengths_beyond_the_file_take_no_memory() -> None:
    huge = MAGIC + b"\x05" + struct.pack("<Q", 1 << 60)
    with pytest.raises(DataError) as caught:
        list(read_records(BytesIO(huge), "x", Limits()))
    assert caught.value.code == "too_large"
    inner = struct.pack("<I", 0xFFFFFFF0) + b"abc"
    with pytest.raises(DataError) as caught:
        list(read_records(BytesIO(MAGIC + b"\x01" + struct.pack("<Q", len(inner)) + inner), "x", Limits()))
    assert caught.value.code == "corrupt"


def test_data_and_summary_checksums() -> None:
    target = BytesIO()
    writer = Writer(target, use_chunking=False, enable_data_crcs=True)
    writer.start()
    channel = writer.register_channel(topic="/x", message_encoding="json", schema_id=0)
    writer.add_message(channel, log_time=1, publish_time=2, data=b'{"a": 1}')
    writer.finish()
    whole = target.getvalue()
    assert len(list(read_records(BytesIO(whole), "x", Limits()))) > 4
    for old, new, what in ((b'"a": 1', b'"a": 7', "data section"), (b"/x", b"/y", "summary")):
        at = whole.rindex(old)
        damaged = whole[:at] + new + whole[at + len(old) :]
        with pytest.raises(DataError, match=f"{what} checksum") as caught:
            list(read_records(BytesIO(damaged), "x", Limits()))
        assert caught.value.code == "corrupt"


def test_attachment_checksum() -> None:
    body = (
        struct.pack("<QQ", 1, 2)
        + struct.pack("<I", 1)
        + b"a"
        + struct.pack("<I", 1)
        + b"b"
        + struct.pack("<Q", 2)
        + b"hi"
    )
    for crc, good in ((zlib.crc32(body), True), (zlib.crc32(body) ^ 1, False)):
        record = body + struct.pack("<I", crc)
        file = MAGIC + b"\x09" + struct.pack("<Q", len(record)) + record
        with pytest.raises(DataError) as caught:
            list(read_records(BytesIO(file), "x", Limits()))
        assert caught.value.code == ("truncated" if good else "corrupt")


def test_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(mcap(encoding="cdr"))
    with pytest.raises(DataError, match=r"/cmd \(cdr\): the definition .*, /imu \(cdr\): ") as caught:
        read_log(tmp_path / "x.mcap")
    assert caught.value.code == "undecodable"


def test_hostile_json_is_left_out_and_counted(tmp_path: Path) -> None:
    target = BytesIO()
    writer = Writer(target)
    writer.start()
    channel = writer.register_channel(topic="/x", message_encoding="json", schema_id=0)
    for i, text in enumerate(['{"a": 1}', "[" * 100_000, "not json", '{"a": 1e999}', '{"a": NaN}', '{"a": 3}']):
        writer.add_message(channel, log_time=i, publish_time=i, data=text.encode())
    writer.finish()
    (tmp_path / "x.mcap").write_bytes(target.getvalue())
    raw = read_log(tmp_path / "x.mcap")
    assert [(flag.code, flag.count) for flag in raw.salvage] == [("bad_messages", 2)]
    assert raw.series["/x.a"].values[[0, 3]].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_messages_of_a_chunk_that_is_cut_off_are_kept(tmp_path: Path, compression: CompressionType) -> None:
    """A short log is one chunk: without this a logger that was killed would leave nothing."""
    target = BytesIO()
    writer = Writer(target, chunk_size=8 << 20, compression=compression)
    writer.start()
    channel = writer.register_channel(topic="/x", message_encoding="json", schema_id=0)
    noise = np.random.default_rng(0).random(20_000)
    for i, value in enumerate(noise):
        writer.add_message(channel, log_time=i, publish_time=i, data=json.dumps({"v": value}).encode())
    writer.finish()
    whole = target.getvalue()
    path = tmp_path / "x.mcap"
    path.write_bytes(whole[: len(whole) // 4])
    raw = read_log(path)
    kept = len(raw.series["/x.v"].values)
    assert 2000 < kept < len(noise)
    np.testing.assert_array_equal(raw.series["/x.v"].values, noise[:kept])
    assert [flag.code for flag in raw.salvage] == ["truncated"]
    assert raw.salvaged is not None
    assert raw.salvaged.lost_from_byte is not None
    assert raw.salvaged.lost_from_byte < len(whole) // 4
    if compression == CompressionType.NONE:
        assert len(whole) // 4 - raw.salvaged.lost_from_byte < 100
    assert raw.integrity == "none"
