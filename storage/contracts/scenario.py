"""A scenario: a behavioural unit test that runs in the simulator, and what came of it.

A scenario holds everything but the simulator and the policy, so that equal scenarios, simulators, policies and seeds
give equal results. This module runs nothing.
"""

from typing import Literal

from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.channel import Role
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.expression import Expression
from storage.contracts.robot import RobotSpec

When = Literal["always", "eventually", "never", "end"]
Rows = tuple[tuple[float, ...], ...]


class PromptRef(Contract):
    """What the simulator is told about the robot: its specification, episodes by digest, operators' notes."""

    robot: RobotSpec
    episodes: tuple[str, ...] = ()
    notes: str = ""


class Past(Contract):
    """A window of log before the scenario begins: `state` [H + 1, S], the last row is the start; `command` [H, C]."""

    state: Rows
    command: Rows

    @model_validator(mode="after")
    def _consistent(self) -> "Past":
        if len(self.state) != len(self.command) + 1:
            raise ContractError(
                f"the past has {len(self.state)} states and {len(self.command)} commands; one command acts between "
                "two states"
            )
        return self


class Disturbance(Contract):
    """From `from_s` to `to_s` an exogenous channel has `value`, or `value` is added to what a command channel is
    told."""

    channel: str
    value: float
    from_s: float = Field(default=0.0, ge=0)
    to_s: float | None = None


class Check(Contract):
    """`expression` over channels holds `always`, `eventually`, `never` or at the `end` of the window from `from_s` to
    `to_s` (None: the end), in at least `share` of the sampled worlds.

    Angles are within [-pi, pi) and sensors have no noise here: it is what the robot does that is checked.
    """

    expression: str
    when: When = "always"
    share: float = Field(default=1.0, gt=0, le=1)
    from_s: float = Field(default=0.0, ge=0)
    to_s: float | None = None
    name: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Check":
        Expression(self.expression)
        if self.to_s is not None and self.to_s < self.from_s:
            raise ContractError(f"check '{self.title}': its window ends at {self.to_s} s, before {self.from_s} s")
        return self

    @property
    def title(self) -> str:
        return self.name or f"{self.when} {self.expression}"


class Scenario(Contract):
    """A behavioural unit test.

    It begins after `past`, or at `start` (state channel -> value, others 0), or, with neither, where episodes of this
    robot begin. `commands` [T, C] drive, then the safe command; a policy that the test is run with drives instead.
    `policy` names the one to run with when nobody says another.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,119}$")
    description: str = ""
    prompt: PromptRef
    edits: dict[str, str] = Field(default_factory=dict)
    start: dict[str, float] = Field(default_factory=dict)
    past: Past | None = None
    commands: Rows = ()
    policy: str | None = None
    disturbances: tuple[Disturbance, ...] = ()
    checks: tuple[Check, ...] = Field(min_length=1)
    worlds: int = Field(default=64, ge=1, le=100_000)
    duration_s: float = Field(gt=0, le=3600)
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> "Scenario":
        spec = self.prompt.robot
        states, inputs = spec.state_layout, spec.command_layout
        usable = {channel.name for channel in (*states.channels, *inputs.channels)}
        for name in self.start:
            if name not in states:
                raise ContractError(str(UnknownName("state channel in start", name, [c.name for c in states.channels])))
        for check in self.checks:
            for name in sorted(Expression(check.expression).names - usable):
                raise ContractError(str(UnknownName(f"channel in check '{check.title}'", name, usable)))
            if check.from_s > self.duration_s:
                raise ContractError(
                    f"check '{check.title}' begins at {check.from_s} s, after the scenario's {self.duration_s} s"
                )
        disturbed = {c.name for c in (*spec.by_role(Role.EXOGENOUS), *spec.by_role(Role.COMMAND))}
        for disturbance in self.disturbances:
            if disturbance.channel not in disturbed:
                raise ContractError(str(UnknownName("channel to disturb", disturbance.channel, disturbed)))
        if self.start and self.past is not None:
            raise ContractError(f"scenario '{self.name}': give 'start' or 'past', not both")
        widths = {"commands": (self.commands, inputs.width)}
        if self.past is not None:
            widths |= {
                "past.state": (self.past.state, states.width),
                "past.command": (self.past.command, inputs.width),
            }
        for what, (rows, width) in widths.items():
            if any(len(row) != width for row in rows):
                raise ContractError(f"scenario '{self.name}': every row of {what} should have {width} values")
        return self


class CheckResult(Contract):
    """`held` of `n` worlds satisfied the check, `ci95` is Wilson's interval of that share; `first_failure_s` is when
    the first world broke an `always` or a `never`."""

    title: str
    expression: str
    when: When
    wanted: float
    held: int
    n: int
    share: float
    ci95: tuple[float, float]
    passed: bool
    first_failure_s: float | None = None


class ScenarioResult(Contract):
    """What came of a scenario. `trajectories` is the SHA-256 of all sampled states and commands: equal runs are equal
    to the bit."""

    scenario: str
    name: str
    simulator: str
    policy: str | None = None
    seed: int
    worlds: int
    checks: tuple[CheckResult, ...]
    trajectories: str
    passed: bool
