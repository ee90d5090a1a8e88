"""The head that predicts a logged reward and the chance that an episode ends, from one interval of the world.

Both are functions of the state before, the state arrived in and the command, as rewards of tasks are (`Task`), so they
are learned from logged intervals (teacher forcing) and not through rollouts: balanced over the values of the reward,
because what matters of a task is often rare. Entities are pooled; the head has no say in the dynamics.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, silu, smooth_l1_loss

from simulator import features
from simulator.config import SimulatorConfig
from simulator.dynamics import slot_features, soft
from simulator.frame import Frame
from simulator.network import Weights, linear
from simulator.recording import Recording
from simulator.structure import Shape

_RARE = 4.0
"""Logit below zero at which the hazard starts: episodes end seldom."""
_BINS = 10
_MARGIN = 0.2
"""Share of the range of logged rewards by which a prediction may exceed it."""


class TaskRows(NamedTuple):
    """Intervals to learn from: first rows int64 [M, G * n] in order of their group, and `weight` [M, G * n], how much
    more often each would have been drawn without balancing."""

    rows: Tensor
    weight: Tensor


def layout(shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape per member; nothing in a model that no robot taught a reward or an end."""
    if not shape.tasks:
        return {}
    d = config.width
    return {
        "task.static": (features.width(shape), d), "task.scene": (config.scene, d), "task.in.b": (d,),
        "task.in": (5 * shape.slots + 2 * shape.inputs, d),
        "task.hidden": (d, d), "task.hidden.b": (d,), "task.last": (d, d), "task.last.b": (d,),
        "task.out.small": (d, 2), "task.out.b": (2,),
    }  # fmt: skip


def condition(w: Weights, static: Tensor, z: Tensor) -> Tensor:
    """Bias [M, E, B, d] from `static` [M or 1, E, B or 1, F] and scene samples `z` [M, E, B, Z]."""
    told = linear(static.expand(z.shape[0], -1, -1, -1), w["task.static"])
    return told + linear(z, w["task.scene"], w["task.in.b"])


def evaluate(
    w: Weights, bias: Tensor, frame: Frame, before: Tensor, after: Tensor, inputs: Tensor, alive: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scaled reward and logit of the end, [M, B] each, of the interval from `before` to `after` [M, E, B, K] under
    scaled `inputs` [M, E, B, J]."""
    now = slot_features(after, frame)
    level = now[..., : frame.structure.shape.slots]
    given = [slot_features(before, frame), now, level * level, inputs, soft(inputs * inputs)]
    h = silu(linear(torch.cat(given, dim=-1), w["task.in"]) + bias)
    weight = torch.ones_like(h[..., :1]) if alive is None else alive
    h = (h * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1.0)
    h = h + silu(linear(h, w["task.hidden"], w["task.hidden.b"]))
    h = h + silu(linear(h, w["task.last"], w["task.last.b"]))
    out = linear(h, w["task.out.small"], w["task.out.b"])[:, 0]
    return out[..., 0], out[..., 1] - _RARE


def bounded(reward: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Rewards kept near the range of those that were logged: nobody has seen what lies beyond."""
    margin = _MARGIN * (high - low)
    return reward.clamp(low - margin, high + margin)


def loss(
    w: Weights, bias: Tensor, frame: Frame, recording: Recording, drawn: TaskRows, scaled_inputs: Tensor,
    scaled_reward: Tensor, terminates: bool,
) -> Tensor:  # fmt: skip
    """[M]: Huber's error of the scaled reward where one was logged, and the cross entropy of the end."""
    rows = drawn.rows
    before, after = (recording.x[at].permute(0, 2, 1, 3) for at in (rows, rows + 1))
    alive = None if bool(recording.alive.all()) else recording.alive[rows].permute(0, 2, 1)[..., None].float()
    reward, logit = evaluate(w, bias, frame, before, after, scaled_inputs, alive)
    known = scaled_reward.isfinite()
    error = smooth_l1_loss(reward, scaled_reward.nan_to_num(), reduction="none", beta=1.0) * known
    total = error.sum(1) / known.sum(1).clamp_min(1)
    if terminates:
        ended = recording.terminated[rows].float()
        total = total + (binary_cross_entropy_with_logits(logit, ended, reduction="none") * drawn.weight).mean(1)
    return total


def bins_of(reward: np.ndarray, terminated: np.ndarray) -> np.ndarray:
    """int64 [n]: rows of equal bin have rewards of one tenth of the range, and all end the episode or none does."""
    finite = np.isfinite(reward)
    low, high = (float(f(reward[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    share = (np.where(finite, reward, low) - low) / (high - low) if high > low else np.zeros(len(reward))
    tenth = np.minimum((share * _BINS).astype(np.int64), _BINS - 1)
    return tenth + (_BINS + 1) * terminated.astype(np.int64) + np.where(finite, 0, _BINS - tenth)


def draw(rng: np.random.Generator, rows: np.ndarray, bins: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` of `rows`, half of them evenly and half evenly over the bins, with the weights that undo the latter."""
    values, inverse, counts = np.unique(bins, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = rng.integers(0, len(values), n)
    balanced = order[first[chosen] + (rng.random(n) * counts[chosen]).astype(np.int64)]
    index = np.where(np.arange(n) % 2 == 0, rng.integers(0, len(rows), n), balanced)
    even = 1.0 / len(rows)
    drawn = 0.5 * even + 0.5 / (len(values) * counts[inverse[index]])
    return rows[index], (even / drawn).astype(np.float32)
