"""Parquet: types, nested columns, and files that lie about their size."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.formats.read import detect_format, read_log
from storage.contracts.errors import DataError, InputError, UnknownName


def test_types_become_numbers_times_and_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "f16": pa.array([0.5, 1.5], pa.float16()), "i": pa.array([1, None], pa.int32()),
            "b": pa.array([True, False]),
            "when": pa.array([1, 2], pa.timestamp("ms", tz="UTC")), "wait": pa.array([1500, 2500], pa.duration("us")),
            "word": pa.array(["x", None]).dictionary_encode(), "list": pa.array([[1.0, 2.0], [3.0]]),
            "imu": pa.array([{"a": {"x": 1.0}, "b": 2}, {"a": {"x": 3.0}, "b": 4}]),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    raw = read_log(tmp_path / "t.parquet")
    assert raw.series["f16"].values.tolist() == [0.5, 1.5]
    assert raw.series["i"].values[0] == 1
    assert np.isnan(raw.series["i"].values[1])
    assert raw.series["b"].values.tolist() == [1.0, 0.0]
    assert raw.series["when"].values.astype(np.int64).tolist() == [1_000_000, 2_000_000]
    np.testing.assert_allclose(raw.series["wait"].values, [0.0015, 0.0025])
    assert list(raw.series["word"].values) == ["x", None]
    np.testing.assert_array_equal(raw.series["list"].values, [[1.0, 2.0], [3.0, np.nan]])
    assert raw.series["imu.a.x"].values.tolist() == [1.0, 3.0]
    assert "imu.b" in raw.names


def test_row_count_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"x": pa.array(np.zeros(3_000_000))}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"rows of .bomb\.parquet.: 3,000,000") as caught:
        read_log(path, limits=Limits(rows=1_000_000))
    assert caught.value.code == "too_large"


def test_cut_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.arange(1000.0)}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        read_log(path)
    assert caught.value.code == "truncated"
    path.write_bytes(whole[:-200] + b"\x07" * 192 + whole[-8:])
    with pytest.raises(DataError) as caught:
        read_log(path)
    assert caught.value.code == "corrupt"
    path.write_bytes(b"\x00\x01" * 500)
    with pytest.raises(DataError) as caught:
        read_log(path)
    assert caught.value.code == "corrupt"


def test_empty_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "t.parquet")
    with pytest.raises(DataError) as caught:
        read_log(tmp_path / "t.parquet")
    assert caught.value.code == "empty"


@pytest.mark.parametrize(
    ("head", "words"),
    [(b"ARROW1\0\0", "Arrow IPC"), (b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip"), (b"BZh9", "bzip2"),
     (b"\x00\x01\x02\x03", "neither text")],
)  # fmt: skip
def test_foreign_formats_are_named(tmp_path: Path, head: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(head + b"\x00" * 64)
    with pytest.raises(DataError, match=words) as caught:
        detect_format(tmp_path / "x")
    assert caught.value.code == "unknown_format"


def test_wrong_format_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,a\n0,1\n")
    with pytest.raises(DataError, match="begins like csv"):
        read_log(tmp_path / "x.csv", "parquet")
    with pytest.raises(UnknownName, match="parquet"):
        read_log(tmp_path / "x.csv", "parquett")
    with pytest.raises(InputError, match="no such file"):
        read_log(tmp_path / "absent.csv")
