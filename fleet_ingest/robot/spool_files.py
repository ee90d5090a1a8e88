"""The spool's files: written so that they are whole on disk, or absent, whatever happens to the power.

A file counts once it has its final name and the folder was synced (POSIX promises nothing before). This module knows
no rows.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 20


def write_whole(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """Writes `chunks` beside `path` and returns (SHA-256, size); `settle` gives the file its name."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        sync_file(file.fileno())
    return digest.hexdigest(), size


def settle(temporary: Path, path: Path) -> None:
    """Renames a synced file, for good."""
    temporary.replace(path)
    sync_directory(path.parent)


def chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            yield data


def free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def sync_file(handle: int) -> None:
    os.fsync(handle)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
