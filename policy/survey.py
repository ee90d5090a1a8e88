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
from policy.coverage import MOST_QUANTILE, STILL, half_range, spread_out
from policy.features import scales_of
from policy.ports import History, ScenePort, WorldsPort
from policy.rollout import advance, begin
from policy.tree import select
from policy.windows import LoggedStarts, first_windows, free, join, pick
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

SEED = (1 << 30) - 1024
"""Seed of the hypotheses of the survey."""
WORLDS, STEPS = 24, 128
ROUNDS, ROUND_STEPS, KEPT = 24, 24, 1024
"""Rounds after the first, control periods of each, and states that are left in the end."""
FARTHEST = 2.0
"""States beyond this many times the usual magnitude are left out: a cart that rolls away would outweigh all others."""


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
    horizon of at most `STEPS` periods. Where the values of a state hang together, so that states cannot be drawn, more
    rounds go on from reached and logged states that lie far apart, and such states are what is returned (see
    `policy.coverage`).

    Raises InputError if the scenes are of different robots.
    """
    n = max(8, WORLDS // len(scenes))
    sampled = [scene.sample(n, seed=SEED - index, device=device) for index, scene in enumerate(scenes)]
    spec = sampled[0].spec
    others = sorted({worlds.spec.name for worlds in sampled if worlds.spec.digest != spec.digest})
    if others:
        raise InputError(f"one policy is for one kind of robot; scenes are of '{spec.name}' and of {', '.join(others)}")
    task.check(spec)
    # States that policies are judged in, too, are the same for all seeds of a population.
    generator = torch.Generator().manual_seed(config.seed if free(spec) else SEED)
    steps, reached = min(STEPS, task.horizon_steps(spec)), []
    for index, worlds in enumerate(sampled):
        first = first_windows(worlds, task, config.history_steps, SEED - index, generator)
        first = _half_logged(first, logged, generator)
        reached.append(_wander(worlds, task, first, steps, SEED - index, generator, device))
    found = _joined(reached)
    reach = float(torch.quantile(found.reward.abs()[:MOST_QUANTILE], 0.95)) if len(found) else 1.0
    if not free(spec):
        found = _explored(sampled, task, found, logged, generator, device)
    return Survey(spec, found, reach)


def _explored(
    sampled: Sequence[WorldsPort], task: Task, found: LoggedStarts, logged: LoggedStarts | None,
    generator: torch.Generator, device: torch.device,
) -> LoggedStarts:  # fmt: skip
    """At most `KEPT` states that lie far apart, of `found`, `logged` and where `ROUNDS` more rounds lead from them."""
    known = found if logged is None or not len(logged) else _joined([found, logged])
    known = _at(known, known.windows.state.isfinite().flatten(1).all(dim=1))
    if not len(known):
        return known
    usual = torch.quantile(_some(known).abs(), 0.95, dim=0)
    farthest = FARTHEST * torch.where(usual > STILL, usual, torch.ones_like(usual))
    known = _within(known, farthest)
    steps = min(ROUND_STEPS, task.horizon_steps(sampled[0].spec))
    for round_index in range(ROUNDS):
        if not len(known):
            break
        scale = half_range(known.windows.state[:, -1])
        held = [known]
        for index, worlds in enumerate(sampled):
            starts = spread_out(known.windows.state[:, -1] / scale, worlds.n, generator)
            starts = starts.repeat(-(-worlds.n // len(starts)))[: worlds.n]
            seed = SEED - index - (round_index + 1) * len(sampled)
            held.append(_wander(worlds, task, pick(known.windows, starts), steps, seed, generator, device))
        pool = _within(_joined(held), farthest)
        known = _at(pool, spread_out(pool.windows.state[:, -1] / scale, KEPT, generator))
    return known


def _within(starts: LoggedStarts, farthest: Tensor) -> LoggedStarts:
    """Those whose last state is no farther than `farthest` [S] in any column."""
    return _at(starts, (starts.windows.state[:, -1].abs() <= farthest).all(dim=1))


def _joined(parts: Sequence[LoggedStarts]) -> LoggedStarts:
    return LoggedStarts(join([part.windows for part in parts]), torch.cat([part.reward for part in parts]))


def _at(starts: LoggedStarts, index: Tensor) -> LoggedStarts:
    return LoggedStarts(pick(starts.windows, index), starts.reward[index])


def _some(starts: LoggedStarts) -> Tensor:
    """The last states [M, S], no more than a quantile takes."""
    states = starts.windows.state[:, -1]
    return states[: MOST_QUANTILE // states.shape[1]]


def _wander(
    worlds: WorldsPort, task: Task, first: History, steps: int, seed: int, generator: torch.Generator,
    device: torch.device,
) -> LoggedStarts:  # fmt: skip
    """The windows that `steps` periods of random commands reach from `first` [N], with the reward of the last one;
    none that ended or is not finite."""
    run = begin(worlds, History(first.state.to(device), first.command.to(device)), seed)
    windows, rewards = [], []
    for command in _random_commands(worlds.spec, worlds.n, steps, generator):
        reward = advance(run, task, command.to(device)).reward
        kept = run.alive & run.window.state.isfinite().flatten(1).all(dim=1)
        windows.append(History(run.window.state[kept].cpu(), run.window.command[kept].cpu()))
        rewards.append(reward[kept].cpu())
    return LoggedStarts(join(windows), torch.cat(rewards))


def _half_logged(first: History, logged: LoggedStarts | None, generator: torch.Generator) -> History:
    """Every other window is a logged one, where there are any."""
    if logged is None or not len(logged):
        return first
    n = first.state.shape[0]
    index = torch.randint(len(logged), (n,), generator=generator)
    mixed: History = select(torch.arange(n) % 2 == 0, first, pick(logged.windows, index))
    return mixed


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
