"""Zeroth-order policy learning: proximal policy optimisation with generalised advantages, batched over worlds.

Schulman et al. 2017 (arXiv:1707.06347), clipped surrogate. For worlds whose gradients say nothing, such as rewards that
are near-binary. It shares worlds, value targets and value network with `policy.shac`; no Python per world.
"""

import torch
from torch import Tensor

from policy.config import PolicyConfig
from policy.learner import Learner
from policy.ports import History
from policy.rollout import Run, Transitions, collect
from policy.shac import fit_value, value_targets
from policy.targets import advantages
from policy.windows import join, pick
from storage.contracts.task import Task

CLIP = 0.2
PASSES = 4
PARTS = 4
RATE_SHARE = 0.2
"""A likelihood ratio bears a smaller rate than a gradient through the worlds."""


def update(
    learner: Learner,
    runs: list[Run],
    task: Task,
    config: PolicyConfig,
    steps: int,
    generator: torch.Generator,
    *,
    compare: bool = False,
) -> dict[str, float]:
    """One collection of `steps` and PASSES passes over it, then the value updates. Moves `runs` on. No gradient passes
    through the worlds, so there is nothing to `compare`."""
    del compare
    shaping = learner.shaping(config)
    windows, raws, old, gains, inputs, targets = [], [], [], [], [], []
    gained = 0.0
    for run in runs:
        noise = torch.randn(steps, run.worlds.n, run.window.command.shape[2], generator=generator).to(run.alive.device)
        with torch.no_grad():
            seen = collect(run, learner.policy, task, noise, config.outlier_clip, shaping)
            counted = seen.alive.flatten()
            windows.append(pick(join(seen.windows[:-1]), counted))
            raws.append(seen.raw.flatten(0, 1)[counted])
            old.append(seen.log_prob.flatten()[counted])
            gains.append(_advantage(learner, seen, config).flatten()[counted])
        window, target = value_targets(learner, seen, config)
        inputs.append(window)
        targets.append(target)
        gained += float(seen.reward.mean()) / len(runs)
    norm = _improve(learner, join(windows), torch.cat(raws), torch.cat(old), torch.cat(gains), config, generator)
    error = fit_value(learner, join(inputs), learner.rescale(torch.cat(targets)), config, generator)
    return {"reward": gained, "gradient_norm": norm, "value_error": error}


def _advantage(learner: Learner, seen: Transitions, config: PolicyConfig) -> Tensor:
    """[T, N] generalised advantages under the target value."""
    value = learner.target(*join(seen.windows)).reshape(len(seen.windows), -1)
    ends = seen.terminated
    reward = seen.reward * learner.reward_scale
    return advantages(reward, value[:-1], value[1:], ends, ends, learner.discount, config.trace)


def _improve(
    learner: Learner,
    windows: History,
    raw: Tensor,
    old: Tensor,
    gain: Tensor,
    config: PolicyConfig,
    generator: torch.Generator,
) -> float:
    """Passes of the clipped surrogate over the samples [M]. Returns the last gradient norm."""
    policy, rate, norm = learner.policy, learner.actor.rate, 0.0
    gain = (gain - gain.mean()) / gain.std().clamp_min(1e-8)
    learner.actor.rate = RATE_SHARE * rate
    for _ in range(PASSES):
        for index in torch.randperm(len(gain), generator=generator).to(gain.device).chunk(PARTS):
            learner.actor.zero_grad()
            loss = surrogate(
                log_prob(policy.mean(*pick(windows, index)), policy.log_std, raw[index]) - old[index], gain[index]
            )
            loss.backward()
            norm = learner.actor.clip(config.gradient_clip)
            learner.actor.step()
    learner.actor.rate = rate
    with torch.no_grad():
        policy.log_std.clamp_(-3.0, 0.0)
    return norm


def log_prob(mean: Tensor, log_std: Tensor, raw: Tensor) -> Tensor:
    """[M] log density of the command before squashing, up to a constant; squashing cancels in ratios."""
    found: Tensor = (-0.5 * ((raw - mean) * (-log_std).exp()).square() - log_std).sum(dim=1)
    return found


def surrogate(log_ratio: Tensor, gain: Tensor) -> Tensor:
    """Minus the clipped objective (eq. 7): no reward for moving a ratio beyond 1 +- CLIP in the direction of `gain`."""
    ratio = log_ratio.exp()
    loss: Tensor = -torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
    return loss
