"""One log of known contents in every format, written by the format's own writer; for tests and benchmarks.

Row i is at 10 ms * i: angle sin(2 pi t), rate 2 pi cos(2 pi t), command cos(3 t), and a vector [i, i / 2, -i]. ULog has
no writer for logs that begin empty; its file is put together from the specification and checked against pyulog.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.writer import CompressionType, Writer
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.rosbag2 import Writer as Db3Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

PERIOD_NS = 10_000_000
START_NS = 1_700_000_000_000_000_000
JOINT = "float64 angle\nfloat64 rate\nfloat64[3] vector\nstring note\ngeometry_msgs/Point place"
POINT = "float64 x\nfloat64 y\nfloat64 z"
_LINE = "=" * 80


def times_ns(n: int) -> np.ndarray:
    return START_NS + PERIOD_NS * np.arange(n, dtype=np.int64)


def columns(n: int) -> dict[str, np.ndarray]:
    """t, angle, rate, command [n] and vector [n, 3]."""
    t = np.arange(n) * PERIOD_NS * 1e-9
    i = np.arange(n, dtype=np.float64)
    return {
        "t": t, "angle": np.sin(2 * np.pi * t), "rate": 2 * np.pi * np.cos(2 * np.pi * t), "command": np.cos(3 * t),
        "vector": np.stack([i, i / 2, -i], axis=1),
    }  # fmt: skip


def ros_store(ros: int) -> tuple[Any, Any]:
    """(rosbags type store, message class) of test_msgs/Joint."""
    store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(JOINT, "test_msgs/msg/Joint"))
    return store, store.types["test_msgs/msg/Joint"]


def joints(ros: int, n: int) -> list[Any]:
    store, joint = ros_store(ros)
    point = store.types["geometry_msgs/msg/Point"]
    data = columns(n)
    return [
        joint(angle=data["angle"][i], rate=data["rate"][i], vector=data["vector"][i], note=f"row {i % 7}",
              place=point(x=float(i), y=0.5, z=-1.0))
        for i in range(n)
    ]  # fmt: skip


def mcap_cdr(path: Path, n: int = 400, *, checked: bool = True) -> None:
    """`/joint` (CDR) at 100 Hz and `/command` (std_msgs/Float64) at 100 Hz."""
    store, _ = ros_store(2)
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4096, compression=CompressionType.ZSTD, enable_data_crcs=checked)
        writer.start(profile="ros2", library="test")
        text = f"{JOINT}\n{_LINE}\nMSG: geometry_msgs/Point\n{POINT}".encode()
        kinds = {"/joint": ("test_msgs/msg/Joint", text), "/command": ("std_msgs/msg/Float64", b"float64 data")}
        ids = {}
        for topic, (name, schema) in kinds.items():
            schema_id = writer.register_schema(name=name, encoding="ros2msg", data=schema)
            ids[topic] = writer.register_channel(topic=topic, message_encoding="cdr", schema_id=schema_id)
        number = store.types["std_msgs/msg/Float64"]
        for i, (time, message, command) in enumerate(
            zip(times_ns(n).tolist(), joints(2, n), columns(n)["command"], strict=True)
        ):
            joint = bytes(store.serialize_cdr(message, "test_msgs/msg/Joint"))
            writer.add_message(ids["/joint"], log_time=time, publish_time=time - 5, data=joint, sequence=i)
            data = bytes(store.serialize_cdr(number(data=float(command)), "std_msgs/msg/Float64"))
            writer.add_message(ids["/command"], log_time=time + 1, publish_time=time, data=data, sequence=i)
        writer.finish()


def mcap_json(path: Path, n: int = 400) -> None:
    data = columns(n)
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4096, enable_data_crcs=True)
        writer.start()
        channel = writer.register_channel(topic="/joint", message_encoding="json", schema_id=0)
        for i, time in enumerate(times_ns(n).tolist()):
            value = {"angle": data["angle"][i], "rate": data["rate"][i], "vector": data["vector"][i].tolist(),
                     "place": {"x": i}, "note": f"row {i % 7}"}  # fmt: skip
            writer.add_message(channel, log_time=time, publish_time=time, data=json.dumps(value).encode())
        writer.finish()


def proto_class() -> tuple[bytes, Any]:
    """(descriptor set, message class) of test.Joint, whose place is a message in a file of its own."""
    place = descriptor_pb2.FileDescriptorProto(name="place.proto", package="test", syntax="proto3")
    message = place.message_type.add(name="Place")
    message.field.add(name="x", number=1, type=1, label=1)
    joint = descriptor_pb2.FileDescriptorProto(name="joint.proto", package="test", syntax="proto3")
    joint.dependency.append("place.proto")
    message = joint.message_type.add(name="Joint")
    for number, name in enumerate(("angle", "rate"), 1):
        message.field.add(name=name, number=number, type=1, label=1)
    message.field.add(name="vector", number=3, type=1, label=3)
    message.field.add(name="note", number=4, type=9, label=1)
    message.field.add(name="place", number=5, type=11, label=1, type_name=".test.Place")
    files = descriptor_pb2.FileDescriptorSet(file=[joint, place])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(place)
    pool.Add(joint)
    return files.SerializeToString(), message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Joint"))


def mcap_protobuf(path: Path, n: int = 400) -> None:
    schema, joint = proto_class()
    data = columns(n)
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4096, compression=CompressionType.LZ4, enable_data_crcs=True)
        writer.start()
        schema_id = writer.register_schema(name="test.Joint", encoding="protobuf", data=schema)
        channel = writer.register_channel(topic="/joint", message_encoding="protobuf", schema_id=schema_id)
        for i, time in enumerate(times_ns(n).tolist()):
            message = joint(angle=data["angle"][i], rate=data["rate"][i], vector=data["vector"][i], note=f"row {i % 7}")
            message.place.x = i
            writer.add_message(channel, log_time=time, publish_time=time, data=message.SerializeToString())
        writer.finish()


def rosbag1(path: Path, n: int = 400, *, compression: str | None = None) -> None:
    store, _ = ros_store(1)
    writer = BagWriter(path)
    if compression is not None:
        writer.set_compression(writer.CompressionFormat[compression])
    writer.chunk_threshold = 8192
    with writer:
        connection = writer.add_connection("/joint", "test_msgs/msg/Joint", typestore=store)
        command = writer.add_connection("/command", "std_msgs/msg/Float64", typestore=store)
        number = store.types["std_msgs/msg/Float64"]
        for time, message, value in zip(times_ns(n).tolist(), joints(1, n), columns(n)["command"], strict=True):
            writer.write(connection, time, store.serialize_ros1(message, "test_msgs/msg/Joint"))
            data = store.serialize_ros1(number(data=float(value)), "std_msgs/msg/Float64")
            writer.write(command, time + 1, data)


def rosbag2(path: Path, n: int = 400) -> None:
    """A `.db3` alone at `path`; its folder with metadata.yaml is `path`.bag."""
    store, _ = ros_store(2)
    folder = path.with_suffix(".bag")
    with Db3Writer(folder, version=9) as writer:
        connection = writer.add_connection("/joint", "test_msgs/msg/Joint", typestore=store)
        for time, message in zip(times_ns(n).tolist(), joints(2, n), strict=True):
            writer.write(connection, time, store.serialize_cdr(message, "test_msgs/msg/Joint"))
    path.write_bytes(next(folder.glob("*.db3")).read_bytes())


def ulog(path: Path, n: int = 400) -> None:
    """Topics `joint` (100 Hz) and two instances of `power` (100 Hz), after the ULog file format, version 1."""
    data = columns(n)

    def frame(kind: str, body: bytes) -> bytes:
        return struct.pack("<HB", len(body), ord(kind)) + body

    parts = [b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 0), frame("B", bytes(40))]
    parts.append(frame("I", b"\x0echar[4] sys_id" + b"test"))
    formats = ("joint:uint64_t timestamp;double angle;double rate;float[3] vector;uint8_t[4] _padding0;",
               "power:uint64_t timestamp;place where;char[4] state;bool on;", "place:float x;int16_t y;")  # fmt: skip
    parts += [frame("F", text.encode()) for text in formats]
    for key, (instance, name) in enumerate(((0, "joint"), (0, "power"), (1, "power"))):
        parts.append(frame("A", struct.pack("<BH", instance, key) + name.encode()))
    for i in range(n):
        stamp = 10_000 * i
        vector = data["vector"][i]
        parts.append(frame("D", struct.pack("<HQdd3f", 0, stamp, data["angle"][i], data["rate"][i], *vector)))
        for key in (1, 2):
            body = struct.pack("<HQfh4s?", key, stamp, key * i, -i, b"ok\0\0", i % 2 == 0)
            parts.append(frame("D", body))
        if i % 100 == 50:
            parts.append(frame("S", bytes((0x2F, 0x73, 0x13, 0x20, 0x25, 0x0C, 0xBB, 0x12))))
    parts.append(frame("O", struct.pack("<H", 25)))
    path.write_bytes(b"".join(parts))


def hdf5(path: Path, n: int = 400, *, checked: bool = True) -> None:
    """robomimic's layout: two demos of n / 2 rows, 20 Hz."""
    data = columns(n)
    with h5py.File(path, "w", libver="latest" if checked else "earliest") as file:
        group = file.create_group("data")
        group.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": 50}})
        group.attrs["total"] = n
        for demo in range(2):
            rows = slice(demo * n // 2, (demo + 1) * n // 2)
            one = group.create_group(f"demo_{demo}")
            one.attrs["num_samples"] = n // 2
            options: dict[str, Any] = {"chunks": (50, 1), "compression": "gzip", "fletcher32": checked}
            one.create_dataset("actions", data=data["command"][rows, None], **options)
            one.create_dataset("obs/angle", data=data["angle"][rows, None], **options)
            one.create_dataset("obs/vector", data=data["vector"][rows], **options | {"chunks": (50, 3)})
            one.create_dataset("rewards", data=data["rate"][rows], fletcher32=checked, chunks=(50,))


def parquet(path: Path, n: int = 400, *, checked: bool = True) -> None:
    data = columns(n)
    table = pa.table({k: pa.array(v) for k, v in data.items() if v.ndim == 1} | {"vector": list(data["vector"])})
    pq.write_table(table, path, write_page_checksum=checked, row_group_size=100, compression="zstd")


def csv(path: Path, n: int = 400) -> None:
    data = columns(n)
    rows = np.column_stack([data[k] for k in ("t", "angle", "rate", "command")])
    text = "\n".join(",".join(f"{v:.9g}" for v in row) for row in rows)
    path.write_text(f"t,angle,rate,command\n{text}\n")


def video(path: Path, frames: int, fps: int) -> None:
    """H.264, 64 x 48; frame i is grey of brightness i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 250, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def lerobot(root: Path, n: int = 60, *, version: str = "v2.1", episodes: int = 2, listed: int = 3) -> Path:
    """A data set of `episodes` episodes of n rows at 30 Hz, of `listed` in meta/. Returns its first Parquet file."""
    names = ["shoulder", "elbow"]
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": names}},
        "action": {"dtype": "float32", "shape": [2], "names": names},
        "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channel"]},
    }
    v3 = version.startswith("v3")
    info = {
        "codebase_version": version, "fps": 30, "robot_type": "arm", "chunks_size": 1000, "features": features,
        "total_episodes": listed,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet" if v3 else
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if v3 else
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }  # fmt: skip
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    rows = [{"episode_index": e, "tasks": ["reach"], "length": n} for e in range(listed)]
    tables = [_episode(e, n) for e in range(episodes)]
    data = root / "data" / "chunk-000"
    data.mkdir(parents=True)
    camera = "observation.images.top"
    if v3:
        for e, row in enumerate(rows):
            row |= {f"videos/{camera}/{k}": v for k, v in (("chunk_index", 0), ("file_index", 0))}
            row |= {f"videos/{camera}/from_timestamp": e * n / 30, f"videos/{camera}/to_timestamp": (e + 1) * n / 30}
        (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
        pq.write_table(pa.concat_tables(tables), data / "file-000.parquet")
        video(root / "videos" / camera / "chunk-000" / "file-000.mp4", n * episodes, 30)
        return data / "file-000.parquet"
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for e, table in enumerate(tables):
        pq.write_table(table, data / f"episode_{e:06d}.parquet")
        video(root / "videos" / "chunk-000" / camera / f"episode_{e:06d}.mp4", n, 30)
    return data / "episode_000000.parquet"


def _episode(number: int, n: int) -> Any:
    state = np.stack([np.sin(np.arange(n) / 10 + number), np.arange(n) / n], axis=1).astype(np.float32)
    return pa.table(
        {"observation.state": list(state), "action": list(state[::-1].copy()),
         "timestamp": (np.arange(n) / 30).astype(np.float32), "frame_index": np.arange(n),
         "episode_index": np.full(n, number), "index": number * n + np.arange(n), "task_index": np.zeros(n, np.int64)}
    )  # fmt: skip


SINGLE: dict[str, tuple[str, Callable[..., None]]] = {
    "mcap (CDR)": ("x.mcap", mcap_cdr), "mcap (JSON)": ("x.mcap", mcap_json),
    "mcap (protobuf)": ("x.mcap", mcap_protobuf),
    "rosbag1": ("x.bag", rosbag1), "rosbag2": ("x.db3", rosbag2), "ulog": ("x.ulg", ulog), "hdf5": ("x.hdf5", hdf5),
    "parquet": ("x.parquet", parquet), "csv": ("x.csv", csv),
}  # fmt: skip
"""Formats of one file: name -> (file name, writer)."""
