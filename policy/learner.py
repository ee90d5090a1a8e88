"""Networks and optimisers of one training run, made for a robot and a task.

Steps no worlds; `policy.survey` does, for scales where the specification has none.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policy.adam import Adam
from policy.config import PolicyConfig
from policy.features import Scales, scales_of
from policy.network import PolicyNetwork, ValueNetwork
from policy.novelty import Novelty
from policy.ports import ScenePort
from policy.rollout import Shaping
from policy.survey import Survey, survey
from policy.windows import LoggedStarts
from storage.contracts.errors import InputError
from storage.contracts.task import Task

TARGET_SPREAD = (0.25, 1.0)
"""The standard deviation of scaled returns is kept between these."""
MOST_RESCALING = 100.0


@dataclass
class Learner:
    """`reward_scale` brings discounted returns to order one, whatever the task's rewards; see `rescale`."""

    policy: PolicyNetwork
    value: ValueNetwork
    target: ValueNetwork
    actor: Adam
    critic: Adam
    discount: float
    reward_scale: float
    largest_scale: float
    novelty: Novelty | None = None

    @property
    def reward_unit(self) -> float:
        """A typical difference of rewards per step, in the task's own unit."""
        return self.unit_of(self.reward_scale)

    def unit_of(self, scale: float) -> float:
        return 0.5 * (1.0 - self.discount) / scale

    def shaping(self, config: PolicyConfig) -> Shaping:
        """The weights of `config` in the task's unit, as it is scaled now."""
        unit, first = self.reward_unit, self.unit_of(self.largest_scale / MOST_RESCALING)
        # What novelty is worth does not shrink with it when the scale follows, as it would where nothing else is paid.
        return Shaping(config.smoothness * unit, config.entropy * unit, config.curiosity * first, self.novelty)

    @torch.no_grad()
    def rescale(self, target: Tensor) -> Tensor:
        """`target` [M] in new units, if its spread asks for new ones; the values say the same in them.

        Rewards grow by orders of magnitude while a policy learns (van Hasselt et al. 2016, arXiv:1602.07714).
        """
        low, high = TARGET_SPREAD
        spread = float(target.std()) if len(target) > 1 else low
        if low <= spread <= high or spread == 0.0:
            return target
        before = self.reward_scale
        self.reward_scale = min(before * (low * high) ** 0.5 / spread, self.largest_scale)
        factor = self.reward_scale / before
        for network in (self.value, self.target):
            for parameter in network.body[-1].parameters():
                parameter.mul_(factor)
        return target * factor

    def set_rates(self, config: PolicyConfig, share: float, *, warm: bool = False) -> None:
        """Learning rates when `share` [0, 1] of the budget is spent.

        With `warm` the policy is an earlier one and the value is new: the policy waits until the value has learned
        what it is worth, or the first gradients would ruin it.
        """
        left = 1.0 - (1.0 - config.final_rate_share) * share
        waits = warm and share < config.value_first_share
        self.actor.rate = 0.0 if waits else config.actor_rate * left
        self.critic.rate = config.critic_rate * left


def make_learner(
    scenes: Sequence[ScenePort],
    task: Task,
    config: PolicyConfig,
    starts: LoggedStarts | None,
    warm_start: PolicyNetwork | None,
    device: torch.device,
) -> tuple[Survey, Learner]:
    """What was seen of the scenes' robot, and fresh networks for it, or the policy of `warm_start`. Raises InputError
    if shapes differ."""
    surveyed = survey(scenes, task, config, device, starts)
    spec, states = surveyed.spec, surveyed.reached.windows.state[:, -1]
    commands = torch.zeros(0, len(spec.safe))
    if starts is not None and len(starts):
        states = torch.cat([states, starts.windows.state.flatten(0, 1)])
        commands = torch.cat([commands, starts.windows.command.flatten(0, 1)])
    scales = scales_of(spec, states.numpy(), commands.numpy())
    if warm_start is not None:
        scales = _scales_in(warm_start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        policy = PolicyNetwork(scales, config.history_steps, config.width, config.depth, config.exploration)
        value = ValueNetwork(scales, config.history_steps, config.width, config.depth)
    if warm_start is not None:
        _copy_policy(warm_start, policy)
    policy, value = policy.to(device), value.to(device)
    discount = config.discount(spec.control_rate_hz, task.horizon_s)
    betas = (0.7, 0.95)  # SHAC's own
    scale = (1.0 - discount) / max(1.0, surveyed.reach)
    novelty = None
    if config.curiosity and starts is not None and len(starts):
        novelty = Novelty.of(starts, torch.Generator().manual_seed(config.seed)).to(device)
    return surveyed, Learner(
        policy,
        value,
        deepcopy(value).requires_grad_(False),
        Adam(policy.parameters(), config.actor_rate, betas),
        Adam(value.parameters(), config.critic_rate, betas),
        discount,
        scale,
        MOST_RESCALING * scale,
        novelty,
    )


def _scales_in(policy: PolicyNetwork) -> Scales:
    """The constants inside a trained policy: a warm start keeps them, else its weights would mean something else."""
    features = policy.features
    angle = np.zeros(len(features.state_centre), dtype=bool)
    angle[features.angle_columns.cpu().numpy()] = True
    names = ("state_centre", "state_scale", "command_centre", "command_scale")
    return Scales(**{name: getattr(features, name).cpu().double().numpy() for name in names}, angle=angle)


def _copy_policy(source: PolicyNetwork, policy: PolicyNetwork) -> None:
    before = {name: tuple(t.shape) for name, t in source.state_dict().items()}
    after = {name: tuple(t.shape) for name, t in policy.state_dict().items()}
    if before != after:
        differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        shown = ", ".join(f"{name} {before.get(name)} against {after.get(name)}" for name in differing[:3])
        raise InputError(
            f"the warm start has another shape than the settings ask for: {shown}; "
            "keep history_steps, width and depth of the earlier policy"
        )
    policy.load_state_dict(source.state_dict())
