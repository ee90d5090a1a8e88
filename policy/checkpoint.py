"""Checkpoints as one safetensors file: tensors, and JSON values in its header. Nothing is pickled.

A checkpoint is replaced by rename, so a reader finds the old one or the new one, never half of one.
"""

import json
import os
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save as to_bytes
from torch import Tensor

from storage.contracts.canonical import canonical_json
from storage.contracts.errors import DataError


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, durably, through a temporary name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def save(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """`values` are JSON values; floats come back exactly."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    write_atomic(path, to_bytes(whole, metadata={"values": canonical_json(values).decode()}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote. Raises DataError if the file is none of ours."""
    values = _values(path)
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118


def progressed(path: Path) -> int:
    """Updates made, as the header of the checkpoint at `path` says; 0 while there is none."""
    try:
        return int(_values(path).get("updates", 0)) if path.exists() else 0
    except (DataError, OSError):
        return 0


def _values(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            values: dict[str, Any] = json.loads((file.metadata() or {})["values"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a policy checkpoint: {error}", code="corrupt", remedy="delete it to begin again"
        ) from error
    return values
