"""Training data of a mixed fleet, grouped by structure, and the batches drawn from it.

A batch is a pure function of (seed, update, member): resuming needs no generator state and members may be trained
apart. The context clip of a target never overlaps it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simulator.config import SimulatorConfig
from simulator.features import static_features
from simulator.frame import Frame
from simulator.model import Model
from simulator.recording import Recording
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError

CONTEXT_CHUNKS = 16


@dataclass(frozen=True, eq=False)
class Group:
    """Episodes of equal structure. `static` [R, E, F] per robot; `change` [steps, E, K]: typical change over 1..
    steps rows, which errors are divided by."""

    recording: Recording
    frame: Frame
    static: Tensor
    change: Tensor

    @cached_property
    def all_alive(self) -> bool:
        return bool(self.recording.alive.all())

    @cached_property
    def _starts(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def starts(self, robot: int, steps: int) -> np.ndarray:
        """Rows of `robot` with `steps` rows after them."""
        if (robot, steps) not in self._starts:
            rows = self.recording.starts(steps)
            self._starts[robot, steps] = rows[self.recording.robot.numpy()[rows] == robot]
        return self._starts[robot, steps]


@dataclass(frozen=True, eq=False)
class Batch:
    """`rows` int64 [M, B] target starts; `robot` [M, G]; `chunks` [M, G, n] context chunk starts with `used` [M, G,
    n]; `kept` int64 [M, B]: how many past rows the filter may see. B is a multiple of G; target b is of group b //
    (B / G)."""

    rows: Tensor
    robot: Tensor
    chunks: Tensor
    used: Tensor
    kept: Tensor


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
        specs = {f"{e.robot}@{e.spec.digest[:12]}": e.spec for e in found}
        static = [static_features(model.structure(specs[name]), frame.scales) for name in recording.robots]
        groups.append(Group(recording, frame, torch.from_numpy(np.stack(static)), _change(recording, frame, steps)))
    if not any(len(group.recording.starts(1)) for group in groups):
        raise DataError("no episode has two rows without an operator's reset or a gap between them", code="too_short")
    return groups


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
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True)))


def _draw_one(
    group: Group, config: SimulatorConfig, rng: np.random.Generator, groups: int, size: int, steps: int
) -> tuple[np.ndarray, ...]:
    frame, per = group.frame, size // groups
    usable = [r for r in range(len(group.recording.robots)) if len(group.starts(r, steps))]
    robot = rng.choice(np.array(usable), groups)
    rows = np.stack([rng.choice(group.starts(r, steps), per) for r in robot])
    chunks = np.zeros((groups, CONTEXT_CHUNKS), dtype=np.int64)
    used = np.zeros((groups, CONTEXT_CHUNKS), dtype=bool)
    most = int(np.clip(round(config.prompt_s / (frame.chunk_rows * frame.dt)), 1, CONTEXT_CHUNKS))
    for g, r in enumerate(robot):
        found = group.starts(r, frame.chunk_rows)
        count = 0 if rng.random() < config.prompt_drop else int(rng.integers(1, most + 1))
        if not len(found) or not count:
            continue
        chunks[g] = rng.choice(found, CONTEXT_CHUNKS)
        apart = (chunks[g][:, None] + frame.chunk_rows < rows[g] - frame.history_rows) | (
            chunks[g][:, None] > rows[g] + steps
        )
        used[g] = (np.arange(CONTEXT_CHUNKS) < count) & apart.all(1)
    kept = np.where(
        rng.random(size) < config.history_drop, rng.integers(0, frame.history_rows + 1, size), frame.history_rows
    )
    return rows.reshape(-1), robot.astype(np.int64), chunks, used, kept.astype(np.int64)
