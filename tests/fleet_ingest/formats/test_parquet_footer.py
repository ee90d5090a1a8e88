"""The footer of Parquet as Arrow reads it where it is sound, and no process that ends where it is not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet_ingest.formats.parquet_footer import read_footer
from fleet_ingest.validate import Sandbox
from storage.contracts.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = pa.table(
        {
            "x": np.arange(500.0), "on": np.arange(500) % 2 == 0, "word": [str(i % 7) for i in range(500)],
            "list": [[1.0] * (i % 4) for i in range(500)], "imu": [{"a": {"x": 1.0 * i}, "b": i} for i in range(500)],
            "whole": pa.array([None if i % 3 else i for i in range(500)], pa.int64()),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=200, compression="zstd")
    return tmp_path / "t.parquet"


def test_sound_footers_are_read_as_arrow_reads_them(path: Path) -> None:
    groups, meta = read_footer(path), pq.ParquetFile(path).metadata
    assert [group.rows for group in groups] == [200, 200, 100]
    for i, group in enumerate(groups):
        for j, chunk in enumerate(group.chunks):
            told = meta.row_group(i).column(j)
            first = told.dictionary_page_offset if told.has_dictionary_page else told.data_page_offset
            assert (chunk.path, chunk.values, chunk.unpacked_bytes, chunk.page) == (
                told.path_in_schema, told.num_values, told.total_uncompressed_size, first,
            )  # fmt: skip


def test_no_changed_bit_of_a_footer_ends_the_reader(path: Path) -> None:
    """Arrow's own column metadata did, for about one in fifty."""
    data, random = path.read_bytes(), np.random.default_rng(0)
    length = int.from_bytes(data[-8:-4], "little")
    codes = []
    with Sandbox() as sandbox:
        for _ in range(150):
            bit = int(random.integers(8 * (len(data) - 8 - length), 8 * (len(data) - 8)))
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            codes.append(sandbox.inspect(path).code)
    assert "breaks_reader" not in codes
    assert codes.count("corrupt") > 10


@pytest.mark.parametrize("at", [5, 40, 300])
def test_nonsense_is_named(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[start + at : start + at + 12] = b"\xff" * 12
    path.write_bytes(data)
    with pytest.raises((ValueError, DataError)):
        read_footer(path)
