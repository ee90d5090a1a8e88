"""A task: what is wanted of a robot, as expressions over channels or as logged channels that the simulator predicts.

The reward of interval t is a function of the state that the interval ended in and of the command that acted in it.
Reaching `horizon_s` truncates an episode, it never terminates it.
"""

from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.channel import Channel, Role
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.expression import Expression
from storage.contracts.robot import RobotSpec


class Task(Contract):
    """Exactly one of `reward` (expression) and `reward_channel` (logged, learned); at most one of the termination pair.

    `start` gives, per state channel, the range from which its first value is drawn uniformly (all its columns alike);
    channels without a range start at 0. It is the start distribution until logs teach a better one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,79}$")
    reward: str | None = None
    reward_channel: str | None = None
    terminated: str | None = None
    terminated_channel: str | None = None
    horizon_s: float = Field(gt=0)
    start: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        if (self.reward is None) == (self.reward_channel is None):
            raise ContractError(
                f"task '{self.name}': give either 'reward' (an expression) or 'reward_channel', and not both"
            )
        if self.terminated is not None and self.terminated_channel is not None:
            raise ContractError(f"task '{self.name}': give 'terminated' or 'terminated_channel', not both")
        for text in (self.reward, self.terminated):
            if text is not None:
                Expression(text)
        return self

    def check(self, spec: RobotSpec) -> None:
        """Raises UnknownName for a channel that the robot does not have, ContractError for a wrong component of one."""
        states = {c.name for c in spec.by_role(Role.STATE)}
        for name in sorted(self.start.keys() - states):
            raise UnknownName(f"state channel in the start of task '{self.name}'", name, states)
        usable = states | {c.name for c in spec.by_role(Role.COMMAND)}
        used = {name for text in (self.reward, self.terminated) if text is not None for name in Expression(text).names}
        for name in sorted(used - usable):
            raise UnknownName(f"channel in task '{self.name}'", name, usable)
        for text in (self.reward, self.terminated):
            for name, index in sorted(Expression(text).uses, key=str) if text is not None else ():
                self._check_component(spec.channel(name), index)
        for logged in (self.reward_channel, self.terminated_channel):
            if logged is not None:
                spec.channel(logged)

    def _check_component(self, channel: Channel, index: int | None) -> None:
        if channel.size == 1 and index is not None:
            raise ContractError(f"task '{self.name}': '{channel.name}' has one component; write it without [{index}]")
        if channel.size > 1 and (index is None or index >= channel.size):
            raise ContractError(
                f"task '{self.name}': '{channel.name}' has {channel.size} components; choose one by "
                f"{channel.name}[0] to {channel.name}[{channel.size - 1}]"
            )

    def horizon_steps(self, spec: RobotSpec) -> int:
        return max(1, round(self.horizon_s * spec.control_rate_hz))

    @cached_property
    def _reward(self) -> Expression | None:
        return Expression(self.reward) if self.reward is not None else None

    @cached_property
    def _terminated(self) -> Expression | None:
        return Expression(self.terminated) if self.terminated is not None else None

    def reward_of(self, spec: RobotSpec, state: Any, command: Any, xp: ModuleType) -> Any:
        """Reward [...] of arriving in `state` [..., S] under `command` [..., C]; `xp` is numpy or torch.

        Raises ContractError when the reward is a logged channel: then the simulator predicts it.
        """
        if self._reward is None:
            raise ContractError(f"task '{self.name}' has a logged reward channel; it has no expression to evaluate")
        return self._reward(columns(spec, state, command), xp) + 0.0 * state[..., 0]

    def terminated_of(self, spec: RobotSpec, state: Any, command: Any, xp: ModuleType) -> Any:
        """Boolean [...]: did the episode end in `state`. False everywhere without an expression."""
        if self._terminated is None:
            return xp.zeros_like(state[..., 0]) > 0
        return xp.logical_and(
            xp.asarray(self._terminated(columns(spec, state, command), xp)), state[..., 0] == state[..., 0]
        )


def columns(spec: RobotSpec, state: Any, command: Any) -> Mapping[str, Any]:
    """Channel name -> [...] (size 1) or [..., size] of state [..., S] and command [..., C], numpy or torch."""
    found: dict[str, Any] = {}
    for layout, array in ((spec.state_layout, state), (spec.command_layout, command)):
        for channel in layout.channels:
            part = array[..., layout[channel.name]]
            found[channel.name] = part[..., 0] if channel.size == 1 else part
    return found
