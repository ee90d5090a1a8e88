"""Atomic checkpoints of training: safetensors beside nothing else, written by temporary name and rename. Never
pickle."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from storage.contracts.errors import ConflictError, DataError


def save(path: Path, tensors: dict[str, Tensor], *, key: str, update: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, {"key": key, "update": str(update)})
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def load(path: Path, *, key: str) -> tuple[dict[str, Tensor], int] | None:
    """Tensors and the number of updates done; None without a file. Raises ConflictError when the file belongs to a
    training with another configuration, data or parent, DataError when it cannot be read."""
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors: dict[str, Tensor] = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"checkpoint {path} cannot be read: {error}", code="corrupt", remedy="remove the file"
        ) from error
    if metadata.get("key") != key:
        raise ConflictError(
            f"checkpoint {path} belongs to another training (configuration, data or parent differ)",
            remedy="give another checkpoint path, or remove the file",
        )
    return tensors, int(metadata["update"])


def progressed(path: Path) -> int:
    """Updates done according to the file; 0 without one. Cheap: reads the header only."""
    try:
        with safe_open(str(path), framework="pt") as handle:
            return int((handle.metadata() or {}).get("update", 0))
    except (SafetensorError, OSError):
        return 0
