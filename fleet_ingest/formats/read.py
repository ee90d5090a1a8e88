"""Reads a log of any known format; the format is told by the file's first bytes, not by its name.

This module does not guard the process: hostile files are read through `fleet_ingest.validate`.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from fleet_ingest.formats.csv_dialect import CsvOptions
from fleet_ingest.formats.csv_table import read_csv
from fleet_ingest.formats.mcap_log import read_mcap
from fleet_ingest.formats.parquet_table import read_parquet
from fleet_ingest.formats.rawlog import Limits, RawLog, too_large
from storage.contracts.errors import DataError, InputError, UnknownName

FORMATS = ("csv", "mcap", "parquet")
Columns = Collection[str] | None

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"\x89MCAP0\r\n", "mcap"),
    (b"#ROSBAG", "ROS 1 bag"),
    (b"SQLite format 3\0", "SQLite database (perhaps a ROS 2 db3 bag)"),
    (b"ULog", "PX4 ULog"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"ARROW1", "Arrow IPC"),
    (b"\x1f\x8b", "gzip archive"),
    (b"PK\x03\x04", "zip archive or spreadsheet"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
)
_SUFFIX = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".mcap": "mcap"}


def read_log(
    path: Path,
    format: str | None = None,
    *,
    columns: Columns = None,
    csv: CsvOptions | None = None,
    limits: Limits | None = None,
) -> RawLog:
    """The log at `path`. `columns` restricts a table to the series that are needed; None reads all.

    Raises:
        UnknownName: `format` is not one of FORMATS.
        InputError: there is no such file.
        DataError: codes `empty`, `truncated`, `corrupt`, `too_large`, `wrong_format`, `unknown_format`,
        `wrong_separator` ...
    """
    limits = limits or Limits()
    if format is not None and format not in FORMATS:
        raise UnknownName("log format", format, FORMATS)
    found = detect_format(path, limits)
    if format is not None and found != format:
        raise DataError(
            f"'{path.name}' is not {format}: it begins like {found}", code="wrong_format",
            remedy=f"Set 'format: {found}' in the mapping, or leave it out.",
        )  # fmt: skip
    readers: dict[str, Callable[[], RawLog]] = {
        "csv": lambda: read_csv(path, columns=columns, options=csv, limits=limits),
        "mcap": lambda: read_mcap(path, columns=columns, limits=limits),
        "parquet": lambda: read_parquet(path, columns=columns, limits=limits),
    }
    return readers[found]()


def detect_format(path: Path, limits: Limits | None = None) -> str:
    """One of FORMATS.

    Raises DataError (`empty`, `unknown_format`, `corrupt`, `too_large`) that says what the file is instead.
    """
    limits = limits or Limits()
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
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name if name in FORMATS else _refuse(path, name)
    return _text_or_refuse(path, head)


def _refuse(path: Path, name: str) -> str:
    raise DataError(
        f"'{path.name}' is a {name}, which cannot be read yet; readable: {', '.join(FORMATS)}", code="unknown_format",
        remedy="Convert it to Parquet, CSV or MCAP with JSON messages; unpack archives first.",
    )  # fmt: skip


def _text_or_refuse(path: Path, head: bytes) -> str:
    expected = _SUFFIX.get(path.suffix.lower())
    if expected in ("parquet", "mcap") and not _is_text(head):
        raise DataError(
            f"'{path.name}' is named like {expected} but does not begin like it", code="corrupt",
            remedy="The file is damaged, encrypted or of another format: copy it again from the robot.",
        )  # fmt: skip
    if not _is_text(head):
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


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return control == 0
