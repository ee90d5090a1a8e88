"""Cut and changed files: what was complete before the damage comes out, with the byte from which data were lost."""

from pathlib import Path

import numpy as np
import pytest
from pyulog import ULog

from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.formats.read import read_log
from fleet_ingest.validate import Sandbox
from tests.benchmarks import ingest_damage as damage
from tests.fleet_ingest import log_files

N = 200


def made(folder: Path, name: str) -> Path:
    file, write = log_files.SINGLE[name]
    write(folder / file, N)
    return folder / file


@pytest.mark.parametrize("name", sorted(damage.ENDS))
def test_all_complete_records_before_a_cut_are_kept(tmp_path: Path, name: str) -> None:
    """`ends` comes from the formats' own libraries, not from the reader under test."""
    path = made(tmp_path, name)
    whole, data, ends = read_log(path), path.read_bytes(), damage.ENDS[name](path)
    assert len(ends) == sum(topic.decoded for topic in whole.topics)
    for share in (0.3, 0.77, 0.97):
        cut = int(len(data) * share)
        path.write_bytes(data[:cut])
        raw = read_log(path)
        complete = int(np.searchsorted(ends, cut, side="right"))
        assert sum(topic.decoded for topic in raw.topics) >= complete > 0
        if [flag.code for flag in raw.salvage] == ["open_end"]:
            continue  # a table cut within its last number
        assert raw.salvaged is not None
        assert raw.salvaged.lost_from_byte is not None
        assert ends[complete - 1] <= raw.salvaged.lost_from_byte <= cut
        assert raw.salvage[0].code == "truncated"
        for key, series in raw.series.items():
            np.testing.assert_array_equal(series.values, whole.series[key].values[: len(series.values)], err_msg=key)


def test_a_cut_database_gives_its_first_rows(tmp_path: Path) -> None:
    path = made(tmp_path, "rosbag2")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    raw = read_log(path)
    assert raw.salvaged is not None
    assert raw.salvaged.lost_from_byte == path.stat().st_size
    kept = len(raw.series["/joint.angle"].values)
    assert 0 < kept < N
    np.testing.assert_array_equal(raw.series["/joint.angle"].values, log_files.columns(N)["angle"][:kept])


def test_pyulog_takes_a_cut_log_for_a_whole_one(tmp_path: Path) -> None:
    """Why the framing is walked here."""
    path = made(tmp_path, "ulog")
    path.write_bytes(path.read_bytes()[:10_000])
    assert not ULog(str(path)).file_corruption
    assert read_log(path).salvage[0].code == "truncated"


@pytest.mark.parametrize("name", ["mcap (CDR)", "mcap (protobuf)", "hdf5"])
def test_every_changed_bit_is_flagged_or_harmless_where_there_are_checksums(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    cases = damage.flips(path.read_bytes(), 60, np.random.default_rng(5))
    with Sandbox(Limits(wall_s=20)) as sandbox:
        outcome = damage.run(path, cases, sandbox, [])
    assert outcome.flagged + outcome.harmless == outcome.n == 60
    assert not outcome.silent
    assert not outcome.killed


def test_a_bag_whose_index_disagrees_is_salvaged(tmp_path: Path) -> None:
    """The first index record lists its first message one nanosecond later than the message says."""
    path = made(tmp_path, "rosbag1")
    data = bytearray(path.read_bytes())
    first = log_files.START_NS
    time = (first // 10**9).to_bytes(4, "little") + (first % 10**9).to_bytes(4, "little")
    at = data.index(time, data.index(b"op=\x04"))
    data[at + 4] ^= 1
    path.write_bytes(data)
    raw = read_log(path)
    assert raw.salvage[0].code == "corrupt"
    assert "other times or places" in raw.salvage[0].detail


def test_one_damaged_parquet_column_costs_only_itself(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = made(tmp_path, "parquet")
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema == "angle"
    data = bytearray(path.read_bytes())
    data[column.dictionary_page_offset + 100] ^= 4
    path.write_bytes(data)
    raw = read_log(path)
    assert set(raw.series) == {"t", "rate", "command", "vector"}
    assert [(flag.code, flag.count) for flag in raw.salvage] == [("corrupt", 1)]
    assert "angle" in raw.salvage[0].detail
