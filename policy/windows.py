"""The moving window of history that a policy sees, and where such windows come from when training starts an episode.

A window is a `History` of K rows. Before a robot has a past, its first state is repeated and the safe command
stands in.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policy.ports import History, WorldsPort
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task


def first_window(spec: RobotSpec, state: Tensor, history_steps: int) -> History:
    """The window of robots that have just been put into `state` [N, S]: [N, K, S] and [N, K, C]."""
    safe = torch.tensor(spec.safe, dtype=state.dtype, device=state.device)
    command = safe.expand(state.shape[0], history_steps, -1)
    return History(state[:, None].expand(-1, history_steps, -1).contiguous(), command.contiguous())


def push(window: History, command: Tensor, state: Tensor) -> History:
    """The window one step later: `command` [N, C] acted, then `state` [N, S] was seen."""
    return History(
        torch.cat([window.state[:, 1:], state[:, None]], dim=1),
        torch.cat([window.command[:, 1:], command[:, None]], dim=1),
    )


class LoggedStarts(NamedTuple):
    """Windows cut from logs, and `reward` [M] of the interval that each ended with (NaN: none was logged)."""

    windows: History
    reward: Tensor

    def __len__(self) -> int:
        return int(self.reward.shape[0])


def first_windows(worlds: WorldsPort, task: Task, history_steps: int, seed: int, generator: torch.Generator) -> History:
    """One window per world as the task begins: from its start ranges, or, for a task without any, from the starts that
    the simulator learned."""
    if task.start:
        return task_windows(worlds.spec, task, worlds.n, history_steps, generator)
    with torch.no_grad():
        state = worlds.observe(worlds.reset(None, seed=seed))
    return first_window(worlds.spec, state.cpu(), history_steps)


def free(spec: RobotSpec) -> bool:
    """Whether any combination of state values is a state: not so for unnamed scalars or parts of unit vectors."""
    return all(channel.kind in (Kind.LINEAR, Kind.ANGLE) for channel in spec.state_layout.channels)


def task_windows(spec: RobotSpec, task: Task, n: int, history_steps: int, generator: torch.Generator) -> History:
    """`n` windows of first states drawn uniformly from the task's start ranges; channels without a range start at 0."""
    state = torch.zeros(n, spec.state_layout.width)
    for name, (low, high) in sorted(task.start.items()):
        columns = spec.state_layout[name]
        draw = torch.rand(n, columns.stop - columns.start, generator=generator)
        state[:, columns] = low + (high - low) * draw
    return first_window(spec, state, history_steps)


def wide_windows(
    spec: RobotSpec, centre: Tensor, scale: Tensor, n: int, history_steps: int, generator: torch.Generator
) -> History:
    """`n` windows of states all over the place: whole turns for angles, the limits where there are some, else the
    scales.

    They show the value function what lies beyond the task's start, e.g. that standing still upright is worth more than
    spinning through it. Before its last row a window is extrapolated backwards by the channels that are derivatives.
    """
    layout, period = spec.state_layout, spec.period_s
    unit = 2.0 * torch.rand(n, layout.width, generator=generator) - 1.0
    state = centre + scale * unit
    state[:, torch.tensor(layout.mask([Kind.ANGLE]))] = math.pi * unit[:, torch.tensor(layout.mask([Kind.ANGLE]))]
    window = first_window(spec, state, history_steps)
    back = period * torch.arange(history_steps - 1, -1, -1)
    for channel in layout.channels:
        if channel.derivative_of is not None and channel.derivative_of in layout:
            slope = state[:, None, layout[channel.name]]
            window.state[:, :, layout[channel.derivative_of]] -= back[None, :, None] * slope
    return window


def rewards_of(spec: RobotSpec, task: Task, starts: LoggedStarts) -> Tensor:
    """[M] reward of the last state of each window: the task's expression, else what was logged."""
    if task.reward is None:
        return starts.reward
    reward: Tensor = task.reward_of(spec, starts.windows.state[:, -1], starts.windows.command[:, -1], torch)
    return reward.float()


def rewarding(windows: History, reward: Tensor, n: int) -> History:
    """The `n` windows of highest `reward` [M].

    Beginning where the reward is teaches to stay there, from which the way there is learned backwards (reverse
    curriculum, Florensa et al. 2017, arXiv:1707.05300).
    """
    return pick(windows, torch.sort(reward.nan_to_num(nan=-torch.inf), descending=True, stable=True).indices[:n])


def logged_windows(episodes: Sequence[Episode], history_steps: int, *, every: int = 3) -> LoggedStarts:
    """Windows cut from logs, one start in `every` samples: legitimate starts that lie where real robots have been.

    Windows with an invalid or non-finite value, or across an operator's reset, are left out; so may be all of them.
    """
    states, commands, rewards = [], [], []
    for episode in episodes:
        resets = np.zeros(episode.steps, dtype=bool)
        resets[list(episode.resets)] = True
        for end in range(history_steps, episode.steps + 1, every):
            rows, acts = slice(end - history_steps + 1, end + 1), slice(end - history_steps, end)
            valid = episode.state_valid[rows].all() and episode.command_valid[acts].all() and not resets[acts].any()
            if valid:
                states.append(episode.state[rows])
                commands.append(episode.command[acts])
                rewards.append(episode.reward[end - 1])
    if not states:
        return LoggedStarts(History(torch.zeros(0, history_steps, 0), torch.zeros(0, history_steps, 0)), torch.zeros(0))
    arrays = (np.stack(states), np.stack(commands), np.stack(rewards))
    state, command, reward = (torch.tensor(array, dtype=torch.float32) for array in arrays)
    return LoggedStarts(History(state, command), reward)


def pick(windows: History, index: Tensor) -> History:
    return History(windows.state[index], windows.command[index])


def join(parts: Sequence[History]) -> History:
    """Windows one after another along N; empty parts are skipped, unless all are."""
    full = [part for part in parts if part.state.shape[0]] or list(parts[:1])
    return History(torch.cat([p.state for p in full]), torch.cat([p.command for p in full]))


class StartPool:
    """Where training episodes begin besides the task's start: logged windows, and states that the policy itself
    visited.

    Visited states make short rollouts cover whole episodes. Two visited windows of fixed capacity per robot scene;
    draws and
    replacements come from the caller's generator, so that a resumed run goes on identically.
    """

    def __init__(self, logged: History | None, capacity: int = 512) -> None:
        self.logged = logged if logged is not None and logged.state.shape[0] else None
        self.capacity = capacity
        self.visited: History | None = None

    def add(self, windows: History, generator: torch.Generator) -> None:
        """Keeps up to `capacity` visited windows; beyond that, new ones replace others at random."""
        if windows.state.shape[0] == 0:
            return  # every robot has fallen
        fresh = History(windows.state.detach().clone(), windows.command.detach().clone())
        held = fresh if self.visited is None else join([self.visited, fresh])
        n = held.state.shape[0]
        if n > self.capacity:
            held = pick(held, torch.randperm(n, generator=generator)[: self.capacity])
        self.visited = held

    def draw(self, n: int, generator: torch.Generator) -> History | None:
        """`n` windows, half logged and half visited where both exist; None when there are none yet."""
        sources = [s for s in (self.logged, self.visited) if s is not None]
        if not sources or n == 0:
            return None
        counts = [n] if len(sources) == 1 else [n // 2, n - n // 2]
        parts = [
            pick(s, torch.randint(s.state.shape[0], (count,), generator=generator))
            for s, count in zip(sources, counts, strict=True)
        ]
        return join(parts)
