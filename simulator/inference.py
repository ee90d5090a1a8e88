"""What logs say of a scene: the simulator inverted. No encoder learns this; rollouts that miss a log tell which latent
would have hit it.

Gauss-Newton on each member's scene latent: rollouts from many moments of the logs, their slopes by the latent as
differences of further rollouts, a robust likelihood (Student's t), the prompt's other opinions as prior, and the
curvature as precision (Laplace's approximation; an iterated extended Kalman update: Bell and Cathey 1993). Numbers that
logs tell only together stay open together. Weights stay as they are and nothing is drawn: equal prompts give equal
bits. It looks at no rewards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulator import network
from simulator.fleet import Group, make_groups
from simulator.model import Model
from simulator.network import Weights
from simulator.rollout import rolled
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError
from storage.contracts.robot import RobotSpec

_STEPS, _WINDOWS = 16, 64
_MOST_WORLDS, _FEWEST_WINDOWS = 40_000, 8
"""Entities times rollouts per member that are stepped together; robots with many parts are asked at fewer moments."""
_OVERLAP = 4.0
"""Windows that share a row, on average, at most."""
_ROUNDS = 4
_DIFFERENCE = 0.2
"""Change of a latent that slopes are measured over: the prior's deviation is 1."""
_LONGEST_STEP = 3.0
_FREEDOM = 4.0
"""Of Student's t: errors several times the usual tell little."""
_WORTH = 3.0
"""Independent errors that a window's rollout is worth: those of its steps are much alike."""
_USUAL, _LEAST = 0.15, 0.02
"""Errors, over the typical change, that one more window is taken to have shown; and that none are below."""


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Rollouts of `steps` steps from `rows` [W]. `target` [T, 1, E, W, K], `weight` the same, 0 where nothing was
    seen; `windows`: how many of the rollouts do not overlap."""

    group: Group
    rows: Tensor
    steps: int
    target: Tensor
    weight: Tensor
    windows: float

    @classmethod
    def of(cls, group: Group, latents: int) -> "_Evidence":
        recording, entities = group.recording, group.frame.structure.entities
        steps = min(_STEPS, group.longest)
        starts = torch.from_numpy(recording.starts(steps))
        most = min(_WINDOWS, _MOST_WORLDS // (entities * (latents + 1)), math.ceil(_OVERLAP * len(starts) / steps))
        count = min(max(_FEWEST_WINDOWS, most), len(starts))
        rows = starts[torch.linspace(0, len(starts) - 1, count).long()]
        apart = max(1.0, min(float(count), len(starts) / steps))
        ahead = rows[:, None] + torch.arange(1, steps + 1)
        target = recording.x[ahead].permute(1, 2, 0, 3)[:, None]
        seen = recording.valid[ahead].permute(1, 2, 0, 3)[:, None] & group.frame.present
        return cls(group, rows, steps, target, seen * (_WORTH / steps * apart / count), apart)


def inferred(
    model: Model, spec: RobotSpec, episodes: Sequence[Episode], mean: Tensor, deviation: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean [M, E * Z] and factor [M, E * Z, E * Z] of the scene given `episodes`, logs of this very robot; `mean`,
    `deviation` [M, E * Z]: before them. The factor is lower triangular, and times its transpose the covariance. Logs
    without two rows in succession change nothing.
    """
    logs = [replace(e, robot=spec.name, spec=spec, notes=()) for e in episodes if e.steps]
    before = mean, torch.diag_embed(deviation)
    if not logs:
        return before
    try:
        (group,) = make_groups(logs, model, _STEPS)
    except DataError:  # not two rows without a reset or a gap between them
        return before
    evidence = _Evidence.of(group, mean.shape[1])
    weights = {name: w.detach() for name, w in model.weights().items()}
    prior = _Prior(mean, deviation**-2)
    with torch.no_grad():
        return _searched(weights, evidence, prior)


@dataclass(frozen=True, eq=False)
class _Prior:
    """`mean`, `precision` [M, D]."""

    mean: Tensor
    precision: Tensor

    def cost(self, z: Tensor) -> Tensor:
        return 0.5 * (self.precision * (z - self.mean) ** 2).sum(1)


def _searched(weights: Weights, evidence: _Evidence, prior: _Prior) -> tuple[Tensor, Tensor]:
    """The best of `_ROUNDS` places for each member, and the factor of the covariance there."""
    z = best = prior.mean
    found = torch.diag_embed(prior.precision).double()
    lowest = torch.full((len(z),), torch.inf)
    for _ in range(_ROUNDS):
        error, slope = _linearised(weights, evidence, z)
        scale = _scale(evidence, error)
        ratio = error / scale[:, :, :, None]
        weight = evidence.weight * (_FREEDOM + 1.0) / (_FREEDOM + ratio**2)
        cost = _misfit(evidence, ratio, scale) + prior.cost(z)
        rows, pulls = _columns(slope / scale[:, :, :, None, None]), ratio.transpose(0, 1).flatten(1)
        weighted = rows * weight.expand_as(ratio).transpose(0, 1).flatten(1)[:, None]
        curvature = (weighted @ rows.transpose(1, 2) + torch.diag_embed(prior.precision)).double()
        better = (cost < lowest)[:, None]
        best = torch.where(better, z, best)
        found = torch.where(better[:, :, None], curvature, found)
        lowest = torch.where(better[:, 0], cost, lowest)
        force = (weighted @ pulls[:, :, None])[:, :, 0] + prior.precision * (prior.mean - z)
        step = torch.linalg.solve(curvature, force.double()).float()
        z = z + step * (_LONGEST_STEP / step.norm(dim=1, keepdim=True).clamp_min(_LONGEST_STEP))
    return best, torch.linalg.cholesky(torch.linalg.inv(found)).float()


def _columns(slope: Tensor) -> Tensor:
    """[T, M, E, D, W, K] to [M, D, T * E * W * K]."""
    return slope.permute(1, 3, 0, 2, 4, 5).flatten(2)


def _linearised(weights: Weights, evidence: _Evidence, z: Tensor) -> tuple[Tensor, Tensor]:
    """What rollouts under the latent `z` [M, D] miss [T, M, E, W, K], and their slopes by it [T, M, E, D, W, K]."""
    frame, (members, latents) = evidence.group.frame, z.shape
    entities, count = frame.structure.entities, len(evidence.rows)
    around = torch.cat([torch.zeros(1, latents), _DIFFERENCE * torch.eye(latents)])
    worlds = (z[:, None] + around).unflatten(2, (entities, -1)).transpose(1, 2).repeat_interleave(count, 2)
    conditioning = network.condition(weights, frame.static[None, :, None], worlds, frame.adjacency, frame.ties)
    rows = evidence.rows.repeat(members, latents + 1)
    kept = torch.full_like(rows, frame.history_rows)
    steps = rolled(weights, evidence.group, frame, conditioning, rows, kept, evidence.steps)
    reached = torch.stack([moved.core.x for moved in steps]).unflatten(3, (latents + 1, count))
    middle = reached[:, :, :, 0]
    apart = frame.difference(
        reached[:, :, :, 1:].flatten(3, 4), middle[:, :, :, None].expand_as(reached[:, :, :, 1:]).flatten(3, 4)
    )
    slope = apart.unflatten(3, (latents, count)) / _DIFFERENCE
    return frame.difference(evidence.target, middle), slope


def _scale(evidence: _Evidence, error: Tensor) -> Tensor:
    """[T, M, E, K]: the size of usual errors, robustly, as if one more window had shown `_USUAL` ones."""
    seen = (evidence.weight > 0).expand_as(error)
    count = seen.sum(3).clamp_min(1)
    middle = 1.48 * torch.where(seen, error.abs(), torch.nan).nanmedian(3).values.nan_to_num()
    square = torch.minimum((error**2 * seen).sum(3) / count, (1.5 * middle) ** 2)
    change = evidence.group.change[: evidence.steps, None]
    square = (evidence.windows * square + (_USUAL * change) ** 2) / (evidence.windows + 1.0)
    return torch.maximum(square.sqrt(), _LEAST * change)


def _misfit(evidence: _Evidence, ratio: Tensor, scale: Tensor) -> Tensor:
    """[M]: minus the logarithm of the likelihood, but for constants."""
    each = 0.5 * (_FREEDOM + 1.0) * torch.log1p(ratio**2 / _FREEDOM) + scale.log()[:, :, :, None]
    return (each * evidence.weight).sum((0, 2, 3, 4))
