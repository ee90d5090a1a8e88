"""The scene latent by entity, whatever layout the model keeps it in; scales and messages of edited structures.

A model has one latent per entity ([M, E * Z]) or one that all entities share ([M, Z]). Nothing here draws or learns.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from simulator.scales import Scales
from simulator.structure import Structure

PER_ENTITY = False
"""Does the model of this engine keep one latent per entity?"""


def width_of(entities: int, width: int) -> int:
    """Columns of the posterior of a robot with `entities`, when one latent has `width`."""
    return entities * width if PER_ENTITY else width


def rows_of(latent: Tensor, entities: int) -> Tensor:
    """[M, E, Z] of [M, E * Z], or of a shared [M, Z], which repeats."""
    if PER_ENTITY:
        return latent.view(latent.shape[0], entities, -1)
    return latent[:, None].expand(-1, entities, -1)


def flat(rows: Tensor) -> Tensor:
    """The inverse of `rows_of`; where one latent must do for all, the mean of the rows."""
    return rows.flatten(1) if PER_ENTITY else rows.mean(1)


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
