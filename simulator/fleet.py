"""Training data of a mixed fleet, grouped by structure, and the batches drawn from it.

A batch is a pure function of (seed, update, member): resuming needs no generator state and members may be trained
apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simulator import task_head
from simulator.config import SimulatorConfig
from simulator.encoders import notes as notes_encoder
from simulator.encoders.notes import FleetNotes, NoteRows
from simulator.features import COLUMNS, physical_columns, physical_fields, scale_columns, static_features
from simulator.frame import Frame
from simulator.model import Model
from simulator.recording import Recording, robot_key
from simulator.task_head import TaskRows
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError


@dataclass(frozen=True, eq=False)
class Group:
    """Episodes of equal structure. `static` [R, E, F] per robot; `change` [steps, E, K]: typical change over 1..
    steps rows, which errors are divided by."""

    recording: Recording
    frame: Frame
    static: Tensor
    change: Tensor
    notes: FleetNotes | None = None

    @cached_property
    def all_alive(self) -> bool:
        return bool(self.recording.alive.all())

    @cached_property
    def longest(self) -> int:
        """Rows of the longest rollout that there is a log for."""
        return int((self.recording.last - torch.arange(self.recording.rows)).max())

    @cached_property
    def _starts(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    @cached_property
    def judged(self) -> bool:
        """Whether any reward or end was logged."""
        return bool(self.recording.reward.isfinite().any()) or bool(self.recording.terminated.any())

    @cached_property
    def _task_bins(self) -> np.ndarray:
        return task_head.bins_of(self.recording.reward.numpy(), self.recording.terminated.numpy())

    def task_bins(self, robot: int) -> np.ndarray:
        """Bins of the rows that `starts(robot, 1)` gives; see `task_head.bins_of`."""
        bins: np.ndarray = self._task_bins[self.starts(robot, 1)]
        return bins

    def starts(self, robot: int, steps: int) -> np.ndarray:
        """Rows of `robot` with `steps` rows after them."""
        if (robot, steps) not in self._starts:
            rows = self.recording.starts(steps)
            self._starts[robot, steps] = rows[self.recording.robot.numpy()[rows] == robot]
        return self._starts[robot, steps]


@dataclass(frozen=True, eq=False)
class Batch:
    """`rows` int64 [M, B] target starts; `robot` [M, G]; `kept` int64 [M, B]: how many past rows the filter may see;
    `static` [M, E, G, F], and `hidden` [M, E, G, 3 Q] what it leaves out of its physical quantities. B is a multiple
    of G; target b is of scene b // (B / G)."""

    rows: Tensor
    robot: Tensor
    kept: Tensor
    static: Tensor
    hidden: Tensor
    slot_factor: Tensor
    rate_factor: Tensor
    input_factor: Tensor
    known: Tensor = field(kw_only=True)
    """bool [M, G]: the scene latent is the one that training knows, else nothing but notes tells of it."""
    task: TaskRows | None = field(default=None, kw_only=True)
    """Intervals for the task head, where rewards or ends were logged."""
    notes: NoteRows | None = field(default=None, kw_only=True)
    """What operators said of the targets' robots, where they said anything."""


def make_groups(episodes: Sequence[Episode], model: Model, steps: int) -> list[Group]:
    """One group per structure, in order of their keys. Raises DataError when no episode is long enough for one step."""
    by_key: dict[str, list[Episode]] = {}
    for episode in episodes:
        by_key.setdefault(model.structure(episode.spec).key, []).append(episode)
    groups = []
    for key in sorted(by_key):
        found = by_key[key]
        recording = Recording.of(found, model.structure(found[0].spec))
        frame = model.frame(found[0].spec, recording)
        specs = {robot_key(e): e.spec for e in found}
        static = [static_features(model.structure(specs[name]), frame.scales) for name in recording.robots]
        change = _change(recording, frame, steps)
        notes = _notes(found, recording, frame) if model.shape.notes else None
        groups.append(Group(recording, frame, torch.from_numpy(np.stack(static)), change, notes))
    if not any(len(group.recording.starts(1)) for group in groups):
        raise DataError("no episode has two rows without an operator's reset or a gap between them", code="too_short")
    return groups


def _notes(episodes: Sequence[Episode], recording: Recording, frame: Frame) -> FleetNotes | None:
    own: dict[str, list[Episode]] = {name: [] for name in recording.robots}
    for episode in episodes:
        own[robot_key(episode)].append(episode)
    return FleetNotes.of(own, frame.structure.spec.entities)


def _change(recording: Recording, frame: Frame, steps: int) -> Tensor:
    """[steps, E, K] root mean square change over k rows, at least that of the first; 1 where nothing ever changes."""
    table: list[Tensor] = []
    for k in range(1, steps + 1):
        rows = torch.from_numpy(recording.starts(k))
        rows = rows[:: max(1, len(rows) // 4000)]
        if len(rows) < 8:
            table.append(table[-1] if table else torch.zeros_like(frame.step_scale[:, 0]))
            continue
        seen = (recording.valid[rows + k] & recording.valid[rows]).float()
        delta = frame.difference(recording.x[rows + k].transpose(0, 1), recording.x[rows].transpose(0, 1)).transpose(
            0, 1
        )
        table.append(((delta**2 * seen).sum(0) / seen.sum(0).clamp_min(1.0)).sqrt())
    change = torch.stack(table)
    floor = torch.where(change.amax(0) > 0, 0.05 * change.amax(0), torch.ones_like(change[0]))
    return torch.maximum(change, floor)


def draw(group: Group, config: SimulatorConfig, update: int, members: range, steps: int) -> Batch:
    size = min(config.max_batch, max(config.min_batch, config.rows // steps))
    groups = min(config.groups, size)
    size -= size % groups
    parts = [
        _draw_one(group, config, np.random.default_rng([config.seed, update, m]), groups, size, steps) for m in members
    ]
    columns = [torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True)]
    robot = columns[1].numpy()
    notes = None if group.notes is None else notes_encoder.draw(group.notes, config, update, members, robot)
    task = _draw_task(group, config, update, members, robot)
    return Batch(*columns, known=_draw_known(config, update, members, groups), task=task, notes=notes)


def _draw_known(config: SimulatorConfig, update: int, members: range, groups: int) -> Tensor:
    drawn = [np.random.default_rng([config.seed, update, m, 2]).random(groups) < config.known_share for m in members]
    return torch.from_numpy(np.stack(drawn))


def _draw_task(
    group: Group, config: SimulatorConfig, update: int, members: range, robot: np.ndarray
) -> TaskRows | None:
    """Intervals of the robots of `robot` [M, G], or None where nothing of a task was logged."""
    if not group.judged:
        return None
    per = max(1, config.task_rows // robot.shape[1])
    rows, weights = [], []
    for place, member in enumerate(members):
        rng = np.random.default_rng([config.seed, update, member, 1])
        drawn = [task_head.draw(rng, group.starts(r, 1), group.task_bins(r), per) for r in robot[place]]
        rows.append(np.concatenate([d[0] for d in drawn]))
        weights.append(np.concatenate([d[1] for d in drawn]))
    return TaskRows(torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(weights)))


def _draw_one(
    group: Group, config: SimulatorConfig, rng: np.random.Generator, groups: int, size: int, steps: int
) -> tuple[np.ndarray, ...]:
    frame, per = group.frame, size // groups
    usable = [r for r in range(len(group.recording.robots)) if len(group.starts(r, steps))]
    robot = rng.choice(np.array(usable), groups)
    rows = np.stack([rng.choice(group.starts(r, steps), per) for r in robot])
    static, hidden = _forgetful(group, config, rng, robot)
    factors = _jittered(group, config, rng, static)
    kept = np.where(
        rng.random(size) < config.history_drop, rng.integers(0, frame.history_rows + 1, size), frame.history_rows
    )
    return rows.reshape(-1), robot.astype(np.int64), kept.astype(np.int64), static, hidden, *factors


def _forgetful(
    group: Group, config: SimulatorConfig, rng: np.random.Generator, robot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Static features [E, G, F], with known physical quantities forgotten at random, so that any subset of a
    specification works; and what was forgotten [E, G, 3 Q], which the scene's latent has to say (`network.hidden`)."""
    shape = group.frame.structure.shape
    columns = physical_columns(shape)
    table = group.static.numpy()[robot].copy()
    told = table[..., columns].reshape(*table.shape[:2], -1, COLUMNS)
    mode = rng.random((len(robot), 1, 1))
    chance = np.where(mode < 0.3, 0.0, np.where(mode < 0.6, 1.0, rng.random((len(robot), 1, 1))))
    said = np.isin(physical_fields(shape), config.always_said)
    chance = np.where(said & (mode < 0.6), 0.0, chance)
    forget = rng.random(told.shape[:-1]) < chance * config.forget
    kept, hidden = (np.where(which[..., None], told, 0.0).reshape(*table.shape[:2], -1) for which in (~forget, forget))
    table[..., columns] = kept
    return table.transpose(1, 0, 2), hidden.transpose(1, 0, 2)


def _jittered(group: Group, config: SimulatorConfig, rng: np.random.Generator, static: np.ndarray) -> list[np.ndarray]:
    """Factors of scales, rates [E, G, K] and input scales [E, G, J], of which `static` is made to tell."""
    structure = group.frame.structure
    shape = structure.shape
    groups = static.shape[1]
    moving = np.zeros(shape.slots)
    moving[shape.pairs : 2 * shape.pairs] = 1.0
    logs = [
        config.jitter * rng.standard_normal((1, groups, 1)) * structure.present[:, None] * moving,
        config.jitter * rng.standard_normal((1, groups, 1)) * structure.present[:, None].astype(float),
        config.jitter * rng.standard_normal((1, groups, 1)) * structure.input_present[:, None].astype(float),
    ]
    for columns, log in zip(scale_columns(shape), logs, strict=True):
        static[..., columns] += log
    return [np.exp(log).astype(np.float32) for log in logs]
