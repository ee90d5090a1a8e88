"""Running a policy in worlds: the differentiable window that trainers learn from, and whole episodes for evaluation.

A run that terminated stays in its worlds and counts for nothing from then on; it is never reset inside a draw of
worlds.
Time limits do not occur in here: a window that is simply cut is bootstrapped by whoever calls.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policy.network import PolicyNetwork
from policy.novelty import Novelty
from policy.ports import History, OutcomePort, WorldsPort
from policy.tree import detach
from policy.windows import push
from storage.contracts.task import Task

_LEAST_SURVIVAL = 0.05
"""Lower chances of survival count as this: the end is all but certain, and its gradient would drown every other."""


class Shaping(NamedTuple):
    """What training adds to the task's reward, in its unit: minus `smoothness` times the squared change of command in
    half ranges; plus `entropy` times the entropy of the command (soft actor-critic, Haarnoja et al. 2018,
    arXiv:1812.05905, appendix C; with first-order gradients, Xing et al. 2024, arXiv:2412.12089); plus `curiosity`
    times the novelty of the state that was reached."""

    smoothness: float = 0.0
    entropy: float = 0.0
    curiosity: float = 0.0
    novelty: Novelty | None = None


@dataclass
class Run:
    """Worlds under way. `alive` [N] is False where a run has terminated."""

    worlds: WorldsPort
    state: Any
    window: History
    alive: Tensor

    def detach(self) -> None:
        self.state, self.window = detach(self.state), detach(self.window)


class Moved(NamedTuple):
    """What one control period gave, [N] each: reward (0 for dead runs), terminated, and `survival`, which is 1 and
    carries the gradient of the logarithm of the chance to survive the period."""

    reward: Tensor
    terminated: Tensor
    survival: Tensor


class Transitions(NamedTuple):
    """T steps of N runs. `windows` has T + 1 entries; `raw` is the command before squashing, `log_prob` its density.

    reward, terminated, alive, survival: [T, N]; `alive` is True where the run had not terminated before the step.
    """

    windows: list[History]
    raw: Tensor
    log_prob: Tensor
    reward: Tensor
    terminated: Tensor
    alive: Tensor
    survival: Tensor


def begin(worlds: WorldsPort, windows: History, seed: int) -> Run:
    state = worlds.reset(windows, seed=seed)
    return Run(worlds, state, windows, torch.ones(worlds.n, dtype=torch.bool, device=windows.state.device))


def judge(
    task: Task, worlds: WorldsPort, state: Tensor, command: Tensor, outcome: OutcomePort
) -> tuple[Tensor, Tensor]:
    """Reward [N] and terminated [N] of arriving in `state` [N, S]: the task's expressions, else what the simulator
    predicts."""
    if task.reward_channel is not None and outcome.reward is not None:
        reward = outcome.reward
    else:
        reward = task.reward_of(worlds.spec, state, command, torch)
    if task.terminated_channel is not None and outcome.terminated is not None:
        terminated = outcome.terminated
    else:
        terminated = task.terminated_of(worlds.spec, state, command, torch)
    return reward, terminated.bool().detach()


def survival_of(hazard: Tensor | None, like: Tensor) -> Tensor:
    """[N] ones with the gradient of log(1 - hazard): what is earned after a period that might have ended the episode
    teaches to survive it. In expectation this is the gradient of the return through the chance of an end, since
    nothing is earned after one (the likelihood ratio, Glynn 1990)."""
    if hazard is None:
        return torch.ones_like(like)
    left = (1.0 - hazard).clamp_min(_LEAST_SURVIVAL)
    return left / left.detach()


def advance(run: Run, task: Task, command: Tensor) -> Moved:
    """One control period of `run` under `command` [N, C]."""
    run.state, outcome, _ = run.worlds.step(run.state, command)
    seen = run.worlds.observe(run.state)
    reward, terminated = judge(task, run.worlds, seen, command, outcome)
    reward, terminated = torch.where(run.alive, reward, torch.zeros_like(reward)), terminated & run.alive
    run.window = push(run.window, command, seen)
    run.alive = run.alive & ~terminated
    hazard = outcome.hazard if task.terminated_channel is not None else None
    return Moved(reward, terminated, survival_of(hazard, reward))


def bound_outliers(gradient: Tensor, largest: float) -> Tensor:
    """Gradient [N, C] with each world's norm at most `largest` times the median over the worlds that have one.

    Near an unstable equilibrium the gradient of a few worlds grows without limit and would speak for all of them.
    """
    size = gradient.norm(dim=1, keepdim=True)
    told = size[size > 0]
    median = told.median() if len(told) else size.new_zeros(())
    share: Tensor = (largest * median / size.clamp_min(1e-12)).clamp(max=1.0)
    return gradient * share


def collect(
    run: Run,
    policy: PolicyNetwork,
    task: Task,
    noise: Tensor,
    outlier_clip: float,
    shaping: Shaping,
) -> Transitions:
    """T control periods with exploration `noise` [T, N, C], standard normal; gradients flow unless switched off.

    Rewards are those of the task and `shaping`. `run` is moved on in place.
    """
    windows, raws, log_probs, moves, rewards, alive = [run.window], [], [], [], [], []
    std, scale = policy.log_std.exp(), policy.features.command_scale
    for t in range(len(noise)):
        raw = policy.mean(*run.window) + std * noise[t]
        command = policy.squash(raw)
        change = ((command - run.window.command[:, -1]) / scale).square().sum(dim=1)
        if command.requires_grad:
            command.register_hook(partial(bound_outliers, largest=outlier_clip))
        alive.append(run.alive)
        moves.append(advance(run, task, command))
        raws.append(raw)
        log_probs.append((-0.5 * noise[t].square() - policy.log_std).sum(dim=1))
        # entropy of a Gaussian less a constant, and log(1 - tanh(raw)^2), which tells what squashing takes away
        lost = 2.0 * (math.log(2.0) - raw - softplus(-2.0 * raw))
        bonus = shaping.entropy * (policy.log_std + lost).sum(dim=1) - shaping.smoothness * change
        if shaping.novelty is not None:
            bonus = bonus + shaping.curiosity * shaping.novelty(run.window.state[:, -1])
        rewards.append(moves[-1].reward + bonus * alive[-1])
        windows.append(run.window)
    ends, survival = torch.stack([move.terminated for move in moves]), torch.stack([move.survival for move in moves])
    return Transitions(
        windows, torch.stack(raws), torch.stack(log_probs), torch.stack(rewards), ends, torch.stack(alive), survival
    )


@torch.no_grad()
def episode_returns(
    act: Callable[[Tensor, Tensor], Tensor],
    worlds: WorldsPort,
    task: Task,
    windows: History,
    seed: int,
    steps: int | None = None,
) -> Tensor:
    """[N] undiscounted return: the sum of rewards until termination, the task's horizon or, if given, `steps`."""
    run = begin(worlds, windows, seed)
    total = torch.zeros(worlds.n, device=windows.state.device)
    horizon = task.horizon_steps(worlds.spec)
    for _ in range(horizon if steps is None else min(steps, horizon)):
        total += advance(run, task, act(*run.window)).reward
        if not run.alive.any():
            break
    return total
