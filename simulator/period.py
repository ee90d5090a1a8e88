"""One control period of N worlds as a pure function of tensors, and what their sensors then show.

No randomness is drawn here and nothing is remembered, so that `compiled` may turn it into a few kernels. Numbers that
change when a simulator learns more (ranges of rewards, temperatures) are tensors, those that do not are constants.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from simulator import dynamics, layout, task_head
from simulator.dynamics import Core
from simulator.frame import Frame, wrap_where
from simulator.network import Conditioning, Weights
from simulator.structure import Structure


class Places(NamedTuple):
    """Where columns of a robot's log stand in slots, int64; `low`, `high` [C] limit its commands."""

    columns: Tensor
    slots: Tensor
    category_columns: Tensor
    category_slots: Tensor
    input_slots: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, structure: Structure, device: torch.device) -> "Places":
        limits = torch.from_numpy(structure.spec.command_limits).float()
        tables = (
            *map(torch.from_numpy, (structure.columns, structure.column_slot)),
            *map(torch.from_numpy, (structure.category_columns, structure.category_slot, structure.input_slot)),
            limits[:, 0].contiguous(),
            limits[:, 1].contiguous(),
        )
        return cls(*(table.to(device) for table in tables))


class Rules(NamedTuple):
    """What the training data could teach (see `model.Traits`); `reward` [4]: centre, scale, low and high."""

    mortal: bool
    appears: bool
    rewarded: bool
    reward: Tensor


class Now(NamedTuple):
    """The part of a `WorldState` that a period changes, and the command that acts: `command` [N, C], `extra` [N, X]."""

    channels: Tensor
    categories: Tensor
    alive: Tensor
    memory: Tensor
    queue: Tensor
    command: Tensor
    extra: Tensor


class Draws(NamedTuple):
    """`process` [N, E, K] normal, times the temperature; uniform `chance` [N, E * (Q + 1)] and `end` [N], None where
    there is nothing to draw."""

    process: Tensor
    chance: Tensor | None
    end: Tensor | None


class Then(NamedTuple):
    """What the period led to; `reward`, `hazard` [N] or None; `changed` [N, E, Q], `died`, `appeared` [N, E]."""

    channels: Tensor
    categories: Tensor
    alive: Tensor
    memory: Tensor
    queue: Tensor
    reward: Tensor | None
    terminated: Tensor
    hazard: Tensor | None
    changed: Tensor
    died: Tensor
    appeared: Tensor


def advance(
    w: Weights, frame: Frame, places: Places, rules: Rules, c: Conditioning, task_bias: Tensor | None, now: Now,
    draws: Draws, period: Tensor, parts: int,
) -> Then:  # fmt: skip
    """`period` seconds [1, 1, 1, 1] in `parts` equal parts; `task_bias` of `task_head.condition`, None without a
    task."""
    n, members = now.channels.shape[0], c.gain1.shape[0]
    command = torch.clamp(now.command, places.low, places.high)
    inputs = layout.internal(scaled_inputs(frame, places, command, now.extra), members)
    core = _core(now, rules, members)
    core = core._replace(queue=dynamics.push(core.queue, inputs))
    normal = layout.internal(draws.process, members)
    moved = dynamics.advance(w, frame, core, c, normal, period, parts)
    labels, alive, changed, died, appeared = _chance(frame, rules, now, draws.chance, moved)
    reward, terminated, hazard = _outcome(w, frame, rules, task_bias, core, moved, draws.end, n)
    return Then(
        layout.external(moved.core.x, n), labels, alive, layout.external(moved.core.memory, n),
        layout.external_rows(moved.core.queue, n), reward, terminated, hazard, changed, died, appeared,
    )  # fmt: skip


def observe(frame: Frame, places: Places, channels: Tensor, categories: Tensor, noise: Tensor | None) -> Tensor:
    """Columns [N, S] of a log from `channels` [N, E, K] and `categories`; `noise` is added before angles wrap."""
    x = channels if noise is None else channels + noise
    flat = wrap_where(x, frame.wrapped).flatten(1)
    structure = frame.structure
    width = structure.spec.state_layout.width
    columns = flat.new_zeros(flat.shape[0], width).index_copy(1, places.columns, flat[:, places.slots])
    if len(places.category_columns):
        labels = categories.flatten(1)[:, places.category_slots].to(flat.dtype)
        columns = columns.index_copy(1, places.category_columns, labels)
    return columns if structure.view is None else structure.view.restore(columns)


def sensed(
    frame: Frame, places: Places, channels: Tensor, categories: Tensor, deviation: Tensor, normal: Tensor
) -> Tensor:
    """`observe` with the sensors' noise: `normal` [N, E * K] times `deviation` [N, E, K]."""
    return observe(frame, places, channels, categories, deviation * normal.view_as(channels))


def scaled_inputs(frame: Frame, places: Places, command: Tensor, extra: Tensor) -> Tensor:
    """[..., C] and [..., X] physical to scaled [..., E, J]."""
    structure = frame.structure
    columns = torch.cat([command, extra], dim=-1)
    flat = columns.new_zeros(*columns.shape[:-1], structure.entities * structure.shape.inputs)
    flat = flat.index_add(-1, places.input_slots, columns)
    physical = flat.view(*columns.shape[:-1], structure.entities, 1, structure.shape.inputs)
    return frame.normalise_inputs(physical)[..., 0, :]


def columns_split(structure: Structure, places: Places, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Columns [N, H, S] to slots [N, H, E, K] and labels [N, H, E, Q]."""
    if structure.view is not None:
        columns = structure.view.refine(columns)
    shape, rows = structure.shape, columns.shape[:2]
    x = columns.new_zeros(*rows, structure.entities * shape.slots)
    x = x.index_copy(2, places.slots, columns[..., places.columns])
    labels = columns.new_zeros(*rows, structure.entities * shape.categories)
    labels = labels.index_copy(2, places.category_slots, columns[..., places.category_columns])
    entities = (*rows, structure.entities)
    return x.view(*entities, shape.slots), labels.round().long().view(*entities, shape.categories)


def _core(now: Now, rules: Rules, members: int) -> Core:
    alive = layout.internal(now.alive[..., None].float(), members) if rules.mortal else None
    return Core(
        layout.internal(now.channels, members), layout.internal(now.categories, members), alive,
        layout.internal(now.memory, members), layout.internal_rows(now.queue, members),
    )  # fmt: skip


def _outcome(
    w: Weights, frame: Frame, rules: Rules, bias: Tensor | None, core: Core, moved: dynamics.Advance,
    uniform: Tensor | None, n: int,
) -> tuple[Tensor | None, Tensor, Tensor | None]:  # fmt: skip
    """Reward, whether the episode ended, and the chance that it did, as the task head sees the interval."""
    never = torch.zeros(n, dtype=torch.bool, device=core.x.device)
    if bias is None:
        return None, never, None
    found = task_head.evaluate(w, bias, frame, core.x, moved.core.x, core.queue[..., -1, :], core.alive)
    scaled, logit = (layout.external_worlds(part, n) for part in found)
    reward = None
    if rules.rewarded:
        centre, scale, low, high = rules.reward.unbind()
        reward = task_head.bounded(scaled * scale + centre, low, high)
    if uniform is None:
        return reward, never, None
    hazard = torch.sigmoid(logit)
    return reward, uniform < hazard.detach(), hazard


def _chance(
    frame: Frame, rules: Rules, now: Now, uniform: Tensor | None, moved: dynamics.Advance
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Samples labels and lives from their logits: labels, alive, then which labels changed, who died, who appeared."""
    shape, entities, n = frame.structure.shape, frame.structure.entities, now.channels.shape[0]
    labels, alive = now.categories, now.alive
    changed, still = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(alive)
    died = appeared = still
    if shape.categories and uniform is not None:
        logits = layout.external(moved.labels.flatten(-2), n).view(*labels.shape, shape.labels)
        cumulative = torch.softmax(logits.detach(), -1).cumsum(-1)
        draw = uniform[:, : entities * shape.categories].view(n, entities, shape.categories, 1)
        drawn = (draw > cumulative).sum(-1).clamp(max=shape.labels - 1)
        labels = torch.where(alive[..., None], drawn, labels)
        changed = labels != now.categories
    if rules.mortal and uniform is not None:
        hazard = torch.sigmoid(layout.external(moved.life, n).detach())
        draw = uniform[:, entities * shape.categories :]
        died = alive & (draw < hazard[..., 0])
        appeared = ~alive & (draw < hazard[..., 1]) & rules.appears
        alive = (alive & ~died) | appeared
    return labels, alive, changed, died, appeared
