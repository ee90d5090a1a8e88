"""Files that are meant to do harm, each made small on disk: bombs, lies about sizes, links out, active content.

Nothing here is dangerous to keep: the pickle prints, the links point to a text file beside them.
"""

import pickle
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from mcap.writer import Writer

from tests.fleet_ingest import log_files

SECRET = "what-no-upload-may-read"
MCAP = b"\x89MCAP0\r\n"
HEADER = b"\x01" + struct.pack("<Q", 8) + bytes(8)


def _secret(folder: Path) -> Path:
    path = folder / "secret.txt"
    path.write_text(SECRET * 100)
    return path


def _chunk(data: bytes, compression: str, declared: int) -> bytes:
    name = compression.encode()
    body = struct.pack("<QQQI", 0, 0, declared, 0) + struct.pack("<I", len(name)) + name
    body += struct.pack("<Q", len(data)) + data
    return MCAP + HEADER + b"\x06" + struct.pack("<Q", len(body)) + body


def mcap_bomb(folder: Path) -> Path:
    """33 kB that expand to 1 GiB, declared as 100 bytes."""
    (folder / "x.mcap").write_bytes(_chunk(zstandard.ZstdCompressor().compress(bytes(1 << 30)), "zstd", 100))
    return folder / "x.mcap"


def mcap_lz4_bomb(folder: Path) -> Path:
    (folder / "x.mcap").write_bytes(_chunk(lz4.frame.compress(bytes(1 << 28)), "lz4", 100))
    return folder / "x.mcap"


def mcap_declared(folder: Path) -> Path:
    """Declares 1 TiB and holds a few bytes."""
    (folder / "x.mcap").write_bytes(_chunk(zstandard.ZstdCompressor().compress(b"x"), "zstd", 1 << 40))
    return folder / "x.mcap"


def mcap_record(folder: Path) -> Path:
    """A sparse file with a record of 4 GiB."""
    path = folder / "x.mcap"
    path.write_bytes(MCAP + HEADER + b"\x05" + struct.pack("<Q", (4 << 30) - 1000))
    with path.open("r+b") as file:
        file.truncate((4 << 30) - 500)
    return path


def mcap_attachment(folder: Path) -> Path:
    with (folder / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_attachment(1, 1, "../../etc/cron.d/x", "text/plain", b"x")
        writer.finish()
    return folder / "x.mcap"


def mcap_topic(folder: Path) -> Path:
    with (folder / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel(topic="/x\x1b[2J\nINFO all is well", message_encoding="json", schema_id=0)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    return folder / "x.mcap"


def bag_bomb(folder: Path) -> Path:
    """A chunk of 256 MiB that declares 100 bytes."""

    def field(name: bytes, value: bytes) -> bytes:
        return struct.pack("<I", len(name) + 1 + len(value)) + name + b"=" + value

    head = field(b"op", b"\x05") + field(b"compression", b"lz4") + field(b"size", struct.pack("<I", 100))
    data = lz4.frame.compress(bytes(1 << 28))
    body = struct.pack("<I", len(head)) + head + struct.pack("<I", len(data)) + data
    (folder / "x.bag").write_bytes(b"#ROSBAG V2.0\n" + body)
    return folder / "x.bag"


def parquet_rows(folder: Path) -> Path:
    """134 million rows in less than a megabyte."""
    with pq.ParquetWriter(folder / "x.parquet", pa.schema([("t", pa.int64())]), compression="zstd") as writer:
        table = pa.table({"t": pa.array(np.zeros(1 << 22, np.int64))})
        for _ in range(32):
            writer.write_table(table)
    return folder / "x.parquet"


def hdf5_rows(folder: Path) -> Path:
    """A data set of a terabyte that was never written."""
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("q", shape=(1 << 37,), dtype="f8", chunks=(1 << 16,), compression="gzip")
    return folder / "x.h5"


def hdf5_unwritten(folder: Path) -> Path:
    """1 GiB declared, nothing there: within the counts, far beyond what the file can hold."""
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("q", shape=(1 << 27,), dtype="f8", chunks=(1 << 16,), compression="gzip")
    return folder / "x.h5"


def hdf5_external_link(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["q"] = np.arange(10.0)
    with h5py.File(folder / "x.h5", "w") as file:
        file["log/q"] = h5py.ExternalLink(str(folder / "other.h5"), "/q")
    return folder / "x.h5"


def hdf5_external_values(folder: Path) -> Path:
    """A data set whose values are the bytes of another file."""
    secret = _secret(folder)
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("q", shape=(100,), dtype="u1", external=[(str(secret), 0, 100)])
    return folder / "x.h5"


def hdf5_virtual(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["q"] = np.arange(10.0)
    layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "q", shape=(10,))
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_virtual_dataset("q", layout)
    return folder / "x.h5"


def hdf5_soft_link(folder: Path) -> Path:
    with h5py.File(folder / "x.h5", "w") as file:
        file["q"] = np.arange(10.0)
        file["log/q"] = h5py.SoftLink("/../../q")
    return folder / "x.h5"


def db3_view(folder: Path) -> Path:
    """A view without end where the table of messages belongs."""
    with sqlite3.connect(folder / "x.db3") as base:
        base.execute("CREATE TABLE topics (id, name, type, serialization_format)")
        base.execute(
            "CREATE VIEW messages AS WITH RECURSIVE c(topic_id, timestamp, data) AS (SELECT 1, 1, x'00' UNION ALL "
            "SELECT 1, timestamp + 1, x'00' FROM c) SELECT * FROM c"
        )
    base.close()
    return folder / "x.db3"


def db3_trigger(folder: Path) -> Path:
    log_files.rosbag2(folder / "x.db3", 10)
    with sqlite3.connect(folder / "x.db3") as base:
        base.execute("CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM messages; END")
    base.close()
    return folder / "x.db3"


def ulog_topic(folder: Path) -> Path:
    log_files.ulog(folder / "x.ulg", 10)
    data = (folder / "x.ulg").read_bytes().replace(b"joint:", b"joint:")
    body = struct.pack("<BH", 0, 9) + b"../etc"
    bad = struct.pack("<HB", len(b"../etc:uint64_t timestamp;"), ord("F")) + b"../etc:uint64_t timestamp;"
    bad += struct.pack("<HB", len(body), ord("A")) + body
    (folder / "x.ulg").write_bytes(data[:16] + bad + data[16:])
    return folder / "x.ulg"


class _Loud:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return print, ("a pickle was opened",)


def pickled(folder: Path) -> Path:
    (folder / "log.csv").write_bytes(pickle.dumps(_Loud()))
    return folder / "log.csv"


def npz(folder: Path) -> Path:
    np.savez(folder / "log.npz", q=np.array([{"a": 1}], dtype=object))
    return folder / "log.npz"


def torch_file(folder: Path) -> Path:
    (folder / "log.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    return folder / "log.pt"


def csv_columns(folder: Path) -> Path:
    """200,000 columns."""
    (folder / "x.csv").write_text(",".join(f"c{i}" for i in range(20_000)) + "\n" + ",".join("1" * 20_000) + "\n")
    return folder / "x.csv"


def lerobot_escape(folder: Path) -> Path:
    """meta/ says that the video is ../../secret.txt."""
    _secret(folder)
    file = log_files.lerobot(folder / "set", 20)
    info = folder / "set" / "meta" / "info.json"
    info.write_text(info.read_text().replace("videos/chunk", "../../chunk"))
    return file


CASES: list[tuple[str, Callable[[Path], Path], tuple[str, ...]]] = [
    ("MCAP: zstd bomb", mcap_bomb, ("bomb",)),
    ("MCAP: lz4 bomb", mcap_lz4_bomb, ("bomb",)),
    ("MCAP: declares 1 TiB", mcap_declared, ("too_large",)),
    ("MCAP: record of 4 GiB", mcap_record, ("too_large",)),
    ("MCAP: attachment ../", mcap_attachment, ("hostile_name",)),
    ("MCAP: control characters", mcap_topic, ("hostile_name",)),
    ("bag: lz4 bomb", bag_bomb, ("bomb",)),
    ("Parquet: 134 million rows", parquet_rows, ("too_large",)),
    ("HDF5: a terabyte declared", hdf5_rows, ("too_large",)),
    ("HDF5: a gigabyte of nothing", hdf5_unwritten, ("bomb",)),
    ("HDF5: external link", hdf5_external_link, ("external_link",)),
    ("HDF5: values in another file", hdf5_external_values, ("external_link",)),
    ("HDF5: virtual data set", hdf5_virtual, ("external_link",)),
    ("HDF5: soft link", hdf5_soft_link, ("external_link",)),
    ("db3: endless view", db3_view, ("unsafe_content",)),
    ("db3: trigger", db3_trigger, ("unsafe_content",)),
    ("ULog: topic ../", ulog_topic, ("hostile_name",)),
    ("pickle named .csv", pickled, ("pickle",)),
    ("npz", npz, ("pickle",)),
    ("torch archive", torch_file, ("pickle",)),
    ("CSV: 20,000 columns", csv_columns, ("too_large",)),
    ("LeRobot: video path ../", lerobot_escape, ("hostile_name",)),
]
"""(what it is, writer: folder -> file, the codes that are right)."""
