"""First-order policy learning: gradients of the return through a short window of the simulator, closed by a
learned value.

After Xu et al. 2022 (short-horizon actor-critic, arXiv:2204.07137), with world weights towards the worse tail. The
update
holds no worlds of its own and draws no hypotheses; the trainer does.
"""

import math

import torch
from torch import Tensor

from policy.config import PolicyConfig
from policy.learner import Learner
from policy.ports import History
from policy.rollout import Run, Transitions, collect
from policy.targets import td_lambda
from policy.windows import join
from storage.contracts.task import Task


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
    """One policy update and the value updates that follow. Moves `runs` on by `steps` and cuts them from the graph.

    With `compare`, `agreement` is the cosine between the gradients of two halves of the worlds: its signal-to-noise
    ratio is agreement / (1 - agreement).
    """
    learner.actor.zero_grad()
    halves: list[list[Tensor]] = []
    inputs: list[History] = []
    targets: list[Tensor] = []
    gained = 0.0
    shaping = learner.shaping(config)
    for run in runs:
        run.detach()
        noise = torch.randn(steps, run.worlds.n, run.window.command.shape[2], generator=generator).to(run.alive.device)
        seen = collect(run, learner.policy, task, noise, config.outlier_clip, shaping)
        if compare:
            halves.append(_half_gradient(learner, seen, config))
        loss = actor_loss(learner, seen, config) / len(runs)
        loss.backward()
        windows, target = value_targets(learner, seen, config)
        inputs.append(windows)
        targets.append(target)
        gained += float(seen.reward.detach().mean()) / len(runs)
    whole = [p.grad.clone() for p in learner.actor.parameters if p.grad is not None] if compare else []
    norm = learner.actor.clip(config.gradient_clip)
    if math.isfinite(norm):
        learner.actor.step()
        with torch.no_grad():
            learner.policy.log_std.clamp_(-3.0, 0.0)
    error = fit_value(learner, join(inputs), learner.rescale(torch.cat(targets)), config, generator)
    found = {"reward": gained, "gradient_norm": norm, "value_error": error}
    return found | ({"agreement": _agreement(whole, halves)} if compare else {})


def _half_gradient(learner: Learner, seen: Transitions, config: PolicyConfig) -> list[Tensor]:
    """The gradient that every other world gives, per parameter of the policy."""
    even = (torch.arange(seen.reward.shape[1], device=seen.reward.device) % 2 == 0).to(seen.reward.dtype)
    loss = actor_loss(learner, seen, config, even)
    return list(torch.autograd.grad(loss, learner.actor.parameters, retain_graph=True, allow_unused=False))


def _agreement(whole: list[Tensor], halves: list[list[Tensor]]) -> float:
    """Cosine between the gradient of one half of the worlds and that of the other: `whole` is the mean of both."""
    one = torch.cat([sum(parts).flatten() / len(halves) for parts in zip(*halves, strict=True)])
    both = torch.cat([part.flatten() for part in whole])
    other = 2.0 * both - one
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def actor_loss(learner: Learner, seen: Transitions, config: PolicyConfig, share: Tensor | None = None) -> Tensor:
    """Minus the weighted mean over worlds of the window's discounted return, closed by the target value, per step.

    `share` [N] are further weights of the worlds.
    """
    steps = seen.reward.shape[0]
    powers = learner.discount ** torch.arange(steps, device=seen.reward.device)
    alive_after = seen.alive[-1] & ~seen.terminated[-1]
    survived = torch.cumprod(seen.survival, dim=0)
    before = torch.cat([torch.ones_like(survived[:1]), survived[:-1]])
    closing = learner.discount**steps * learner.target(*seen.windows[-1]) * alive_after * survived[-1]
    gain = (powers[:, None] * seen.reward * before).sum(dim=0) * learner.reward_scale + closing
    with torch.no_grad():
        surprise = gain - learner.target(*seen.windows[0])
        weight = tail_weights(surprise, config.tail_fraction, config.tail_weight) * seen.alive[0]
        weight = weight if share is None else weight * share
    loss: Tensor = -(weight * gain).sum() / weight.sum().clamp_min(1.0) / steps**0.5
    return loss


def tail_weights(outcome: Tensor, fraction: float, extra: float) -> Tensor:
    """[N] weights: 1, and 1 + extra for the worst `fraction` of `outcome` [N]."""
    worst = outcome <= torch.quantile(outcome, fraction)
    return 1.0 + extra * worst.to(outcome.dtype)


@torch.no_grad()
def value_targets(learner: Learner, seen: Transitions, config: PolicyConfig) -> tuple[History, Tensor]:
    """Windows [M, K, ...] of the steps that counted and their TD(lambda) targets [M]."""
    every = join([History(w.state.detach(), w.command.detach()) for w in seen.windows[1:]])
    next_value = learner.target(*every).reshape(seen.reward.shape)
    reward = seen.reward.detach() * learner.reward_scale
    target = td_lambda(reward, next_value, seen.terminated, seen.terminated, learner.discount, config.trace)
    before = join([History(w.state.detach(), w.command.detach()) for w in seen.windows[:-1]])
    counted = seen.alive.flatten()
    return History(before.state[counted], before.command[counted]), target.flatten()[counted]


def fit_value(
    learner: Learner, windows: History, target: Tensor, config: PolicyConfig, generator: torch.Generator
) -> float:
    """`critic_steps` gradient steps on random halves, then the target network follows. Returns the last squared
    error."""
    error = torch.zeros(())
    n = target.shape[0]
    features = learner.value.features(*windows)
    for _ in range(config.critic_steps if n else 0):
        index = torch.randperm(n, generator=generator)[: max(1, n // 2)].to(target.device)
        error = (learner.value.body(features[index])[:, 0] - target[index]).square().mean()
        learner.critic.zero_grad()
        error.backward()
        learner.critic.clip(config.gradient_clip)
        learner.critic.step()
    with torch.no_grad():
        for slow, fast in zip(learner.target.parameters(), learner.value.parameters(), strict=True):
            slow.lerp_(fast, config.target_rate)
    return float(error.detach())
