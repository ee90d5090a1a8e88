"""The scene latent, Z numbers per entity, kept flat as [M, E * Z]; scales and messages of edited structures.

Nothing here learns.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from simulator import noise
from simulator.scales import Scales
from simulator.structure import Structure

_SCENE_STREAM = 0


def rows_of(latent: Tensor, entities: int) -> Tensor:
    """[M, E, Z] of [M, E * Z]."""
    return latent.view(latent.shape[0], entities, -1)


def normals(seed: int, worlds: int, columns: int, width: int) -> Tensor:
    """[N, E * Z] standard normals; those of world i and entity e depend on (seed, i, e) only."""
    world = torch.arange(worlds)
    drawn = [
        noise.normal(seed, _SCENE_STREAM, world, torch.full_like(world, e), width) for e in range(columns // width)
    ]
    return torch.cat(drawn, dim=1)


def joined_scales(first: Scales, second: Scales) -> Scales:
    """Entities of `first`, then those of `second`."""
    return _each(lambda name: np.concatenate([getattr(first, name), getattr(second, name)]))


def kept_scales(scales: Scales, rows: Sequence[int]) -> Scales:
    """The given entities alone."""
    return _each(lambda name: getattr(scales, name)[list(rows)])


def separated(structure: Structure, sizes: Sequence[int]) -> np.ndarray:
    """float32 [3E, E], the adjacency with the mean over others taken within each of the blocks of `sizes` entities:
    robots side by side do not speak to each other."""
    adjacency: np.ndarray = structure.adjacency.copy()
    entities = structure.entities
    block = np.repeat(np.arange(len(sizes)), sizes)
    others = (block[:, None] == block[None, :]).astype(np.float32) - np.eye(entities, dtype=np.float32)
    adjacency[:entities] = others / np.maximum(1.0, others.sum(1, keepdims=True))
    return adjacency


def _each(value: Callable[[str], np.ndarray]) -> Scales:
    return Scales(*(np.asarray(value(name), dtype=np.float32) for name in Scales.__dataclass_fields__))
