"""Where worlds begin and what drives them, and the trajectories that follow: shared by what-if answers and scenarios.

Worlds of equal seeds in equal situations see equal noise, whatever was edited in their scenes. Nothing is judged here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from simulator.history import History
from simulator.state import WorldState
from simulator.worlds import Worlds
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec

Policy = Callable[[int, Tensor], Tensor]
"""(step t, what the sensors show [N, S]) -> commands [N, C]. Called with t = 0, 1, ...; at 0 it begins anew."""


@dataclass(frozen=True, eq=False)
class Situation:
    """Worlds begin after `history`, or at `start` (state channel -> value, others 0), or, with neither, where training
    episodes began. `policy` drives; without one `commands` [T, C] or [N, T, C], then the safe command. `exogenous`
    [T, X] are known inputs, `push` [T, C] is added to what is commanded; both are 0 after their last row."""

    horizon_s: float
    start: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    history: History | None = None
    commands: Tensor | None = None
    policy: Policy | None = None
    exogenous: Tensor | None = None
    push: Tensor | None = None

    @classmethod
    def of_episode(cls, episode: Episode, row: int, history_rows: int, horizon_s: float | None = None) -> "Situation":
        """After `row` of a log under the commands that were logged: what happened, to be asked about again."""
        rest = (episode.steps - row) / episode.spec.control_rate_hz
        if not history_rows <= row < episode.steps:
            raise InputError(
                f"an episode of {episode.steps} rows cannot be gone into at row {row}; it must be from {history_rows} "
                f"(the history that the simulator reads) to {episode.steps - 1}"
            )
        return cls(
            horizon_s=rest if horizon_s is None else horizon_s,
            history=History.of(episode, np.array([row]), history_rows),
            commands=torch.from_numpy(np.nan_to_num(episode.command[row:])).float(),
            exogenous=torch.from_numpy(np.nan_to_num(episode.exogenous[row:])).float(),
        )

    def steps(self, spec: RobotSpec) -> int:
        steps = round(self.horizon_s * spec.control_rate_hz)
        if steps < 1:
            raise InputError(f"a horizon of {self.horizon_s} s is shorter than one control period of {spec.period_s} s")
        return steps


@dataclass(frozen=True, eq=False)
class Trajectory:
    """`state` [N, T + 1, S] without the sensors' noise, angles within [-pi, pi); `command` [N, T, C] as applied;
    `reward` [N, T] as the simulator predicts a logged one, or None."""

    spec: RobotSpec
    state: Tensor
    command: Tensor
    reward: Tensor | None

    @property
    def n(self) -> int:
        return int(self.state.shape[0])

    def turning(self, reference: Tensor) -> Tensor:
        """`state` with angles continuous in time, all worlds on the turn of `reference` [S]; differentiable."""
        angle = torch.from_numpy(self.spec.state_layout.mask([Kind.ANGLE])).to(self.state.device)
        first = reference + _wrapped(self.state[:, :1] - reference)
        turned = torch.cat([first, first + torch.cumsum(_wrapped(self.state.diff(dim=1)), dim=1)], dim=1)
        return torch.where(angle, turned, self.state)


def run(worlds: Worlds, situation: Situation, seed: int | None = None) -> Trajectory:
    """Trajectories of all worlds. `seed` (default: that of the worlds) draws other noise for the same hypotheses."""
    spec, steps = worlds.spec, situation.steps(worlds.spec)
    _check(situation, worlds)
    state = _begin(worlds, situation, seed)
    safe = torch.from_numpy(spec.safe).float().to(worlds.device)
    limits = torch.from_numpy(spec.command_limits).float().to(worlds.device)
    states, commands, rewards = [worlds.observe(state, noisy=False)], [], []
    for t in range(steps):
        asked = _asked(situation, worlds, state, t, safe) + _row(situation.push, t, 0.0)
        acting = torch.clamp(torch.where(asked.isfinite(), asked, safe), limits[:, 0], limits[:, 1])
        extra = None if situation.exogenous is None else _row(situation.exogenous, t, 0.0).expand(worlds.n, -1)
        state, outcome, _ = worlds.step(state, acting, exogenous=extra)
        states.append(worlds.observe(state, noisy=False))
        commands.append(acting)
        if outcome.reward is not None:
            rewards.append(outcome.reward)
    reward = torch.stack(rewards, dim=1) if rewards else None
    return Trajectory(spec, torch.stack(states, dim=1), torch.stack(commands, dim=1), reward)


def _begin(worlds: Worlds, situation: Situation, seed: int | None) -> WorldState:
    if situation.history is not None:
        return worlds.reset(situation.history, seed=seed)
    exact = {name: (value, value) for name, value in situation.start.items()}
    return worlds.reset(task_start=exact or None, seed=seed)


def _asked(situation: Situation, worlds: Worlds, state: WorldState, t: int, safe: Tensor) -> Tensor:
    if situation.policy is not None:
        answer = situation.policy(t, worlds.observe(state))
        if answer.shape != (worlds.n, len(safe)):
            raise ContractError(f"the policy answered {tuple(answer.shape)}; expected {(worlds.n, len(safe))}")
        return answer
    if situation.commands is None or t >= situation.commands.shape[-2]:
        return safe.expand(worlds.n, -1)
    return situation.commands[..., t, :].to(worlds.device).expand(worlds.n, -1)


def _row(table: Tensor | None, t: int, otherwise: float) -> Tensor:
    if table is None:
        return torch.tensor(otherwise)
    return table[t] if t < len(table) else torch.full_like(table[0], otherwise)


def _check(situation: Situation, worlds: Worlds) -> None:
    widths = {"commands": worlds.spec.command_layout.width, "exogenous": worlds.spec.exogenous_layout.width}
    for name, width in (widths | {"push": widths["commands"]}).items():
        table: Tensor | None = getattr(situation, name)
        if table is not None and (table.shape[-1] != width or table.dim() not in (2, 3)):
            raise ContractError(
                f"{name} have shape {tuple(table.shape)}; expected rows of {width} values, [T, {width}]"
            )


def _wrapped(delta: Tensor) -> Tensor:
    """To [-pi, pi); the gradient is that of `delta`."""
    return delta - (2 * torch.pi) * torch.floor((delta.detach() + torch.pi) / (2 * torch.pi))
