"""Episodes as arrays over padded entities, one after the other: what training, grounding and scoring gather from.

Segments are stretches without operator resets or gaps; nothing is learned across their ends. No sampling happens here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulator.structure import Structure
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError

_GAP = 1.5


@dataclass(frozen=True, eq=False)
class Recording:
    """Rows of all episodes, T in total. Row t's input acts until row t + 1; the last row of a segment has no next.

    Tensors: `x`, `valid` [T, E, K]; `labels`, `labels_valid` [T, E, Q]; `alive` [T, E]; `inputs` [T, E, J]
    physical; `dt` [T] seconds to the next row; `reward` [T] (NaN: none); `terminated` [T]; `first`, `last` [T],
    rows where the segment starts and ends; `robot` [T], index into `robots`; `episode` [T].
    """

    structure: Structure
    x: Tensor
    valid: Tensor
    labels: Tensor
    labels_valid: Tensor
    alive: Tensor
    inputs: Tensor
    dt: Tensor
    reward: Tensor
    terminated: Tensor
    first: Tensor
    last: Tensor
    robot: Tensor
    episode: Tensor
    robots: tuple[str, ...]

    @classmethod
    def of(cls, episodes: Sequence[Episode], structure: Structure) -> "Recording":
        """Raises ContractError when an episode has other channels than `structure`."""
        if not episodes:
            raise ContractError("a recording needs at least one episode")
        robots = tuple(sorted({robot_key(e) for e in episodes}))
        parts = [_arrays(episode, structure) for episode in episodes]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        lengths = [len(part["dt"]) for part in parts]
        offsets = np.repeat(np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        joined["first"] = joined["first"] + offsets
        joined["last"] = joined["last"] + offsets
        joined["robot"] = np.repeat([robots.index(robot_key(e)) for e in episodes], lengths)
        joined["episode"] = np.repeat(np.arange(len(episodes)), lengths)
        return cls(structure=structure, robots=robots, **{name: torch.from_numpy(a) for name, a in joined.items()})

    @property
    def rows(self) -> int:
        return int(self.x.shape[0])

    def starts(self, steps: int) -> np.ndarray:
        """Rows from which `steps` further rows follow in the same segment."""
        rows = np.arange(self.rows)
        return rows[self.last.numpy() - rows >= steps]


def robot_key(episode: Episode) -> str:
    """A robot under one specification."""
    return f"{episode.robot}@{episode.spec.digest[:12]}"


def _arrays(episode: Episode, structure: Structure) -> dict[str, np.ndarray]:
    if structure.view is not None:
        episode = structure.view.episode(episode)
    spec, shape = episode.spec, structure.shape
    if spec.state_layout.columns != structure.spec.state_layout.columns:
        raise ContractError(
            f"episode of '{episode.robot}' has channels {', '.join(spec.state_layout.columns)}; "
            f"expected {', '.join(structure.spec.state_layout.columns)}"
        )
    rows, entities = episode.steps + 1, structure.entities
    state, valid = _held(episode.state, episode.state_valid)
    command, _ = _held(episode.command, episode.command_valid)
    inputs = np.concatenate([command, np.nan_to_num(episode.exogenous)], axis=1)
    inputs = np.concatenate([inputs, inputs[-1:]])
    dt = np.diff(episode.time_ns) * 1e-9
    breaks = dt > _GAP * spec.period_s
    breaks[list(episode.resets)] = True
    first, last = _segments(breaks)
    x = _scatter(_continuous(state, episode), structure.columns, structure.column_slot, (rows, entities, shape.slots))
    seen = _scatter(valid, structure.columns, structure.column_slot, (rows, entities, shape.slots))
    place = (structure.category_columns, structure.category_slot, (rows, entities, shape.categories))
    terminated = np.zeros(rows, dtype=bool)
    terminated[rows - 2] = episode.terminated
    return {
        "x": x.astype(np.float32), "valid": seen & episode.alive[:, :, None],
        "labels": np.rint(_scatter(state, *place)).astype(np.int64),
        "labels_valid": _scatter(valid, *place) & episode.alive[:, :, None],
        "alive": episode.alive,
        "inputs": _summed(inputs, structure).astype(np.float32),
        "dt": np.append(dt, spec.period_s).astype(np.float32),
        "reward": np.append(episode.reward, np.nan).astype(np.float32), "terminated": terminated,
        "first": first, "last": last,
    }  # fmt: skip


def _segments(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`breaks` bool [T]: no dynamics from row t to t + 1. First and last row of the segment of each of the T + 1
    rows."""
    rows = len(breaks) + 1
    number = np.concatenate([[0], np.cumsum(breaks)])
    edges = np.flatnonzero(breaks)
    firsts = np.concatenate([[0], edges + 1])
    lasts = np.concatenate([edges, [rows - 1]])
    return firsts[number], lasts[number]


def _held(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Invalid entries hold the last valid one (the first valid one before that, 0 if there is none)."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(valid, rows, -1), axis=0)
    first = np.where(valid.any(0), valid.argmax(0), 0)
    held = np.take_along_axis(values, np.where(last < 0, first, last), axis=0) if values.size else values
    return np.where(np.isfinite(held), held, 0.0), valid


def _continuous(state: np.ndarray, episode: Episode) -> np.ndarray:
    """Quaternions without sign flips: q and -q are one orientation."""
    layout = episode.spec.state_layout
    out = state
    for channel in layout.channels:
        if channel.kind == Kind.ORIENTATION:
            q = state[:, layout[channel.name]]
            steps = np.where((q[1:] * q[:-1]).sum(1) < 0, -1.0, 1.0)
            sign = np.cumprod(np.concatenate([[1.0 if q[0, 0] >= 0 else -1.0], steps]))
            out = out.copy()
            out[:, layout[channel.name]] = q * sign[:, None]
    return out


def _summed(inputs: np.ndarray, structure: Structure) -> np.ndarray:
    """[T, E, J] of columns [T, C + X]; those of one slot add up."""
    size = structure.entities * structure.shape.inputs
    table = np.zeros((inputs.shape[1], size))
    table[np.arange(inputs.shape[1]), structure.input_slot] = 1.0
    summed: np.ndarray = inputs @ table
    return summed.reshape(len(inputs), structure.entities, structure.shape.inputs)


def _scatter(values: np.ndarray, columns: np.ndarray, slots: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    out = np.zeros((shape[0], shape[1] * shape[2]), dtype=values.dtype)
    out[:, slots] = values[:, columns]
    return out.reshape(shape)
