"""Reads a log of any known format; the format is told by the file's first bytes, not by its name.

One reader a format, all with one signature (`Reader`): what they give is the same for all. This module does not guard
the process: hostile files are read through `fleet_ingest.validate`.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Protocol

from fleet_ingest.formats.csv_dialect import CsvOptions
from fleet_ingest.formats.csv_table import read_csv
from fleet_ingest.formats.hdf5 import read_hdf5
from fleet_ingest.formats.lerobot import read_lerobot, root_of
from fleet_ingest.formats.mcap_log import read_mcap
from fleet_ingest.formats.parquet_table import read_parquet
from fleet_ingest.formats.rawlog import Limits, RawLog, too_large
from fleet_ingest.formats.rosbag1 import read_bag
from fleet_ingest.formats.rosbag2 import read_db3
from fleet_ingest.formats.ulog import read_ulog
from storage.contracts.errors import DataError, InputError, UnknownName

Columns = Collection[str] | None


class Reader(Protocol):
    """What every format offers; `columns` are the series that are wanted, None for all. Raises DataError."""

    def __call__(self, path: Path, *, columns: Columns, limits: Limits) -> RawLog: ...


READERS: dict[str, Reader] = {
    "csv": partial(read_csv, options=None), "hdf5": read_hdf5, "lerobot": read_lerobot, "mcap": read_mcap,
    "parquet": read_parquet, "rosbag1": read_bag, "rosbag2": read_db3, "ulog": read_ulog,
}  # fmt: skip
FORMATS = tuple(READERS)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"\x89MCAP0\r\n", "mcap"),
    (b"#ROSBAG V", "rosbag1"),
    (b"SQLite format 3\0", "rosbag2"),
    (b"ULog\x01\x12\x35", "ulog"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"ARROW1", "Arrow IPC"),
    (b"\x1f\x8b", "gzip archive"),
    (b"PK\x03\x04", "zip archive or spreadsheet"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ", "xz archive"),
)
_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".mcap": "mcap",
    ".bag": "rosbag1", ".db3": "rosbag2", ".ulg": "ulog", ".ulog": "ulog", ".h5": "hdf5", ".hdf5": "hdf5",
}  # fmt: skip
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".npz", ".joblib", ".ckpt", ".npy"}
_PICKLE_STARTS = (*(bytes((0x80, version)) for version in (2, 3, 4, 5)), b"\x93NUMPY")


def read_log(
    path: Path,
    format: str | None = None,
    *,
    columns: Columns = None,
    csv: CsvOptions | None = None,
    limits: Limits | None = None,
) -> RawLog:
    """The log at `path`. `columns` restricts it to the series that are needed; None reads all.

    Raises:
        UnknownName: `format` is not one of FORMATS.
        InputError: there is no such file.
        DataError: a code of `fleet_ingest.reasons`.
    """
    limits = limits or Limits()
    if format is not None and format not in FORMATS:
        raise UnknownName("log format", format, FORMATS)
    found = detect_format(path, limits)
    if format == "parquet" and found == "lerobot" and path.is_file():
        found = "parquet"
    if format is not None and found != format:
        raise DataError(
            f"'{path.name}' is not {format}: it begins like {found}", code="wrong_format",
            remedy=f"Set 'format: {found}' in the mapping, or leave it out.",
        )  # fmt: skip
    reader = READERS[found] if found != "csv" else _csv(csv)
    return reader(path, columns=columns, limits=limits)


def _csv(options: CsvOptions | None) -> Callable[..., RawLog]:
    return partial(read_csv, options=options)


def detect_format(path: Path, limits: Limits | None = None) -> str:
    """One of FORMATS.

    Raises DataError (`empty`, `unknown_format`, `corrupt`, `too_large`) that says what the file is instead.
    """
    limits = limits or Limits()
    if path.is_dir():
        return _folder(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open {path}: {error}") from error
    if size == 0:
        raise DataError(f"'{path.name}' is empty (0 bytes)", code="empty", remedy="Copy it again, or delete it.")
    if size > limits.file_bytes:
        raise too_large(f"size of '{path.name}' in bytes", size, limits.file_bytes)
    if head.startswith(_PICKLE_STARTS) or path.suffix.lower() in _PICKLES:
        raise DataError(
            f"'{path.name}' is a Python pickle or numpy archive: opening such files can run programs", code="pickle",
            remedy="Export the data as Parquet, CSV, HDF5 or MCAP.",
        )  # fmt: skip
    for magic, name in _MAGIC:
        if head.startswith(magic):
            name = "lerobot" if name == "parquet" and root_of(path.absolute()) is not None else name
            return name if name in FORMATS else _refuse(path, name)
    return _text_or_refuse(path, head)


def _folder(path: Path) -> str:
    if root_of(path) == path:
        return "lerobot"
    raise InputError(
        f"{path} is a folder and no LeRobot data set", remedy="Give its files, or the folder that holds meta/info.json."
    )


def _refuse(path: Path, name: str) -> str:
    raise DataError(
        f"'{path.name}' is a {name}, which cannot be read; readable: {', '.join(FORMATS)}", code="unknown_format",
        remedy="Convert it to MCAP, Parquet, HDF5 or CSV; unpack archives first.",
    )  # fmt: skip


def _text_or_refuse(path: Path, head: bytes) -> str:
    expected = _SUFFIX.get(path.suffix.lower())
    if expected not in (None, "csv") and not _is_text(head):
        raise DataError(
            f"'{path.name}' is named like {expected} but does not begin like it", code="corrupt",
            remedy="The file is damaged, encrypted or of another format: copy it again from the robot.",
        )  # fmt: skip
    if not _is_text(head, 0.01 if expected == "csv" else 0.0):
        raise DataError(
            f"'{path.name}' is neither text nor a known binary log", code="unknown_format",
            remedy=f"Readable formats: {', '.join(FORMATS)}.",
        )  # fmt: skip
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"{", b"<")):
        return _refuse(path, "JSON text" if start.startswith(b"{") else "HTML or XML page")
    if not head.strip():
        raise DataError(f"'{path.name}' holds nothing but white space", code="empty")
    return "csv"


def _is_text(head: bytes, tolerated: float = 0.0) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return control <= tolerated * len(head)
