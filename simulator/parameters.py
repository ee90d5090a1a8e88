"""All weights of an ensemble as one matrix [M, P]: a row is a member. Views by name, initialisation, files.

One leaf tensor keeps optimiser, clipping per member, averaging and checkpoints to a line each. It knows no
architecture: layouts come from `network.layout`.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from storage.contracts.errors import IncompatibleError

Layout = Mapping[str, tuple[int, ...]]


def initialise(layout: Layout, seed: int, members: range) -> Tensor:
    """[M, P] float32. Matrices uniform in +-sqrt(3 / fan in), a tenth of it for names in `.small`; vectors 0."""
    rows = []
    for member in members:
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + member)
        parts = []
        for name, shape in layout.items():
            bound = math.sqrt(3.0 / shape[0]) if len(shape) == 2 else 0.0
            bound *= 0.1 if name.endswith(".small") else 1.0
            parts.append((torch.rand(math.prod(shape), generator=generator) * 2 - 1) * bound)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def unpack(theta: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Views by name: matrices [M, in, out], vectors [M, 1, n]. Differentiable in one backward node."""
    parts = theta.split([math.prod(shape) for shape in layout.values()], dim=1)
    return {
        name: part.reshape(theta.shape[0], *(shape if len(shape) == 2 else (1, *shape)))
        for (name, shape), part in zip(layout.items(), parts, strict=True)
    }


def columns_of(name: str, layout: Layout) -> slice:
    """Where the weight `name` stands in a row of the matrix."""
    names = list(layout)
    first = sum(math.prod(layout[before]) for before in names[: names.index(name)])
    return slice(first, first + math.prod(layout[name]))


def to_arrays(theta: Tensor, layout: Layout) -> dict[str, np.ndarray]:
    """Named arrays [M, ...] for a weights file."""
    parts = theta.detach().cpu().split([math.prod(shape) for shape in layout.values()], dim=1)
    return {
        name: part.reshape(theta.shape[0], *shape).numpy().copy()
        for (name, shape), part in zip(layout.items(), parts, strict=True)
    }


def from_arrays(arrays: Mapping[str, np.ndarray], layout: Layout) -> Tensor:
    """Raises IncompatibleError if a weight is missing or of another shape."""
    parts = []
    for name, shape in layout.items():
        found = arrays.get(name)
        if found is None or tuple(found.shape[1:]) != shape:
            given = "nothing" if found is None else f"shape {tuple(found.shape[1:])}"
            raise IncompatibleError(f"weights file: '{name}' should have shape {shape} per member, found {given}")
        parts.append(torch.from_numpy(np.array(found, dtype=np.float32)).reshape(found.shape[0], -1))
    return torch.cat(parts, dim=1)
