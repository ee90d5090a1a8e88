"""Every format, written by its own writer, read back to known contents; ULog and bags held against their libraries."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from pyulog import ULog
from rosbags.rosbag1 import Reader as BagReader
from rosbags.typesys import Stores, get_typestore

from fleet_ingest.formats.read import read_log
from storage.contracts.errors import DataError
from tests.fleet_ingest import log_files

N = 120
DATA = Path(__file__).parents[4] / "shared" / "data"
MESSAGES = ["mcap (CDR)", "mcap (JSON)", "mcap (protobuf)", "rosbag1", "rosbag2"]
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real logs are not at ../shared/data")


def made(folder: Path, name: str, n: int = N) -> Path:
    file, write = log_files.SINGLE[name]
    write(folder / file, n)
    return folder / file


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_become_series_of_known_values(tmp_path: Path, name: str) -> None:
    raw = read_log(made(tmp_path, name))
    wanted = log_files.columns(N)
    for field in ("angle", "rate", "vector"):
        found = raw.series[f"/joint.{field}"]
        np.testing.assert_allclose(found.values, wanted[field], rtol=1e-15)
        assert found.time_ns is not None
        np.testing.assert_array_equal(found.time_ns, log_files.times_ns(N))
    assert raw.series["/joint.note"].values.tolist() == [f"row {i % 7}" for i in range(N)]
    np.testing.assert_array_equal(raw.series["/joint.place.x"].values, np.arange(N))
    assert [(t.name, t.decoded, t.said) for t in raw.topics if t.name == "/joint"] == [("/joint", N, N)]
    assert not raw.salvage
    assert raw.salvaged is None


def test_ros_topics_have_their_own_times(tmp_path: Path) -> None:
    raw = read_log(made(tmp_path, "mcap (CDR)"))
    command = raw.series["/command.data"]
    np.testing.assert_allclose(command.values, log_files.columns(N)["command"], rtol=1e-15)
    assert command.time_ns is not None
    np.testing.assert_array_equal(command.time_ns, log_files.times_ns(N) + 1)
    np.testing.assert_array_equal(raw.series["/joint.publish_time"].values, log_files.times_ns(N) - 5)


@pytest.mark.parametrize("compression", ["BZ2", "LZ4"])
def test_compressed_bags(tmp_path: Path, compression: str) -> None:
    log_files.rosbag1(tmp_path / "x.bag", N, compression=compression)
    raw = read_log(tmp_path / "x.bag")
    np.testing.assert_array_equal(raw.series["/joint.angle"].values, log_files.columns(N)["angle"])


def test_ulog_instances_nested_formats_and_times(tmp_path: Path) -> None:
    raw = read_log(made(tmp_path, "ulog"))
    np.testing.assert_array_equal(raw.series["joint.angle"].values, log_files.columns(N)["angle"])
    np.testing.assert_array_equal(raw.series["joint.vector"].values, log_files.columns(N)["vector"])
    np.testing.assert_array_equal(raw.series["power_1.where.x"].values, 2.0 * np.arange(N))
    np.testing.assert_array_equal(raw.series["power.where.y"].values, -np.arange(N))
    assert raw.series["power.state"].values.tolist() == ["ok"] * N
    assert raw.series["power.on"].values[:3].tolist() == [1.0, 0.0, 1.0]
    times = raw.series["joint.angle"].time_ns
    assert times is not None
    np.testing.assert_array_equal(times, 10_000_000 * np.arange(N))
    assert [(flag.code, flag.count) for flag in raw.salvage] == [("dropout", 1)]
    assert raw.metadata["sys_id"] == "test"


def test_the_written_ulog_is_one(tmp_path: Path) -> None:
    library = {f"{d.name}.{d.multi_id}": d.data for d in ULog(str(made(tmp_path, "ulog"))).data_list}
    np.testing.assert_array_equal(library["joint.0"]["angle"], log_files.columns(N)["angle"])
    np.testing.assert_array_equal(library["power.1"]["where.x"], 2.0 * np.arange(N))


@real
def test_a_real_flight_log_is_as_pyulog_reads_it() -> None:
    path = DATA / "logs" / "ulog" / "sample_log_small.ulg"
    raw, fields = read_log(path), 0
    for topic in ULog(str(path)).data_list:
        label = topic.name if topic.multi_id == 0 else f"{topic.name}_{topic.multi_id}"
        for field, values in topic.data.items():
            stem, _, index = field.partition("[")
            if field == "timestamp" or f"{label}.{stem}" not in raw.series:
                continue
            ours = raw.series[f"{label}.{stem}"].values
            ours = ours[:, int(index.rstrip("]"))] if index else ours
            np.testing.assert_array_equal(ours, values, err_msg=f"{label}.{field}")
            fields += 1
    assert fields > 1000


@real
def test_a_real_bag_is_as_rosbags_reads_it() -> None:
    path = DATA / "logs" / "rosbag1" / "turtlesim-lz4.bag"
    raw, store = read_log(path), get_typestore(Stores.ROS1_NOETIC)
    with BagReader(path) as reader:
        wanted = [c for c in reader.connections if c.topic == "/turtle1/cmd_vel"]
        speeds = [store.deserialize_ros1(d, c.msgtype).linear.x for c, _, d in reader.messages(wanted)]
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
    np.testing.assert_array_equal(raw.series["/turtle1/cmd_vel.linear.x"].values, speeds)
    assert {t.name: t.decoded for t in raw.topics} == counts


def test_robomimic_demos_are_one_table(tmp_path: Path) -> None:
    raw = read_log(made(tmp_path, "hdf5"))
    np.testing.assert_array_equal(raw.series["obs.angle"].values[:, 0], log_files.columns(N)["angle"])
    np.testing.assert_array_equal(raw.series["obs.vector"].values, log_files.columns(N)["vector"])
    assert raw.series["demo"].values.tolist() == [0] * (N // 2) + [1] * (N // 2)
    np.testing.assert_allclose(raw.series["timestamp"].values[: N // 2], np.arange(N // 2) / 50)
    assert [(t.name, t.decoded, t.said) for t in raw.topics] == [("demo_0", N // 2, N // 2), ("demo_1", N // 2, N // 2)]
    assert raw.integrity == "checksums"


def test_a_plain_hdf5_table_names_what_it_leaves_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["log/q"] = np.arange(50.0)
        file["log/v"] = np.ones((50, 3))
        file["log/camera"] = np.zeros((50, 80, 80, 3), np.uint8)
        file["calibration"] = np.eye(3)
        file["note"] = "free text"
    raw = read_log(tmp_path / "x.h5")
    assert set(raw.series) == {"log.q", "log.v"}
    assert {flag.code: flag.count for flag in raw.salvage} == {"field_left_out": 1, "other_length": 1}
    assert raw.integrity == "none"


def test_wrong_counts_in_a_demo_are_flagged(tmp_path: Path) -> None:
    path = made(tmp_path, "hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_1"].attrs["num_samples"] = N
    raw = read_log(path)
    assert [(flag.code, flag.channel, flag.count) for flag in raw.salvage] == [("count_mismatch", "demo_1", N // 2)]


def test_a_topic_that_cannot_be_decoded_costs_only_itself(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        good = writer.register_channel(topic="/good", message_encoding="json", schema_id=0)
        schema = writer.register_schema(name="a/msg/B", encoding="ros2msg", data=b"nonsense\x00 {{{")
        broken = writer.register_channel(topic="/broken", message_encoding="cdr", schema_id=schema)
        odd = writer.register_channel(topic="/odd", message_encoding="flatbuffer", schema_id=0)
        for i in range(10):
            writer.add_message(good, log_time=i, publish_time=i, data=b'{"a": 1}')
            writer.add_message(broken, log_time=i, publish_time=i, data=b"\x00\x01\x00\x00abcd")
            writer.add_message(odd, log_time=i, publish_time=i, data=b"????")
        writer.finish()
    raw = read_log(tmp_path / "x.mcap")
    assert raw.series["/good.a"].values.tolist() == [1] * 10
    assert {t.name: (t.decoded, t.said) for t in raw.topics} == {
        "/good": (10, 10), "/broken": (0, 10), "/odd": (0, 10)
    }  # fmt: skip
    assert sorted((f.code, f.channel, f.count) for f in raw.salvage) == [
        ("undecoded_topic", "/broken", 10), ("undecoded_topic", "/odd", 10)
    ]  # fmt: skip


def test_messages_that_do_not_fit_their_definition_are_counted(tmp_path: Path) -> None:
    from mcap.writer import Writer

    store, _ = log_files.ros_store(2)
    number = store.types["std_msgs/msg/Float64"]
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema(name="std_msgs/msg/Float64", encoding="ros2msg", data=b"float64 data")
        channel = writer.register_channel(topic="/x", message_encoding="cdr", schema_id=schema)
        for i in range(6):
            data = bytes(store.serialize_cdr(number(data=float(i)), "std_msgs/msg/Float64"))
            writer.add_message(channel, log_time=i, publish_time=i, data=data if i != 2 else data[:7])
        writer.finish()
    raw = read_log(tmp_path / "x.mcap")
    assert raw.series["/x.data"].values.tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert raw.series["/x.log_time"].values.tolist() == [0, 1, 3, 4, 5]
    assert ("bad_messages", 1) in {(f.code, f.count) for f in raw.salvage}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_folders_with_fewer_files_than_listed(tmp_path: Path, version: str) -> None:
    log_files.lerobot(tmp_path / "set", 60, version=version)
    raw = read_log(tmp_path / "set")
    assert raw.format == "lerobot"
    assert [(t.name, t.decoded, t.said) for t in raw.topics] == [
        ("episode 0", 60, 60), ("episode 1", 60, 60), ("episode 2", 0, 60)
    ]  # fmt: skip
    assert [(flag.code, flag.count) for flag in raw.salvage] == [("files_missing", 1)]
    ends = {"v2.1": [0, 2, 0, 2], "v3.0": [0, 4, -2, 2]}[version]
    assert [ns * 1e-9 for m in raw.media for ns in (m.start_ns, m.end_ns)] == pytest.approx(ends)
    assert {m.frames for m in raw.media} == {60 if version == "v2.1" else 120}


def test_a_video_with_other_frames_than_rows_is_flagged(tmp_path: Path) -> None:
    file = log_files.lerobot(tmp_path / "set", 60)
    clip = next((tmp_path / "set" / "videos").rglob("episode_000000.mp4"))
    log_files.video(clip, 50, 30)
    raw = read_log(file)
    assert [(flag.code, flag.channel) for flag in raw.salvage] == [("video_mismatch", "observation.images.top")]
    assert "50 frames, the table has 60 rows" in raw.salvage[0].detail


def test_a_data_set_that_names_files_outside_is_refused(tmp_path: Path) -> None:
    file = log_files.lerobot(tmp_path / "set", 60)
    info = tmp_path / "set" / "meta" / "info.json"
    info.write_text(info.read_text().replace("videos/chunk", "../../chunk"))
    with pytest.raises(DataError) as caught:
        read_log(file)
    assert caught.value.code == "hostile_name"


@real
def test_the_g1_data_set_lists_more_than_is_there() -> None:
    raw = read_log(DATA / "g1_bottle")
    assert sum(t.decoded for t in raw.topics) == len(raw.series["timestamp"].values)
    here = [t for t in raw.topics if t.decoded]
    assert (len(raw.topics), len(here), len(raw.media)) == (100, 30, 26)
    assert all(t.decoded == t.said for t in here)
    assert {flag.code for flag in raw.salvage} == {"files_missing"}
