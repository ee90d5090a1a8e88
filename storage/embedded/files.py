"""Small files on disk: written whole or not at all, readable by their owner only. Standard library only."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` in one step, mode 0600. The parent must exist."""
    temporary = _temporary(path, data)
    os.replace(temporary, path)


def create_private(path: Path, data: bytes) -> bool:
    """Makes `path` with mode 0600 unless it exists already; parents are made. True when this call made it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def read_json(path: Path) -> Any:
    """The JSON value in `path`; None when it is absent or not JSON (a leftover of a crash)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True).encode())


def _temporary(path: Path, data: bytes) -> str:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return name
