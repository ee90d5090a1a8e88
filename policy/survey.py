"""What random commands reach in the worlds: scales where a specification has none, and states to begin in.

A robot whose state values hang together (a cosine and its sine) cannot be put anywhere by drawing each; random
commands, each world's held for a time of its own, find where it can be. No policy and no learning here.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policy.config import PolicyConfig
from policy.features import scales_of
from policy.ports import History, ScenePort, WorldsPort
from policy.rollout import Run, advance, begin
from policy.tree import select
from policy.windows import LoggedStarts, first_windows, join, pick
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

SEED = (1 << 30) - 1024
"""Seed of the hypotheses of the survey."""
WORLDS, STEPS = 24, 128
_MOST_QUANTILE = 1 << 20


class Survey(NamedTuple):
    """What random commands reach: the robot, windows with the reward of their last interval, and the 95 % quantile of
    the rewards' magnitude."""

    spec: RobotSpec
    reached: LoggedStarts
    reach: float


@torch.no_grad()
def survey(
    scenes: Sequence[ScenePort], task: Task, config: PolicyConfig, device: torch.device, logged: LoggedStarts | None
) -> Survey:
    """Random commands, each world's held for a time of its own, from the task's start and from logged states, for one
    horizon of at most `STEPS` periods.

    Raises InputError if the scenes are of different robots.
    """
    generator = torch.Generator().manual_seed(config.seed)
    n = max(8, WORLDS // len(scenes))
    sampled = [scene.sample(n, seed=SEED - index, device=device) for index, scene in enumerate(scenes)]
    spec = sampled[0].spec
    others = sorted({worlds.spec.name for worlds in sampled if worlds.spec.digest != spec.digest})
    if others:
        raise InputError(f"one policy is for one kind of robot; scenes are of '{spec.name}' and of {', '.join(others)}")
    task.check(spec)
    windows, rewards = [], []
    for index, worlds in enumerate(sampled):
        first = first_windows(worlds, task, config.history_steps, SEED - index, generator)
        run = _begin_survey(worlds, first, logged, SEED - index, generator, device)
        for command in _random_commands(spec, worlds.n, min(STEPS, task.horizon_steps(spec)), generator):
            reward = advance(run, task, command.to(device)).reward
            windows.append(History(run.window.state[run.alive].cpu(), run.window.command[run.alive].cpu()))
            rewards.append(reward[run.alive].cpu())
    reward = torch.cat(rewards)
    reach = float(torch.quantile(reward.abs()[:_MOST_QUANTILE], 0.95)) if len(reward) else 1.0
    return Survey(spec, LoggedStarts(join(windows), reward), reach)


def _begin_survey(
    worlds: WorldsPort, first: History, logged: LoggedStarts | None, seed: int, generator: torch.Generator,
    device: torch.device,
) -> Run:  # fmt: skip
    """Every other world begins in a logged state, where there are any."""
    if logged is not None and len(logged):
        index = torch.randint(len(logged), (worlds.n,), generator=generator)
        even = torch.arange(worlds.n) % 2 == 0
        first = select(even, first, pick(logged.windows, index))
    return begin(worlds, History(first.state.to(device), first.command.to(device)), seed)


def _random_commands(spec: RobotSpec, n: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` commands [n, C], uniform in their ranges; world i holds one for 2 to 32 periods."""
    scales = scales_of(spec, states=np.zeros((0, spec.state_layout.width)), commands=np.zeros((0, len(spec.safe))))
    centre, half = (torch.tensor(a).float() for a in (scales.command_centre, scales.command_scale))
    hold = 2 ** torch.randint(1, 6, (n,), generator=generator)
    acting = torch.zeros(n, len(spec.safe))
    for step in range(steps):
        fresh = centre + half * (2.0 * torch.rand(acting.shape, generator=generator) - 1.0)
        acting = torch.where((step % hold == 0)[:, None], fresh, acting)
        yield acting
