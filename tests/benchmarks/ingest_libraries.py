"""How each format's own library reads a log: the peer that `ingest_formats` is timed beside. Returns message counts.

Each reads what our reader reads: decoded messages or whole columns. Nothing here is compared for contents; tests do.
"""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory as ProtobufFactory
from mcap_ros2.decoder import DecoderFactory as Ros2Factory
from pyulog import ULog
from rosbags.rosbag1 import Reader as BagReader
from rosbags.rosbag2 import Reader as Db3Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore


def mcap_decoded(path: Path, factory: type) -> int:
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[factory()])
        return sum(1 for _ in reader.iter_decoded_messages())


def mcap_json(path: Path) -> int:
    count = 0
    with path.open("rb") as file:
        for _, _, message in make_reader(file).iter_messages():
            json.loads(message.data)
            count += 1
    return count


def bag(path: Path) -> int:
    store = get_typestore(Stores.ROS1_NOETIC)
    count = 0
    with BagReader(path) as reader:
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, _, data in reader.messages():
            store.deserialize_ros1(data, connection.msgtype)
            count += 1
    return count


def db3(path: Path) -> int:
    """The folder that the writer made: the library wants metadata.yaml."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    count = 0
    with Db3Reader(path.with_suffix(".bag")) as reader:
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, _, data in reader.messages():
            store.deserialize_cdr(data, connection.msgtype)
            count += 1
    return count


def ulog(path: Path) -> int:
    return sum(len(found.data["timestamp"]) for found in ULog(str(path)).data_list)


def hdf5(path: Path) -> int:
    with h5py.File(path, "r") as file:
        total = 0
        for demo in file["data"].values():
            demo["obs/angle"][()], demo["obs/vector"][()], demo["rewards"][()]
            total += len(demo["actions"][()])
    return total


def parquet(path: Path) -> int:
    return int(pq.read_table(path, use_threads=False, page_checksum_verification=True).num_rows)


def csv(path: Path) -> int:
    return int(pacsv.read_csv(path, read_options=pacsv.ReadOptions(use_threads=False)).num_rows)


READ: dict[str, Callable[[Path], int]] = {
    "mcap (CDR)": lambda path: mcap_decoded(path, Ros2Factory), "mcap (JSON)": mcap_json,
    "mcap (protobuf)": lambda path: mcap_decoded(path, ProtobufFactory), "rosbag1": bag, "rosbag2": db3, "ulog": ulog,
    "hdf5": hdf5, "parquet": parquet, "csv": csv,
}  # fmt: skip
