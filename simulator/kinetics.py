"""Inertia: what moves together accelerates together.

The kinetic energy of everything that a robot carries is half the squared speed of points y(q), weighted by their
masses, and the potential energy is a function of the configuration. Which y is learned: a sum of sines and cosines of
the angle combinations of `mechanism`, with coefficients that depend on the scene. With J = dy/dq, least action gives

    (J'J + D) a = f - J' (d2y/dq2)[v, v] - dU/dq                                                  (Gauss 1829)

where f are the forces of the networks and D is inertia of its own for every joint. So accelerations at speeds that no
log shows follow from inertia, which slow logs show. No robot's masses or lengths are written here.
Tensors are laid out with batches last: [..., M, B].
"""

from typing import NamedTuple

import torch
from torch import Tensor

from simulator.mechanism import Mechanism

AXES = 3
OUTPUTS = 2 * (AXES + 1)
"""Sine and cosine of each axis of y and of the potential energy."""
_LEAST, _MOST = -3.0, 3.0
"""Bounds of the logarithm of a joint's own inertia, in units of its usual force over its usual acceleration."""

_LARGEST = 80.0
"""Scaled acceleration that is bent: twice what the networks' forces are bent at."""


class Ties(NamedTuple):
    """A mechanism as tensors: `places` [n]; `combination` [T, n]; `turns` [T, 1, 1]; `carried` [E, T]; `relation` [E,
    T, F]; `members` [T, E]."""

    places: Tensor
    combination: Tensor
    turns: Tensor
    carried: Tensor
    relation: Tensor
    members: Tensor

    @classmethod
    def of(cls, mechanism: Mechanism, device: str = "cpu") -> "Ties":
        turns = torch.from_numpy(mechanism.turns.astype("float32"))[:, None, None]
        others = (mechanism.carried, mechanism.relation, mechanism.members)
        return cls(
            torch.from_numpy(mechanism.places).to(device),
            torch.from_numpy(mechanism.combination).to(device),
            turns.to(device),
            *(torch.from_numpy(a).to(device) for a in others),
        )


class Inertia(NamedTuple):
    """Of a scene sample. `sine`, `cosine` [E * 3 + 1, T, M, B]: coefficients of y, and in the last row of the
    potential energy; of a linear position only `sine` counts. `own` [n, M, B]: each joint's own inertia."""

    sine: Tensor
    cosine: Tensor
    own: Tensor


def coefficients(raw: Tensor, own: Tensor, ties: Ties) -> Inertia:
    """From `raw` [M, E, T, B, 8] and the logarithms of the joints' own inertia `own` [M, E, B, P]."""
    members, entities, terms, batch, _ = raw.shape
    raw = raw * ties.carried[:, :, None, None]
    rows = raw.view(members, entities, terms, batch, AXES + 1, 2).permute(5, 1, 4, 2, 0, 3)
    points = rows[:, :, :AXES].reshape(2, entities * AXES, terms, members, batch)
    potential = rows[:, :, AXES].sum(1, keepdim=True)
    sine, cosine = torch.cat([points, potential], 1)
    bounded = _MOST * torch.tanh(own / _MOST)
    return Inertia(sine.contiguous(), cosine.contiguous(), torch.exp(_free(bounded, ties)))


def accelerations(
    inertia: Inertia, ties: Ties, position: Tensor, rate: Tensor, force: Tensor, unit: Tensor, alive: Tensor | None
) -> Tensor:
    """Scaled accelerations [M, E, B, P] under scaled `force`; those of slots that are no degree of freedom are the
    forces themselves.

    `position`, `rate` [M, E, B, P] in channel units; `unit` [M or 1, E, B or 1, P] is a scaled acceleration of 1.
    Degrees of freedom of entities that are gone neither move nor weigh.
    """
    q, v, f, r = (_free(x, ties) for x in (position, rate, force, unit))
    c = ties.combination
    size = c.abs()
    shared = torch.einsum("tn,nmb->tmb", size / size.sum(1, keepdim=True), r)  # the unit of a term's acceleration
    phase, speed = (torch.matmul(c, x.flatten(1)).view(-1, *x.shape[1:]) for x in (q, v))
    sine, cosine = torch.sin(phase), torch.cos(phase)
    slope = torch.where(ties.turns > 0, inertia.sine * cosine - inertia.cosine * sine, inertia.sine)
    jacobian = (slope[:, :, None] * (c[:, :, None, None] * r / shared[:, None])).sum(1)  # [E * 3 + 1, n, M, B]
    squared = ties.turns * speed * speed / shared
    bend = -((inertia.sine * sine + inertia.cosine * cosine) * squared).sum(1)[:-1]  # [E * 3, M, B]
    points, pull = jacobian[:-1], jacobian[-1]
    if alive is not None:
        living = _free(alive.expand(*alive.shape[:-1], position.shape[-1]), ties)
        bodies = alive[..., 0].permute(1, 0, 2).repeat_interleave(AXES, 0)
        points, f = points * living * bodies[:, None], (f - pull) * living + pull
        pull = pull * living
        bend = bend * bodies
    mass = (points[:, :, None] * points[:, None]).sum(0)
    mass = mass + torch.diag_embed(inertia.own.permute(1, 2, 0)).permute(2, 3, 0, 1)
    total = f - pull - (points * bend[:, None]).sum(0)
    found = solved(mass, total)
    found = found * torch.rsqrt(1.0 + found * found * (1.0 / _LARGEST**2))
    return force + _spread(found - f, ties, position)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """x [n, ...] of matrix x = right for symmetric positive definite `matrix` [n, n, ...]: elimination without pivots,
    a few operations per degree of freedom for all worlds at once."""
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(matrix.shape[0] - 1):
        pivot, row, value = matrix[0, 0], matrix[0, 1:], right[0]
        factor = row / pivot
        matrix = matrix[1:, 1:] - factor[:, None] * row
        right = right[1:] - factor * value
        steps.append((pivot, row, value))
    found = right / matrix[0]
    for pivot, row, value in reversed(steps):
        first = (value - (row * found).sum(0)) / pivot
        found = torch.cat([first[None], found])
    return found


def _free(x: Tensor, ties: Ties) -> Tensor:
    """[n, M, B] of the degrees of freedom in [M, E, B, P]."""
    flat = x.permute(1, 3, 0, 2).reshape(x.shape[1] * x.shape[3], x.shape[0], x.shape[2])
    return flat if len(flat) == len(ties.places) else flat[ties.places]


def _spread(x: Tensor, ties: Ties, like: Tensor) -> Tensor:
    """[n, M, B] back to [M, E, B, P], 0 elsewhere."""
    members, entities, batch, slots = like.shape
    flat = x
    if len(x) != entities * slots:
        flat = x.new_zeros(entities * slots, *x.shape[1:]).index_copy(0, ties.places, x)
    return flat.view(entities, slots, members, batch).permute(2, 0, 3, 1)
