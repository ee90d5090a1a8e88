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
_NUMBERS = 1 << 24
"""Of factors that are copied side by side."""


def rows_of(latent: Tensor, entities: int) -> Tensor:
    """[M, E, Z] of [M, E * Z]."""
    return latent.view(latent.shape[0], entities, -1)


def away(factor: Tensor, member: Tensor, normal: Tensor) -> Tensor:
    """[N, D]: deviations of worlds from the means of their members `member` [N], by standard normals [N, D]. That of a
    world depends on no other."""
    at_once = max(1, _NUMBERS // factor.shape[1] ** 2)
    parts = zip(member.split(at_once), normal.split(at_once), strict=True)
    return torch.cat([torch.einsum("nij,nj->ni", factor[of], drawn) for of, drawn in parts])


def joined_factors(first: Tensor, second: Tensor) -> Tensor:
    """[M, D1 + D2, D1 + D2] of two independent latents' factors [M, D1, D1] and [M, D2, D2]."""
    members, one, two = first.shape[0], first.shape[1], second.shape[1]
    out = first.new_zeros(members, one + two, one + two)
    out[:, :one, :one], out[:, one:, one:] = first, second
    return out


def kept_factor(factor: Tensor, keep: Sequence[int], width: int) -> Tensor:
    """Of the entities `keep` alone, `width` numbers each: what was open together with others stays as open."""
    columns = torch.tensor([e * width + i for e in keep for i in range(width)])
    covariance = (factor.double() @ factor.double().transpose(1, 2))[:, columns][:, :, columns]
    kept: Tensor = torch.linalg.cholesky(covariance)
    return kept.float()


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
