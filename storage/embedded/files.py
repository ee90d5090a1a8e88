"""Small files on disk: written whole or not at all, readable by their owner only. Standard library only."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` in one step, mode 0600. The parent must exist."""
    temporary = _temporary(path, data)
    temporary.replace(path)


def create_private(path: Path, data: bytes) -> bool:
    """Makes `path` with mode 0600 unless it exists already; parents are made. True when this call made it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def read_json(path: Path) -> Any:
    """The JSON value in `path`; None when it is absent or not JSON (a leftover of a crash)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True).encode())


def _temporary(path: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def absent(path: str, *, since_ns: int = 0) -> bool:
    """Is there no file at `path` that was written at `since_ns` (UTC) or later?"""
    try:
        return Path(path).stat().st_mtime_ns < since_ns
    except OSError:
        return True


def last_lines(path: Path, *, offset: int = 0, lines: int = 12, limit: int = 8192) -> str:
    """The end of a log from byte `offset` on: at most `lines` lines and `limit` bytes; empty when there is nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - limit))
            text = file.read(limit).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def remove(path: Path) -> None:
    """Removes a file, a socket or a whole directory, if it is there; a link is removed, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
