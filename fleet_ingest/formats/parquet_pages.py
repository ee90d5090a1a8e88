"""Does a Parquet file carry page checksums? Arrow checks those that are there and does not say whether there are any.

Reads the first page header of each column chunk (Thrift compact protocol, parquet.thrift `PageHeader`: 1 type,
2 uncompressed size, 3 compressed size, 4 crc). This module checks no checksum.
"""

from pathlib import Path

from fleet_ingest.formats.parquet_footer import Group

_I32 = 0x15  # field number one above the last, type i32
_MAX_CHUNKS = 2000


def pages_are_checked(path: Path, groups: tuple[Group, ...]) -> bool:
    """True when the first page of every column chunk has a checksum."""
    places = [chunk.page for group in groups for chunk in group.chunks]
    if not places:
        return False
    with path.open("rb") as file:
        for place in places[:_MAX_CHUNKS]:
            file.seek(max(0, place))
            if not _has_crc(file.read(32)):
                return False
    return True


def _has_crc(header: bytes) -> bool:
    at = 0
    for _ in range(3):
        if at >= len(header) or header[at] != _I32:
            return False
        at += 1
        while at < len(header) and header[at] & 0x80:
            at += 1
        at += 1
    return at < len(header) and header[at] == _I32
