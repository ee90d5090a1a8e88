"""The settings of policy training. Budgets count updates, never seconds. This module reads no files."""

from typing import Literal

from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError

_HORIZON_SHARE, _MOST_PERIODS = 0.2, 200.0
_COMPILED_FROM = 10_000
"""Control periods of training from which on compiling pays: half a minute for 2 ms each."""


class PolicyConfig(Contract):
    """Settings of `train_policy`. Times are in seconds so that one setting fits robots of any control rate."""

    seed: int = 0
    algorithm: Literal["shac", "ppo"] = "shac"
    updates: int = Field(default=400, ge=1)
    """Gradient updates of the policy: the budget."""
    worlds: int = Field(default=128, ge=2)
    """Worlds stepped together, over all scenes."""
    horizon_steps: int = Field(default=32, ge=1, le=512)
    """Control periods between two updates, at first; gradients pass through this many steps."""
    adaptive: bool = False
    """Whether the horizon of the first-order trainer follows the agreement of the gradients of two halves of the
    worlds: halved where they have little in common, doubled where much, from a quarter to twice `horizon_steps`. Off,
    because what was measured is worse with it (`tests/benchmarks/LOG.md`)."""
    windows: int = Field(default=8, ge=1)
    """Updates made on one draw of hypotheses; then fresh hypotheses and fresh starts are drawn."""
    history_steps: int = Field(default=5, ge=1, le=256)
    width: int = Field(default=64, ge=4, le=1024)
    depth: int = Field(default=2, ge=1, le=6)
    discount_time_s: float | None = Field(default=None, gt=0)
    """Rewards this far ahead count 1/e; None: a fifth of the task's horizon, at most 200 control periods."""
    trace: float = Field(default=0.95, ge=0, le=1)
    """Lambda of TD(lambda) and of the generalised advantage."""
    actor_rate: float = Field(default=1e-2, gt=0)
    critic_rate: float = Field(default=1e-2, gt=0)
    value_first_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the updates in which only the value learns, when training goes on from an earlier policy."""
    final_rate_share: float = Field(default=0.1, gt=0, le=1)
    """Learning rates fall linearly to this share of their start."""
    critic_steps: int = Field(default=8, ge=1)
    target_rate: float = Field(default=0.2, gt=0, le=1)
    """Share of the new value network that enters the target network after each update."""
    gradient_clip: float = Field(default=1.0, gt=0)
    outlier_clip: float = Field(default=3.0, gt=0)
    """A world's gradient counts at most this many times the median world's."""
    exploration: float = Field(default=0.4, gt=0, le=2)
    """First standard deviation of the command before squashing, in half ranges."""
    smoothness: float = Field(default=0.005, ge=0)
    """Penalty per unit of squared change of command, in half ranges, relative to the reward scale."""
    entropy: float = Field(default=0.0, ge=0, exclude_if=lambda weight: weight == 0.0)
    """Worth of one nat of the command's entropy (less a constant), relative to the reward scale: it keeps commands from
    saturating before the value has learned what lies behind a hill (a pendulum that must swing back first)."""
    curiosity: float = Field(default=0.0, ge=0, exclude_if=lambda weight: weight == 0.0)
    """Worth of a state unlike any logged one, relative to the usual reward, for policies that explore."""
    tail_fraction: float = Field(default=0.25, gt=0, le=1)
    tail_weight: float = Field(default=0.5, ge=0)
    """Extra weight of the worlds whose outcome lies in the worst `tail_fraction`; 0 is the plain mean."""
    start_share: float = Field(default=0.4, gt=0, le=1)
    """Share of the worlds that begin as the task begins; the others begin in logged or visited states."""
    wide_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the worlds that begin in states drawn from the whole range of each channel."""
    good_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the worlds that begin in the most rewarding of such states."""
    evaluate_every: int = Field(default=48, ge=1)
    """Updates between two evaluations on withheld hypotheses, at the least; they are made between two draws."""
    evaluation_worlds: int = Field(default=32, ge=2)
    evaluation_steps: int = Field(default=400, ge=1)
    """Evaluations that choose a policy stop after this many control periods; the final one runs whole episodes."""
    pessimism: float = Field(default=0.5, ge=0)
    """Value of a policy = mean return - pessimism * standard deviation over withheld hypotheses."""
    compiled: bool | None = None
    """Whether the worlds of training are compiled (see `simulator.compiled`); None: where the budget is long enough to
    make up for the time that takes."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better value; None spends the whole budget."""

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyConfig":
        if self.algorithm == "ppo" and self.worlds * self.horizon_steps < 64:
            raise ContractError(f"ppo needs worlds * horizon_steps >= 64, given {self.worlds} * {self.horizon_steps}")
        return self

    @property
    def compiles(self) -> bool:
        long = self.updates * self.horizon_steps >= _COMPILED_FROM
        return long if self.compiled is None else self.compiled

    def discount(self, control_rate_hz: float, horizon_s: float) -> float:
        """Discount per control period, for a task of `horizon_s` seconds."""
        time_s = self.discount_time_s
        if time_s is None:
            time_s = min(_HORIZON_SHARE * horizon_s, _MOST_PERIODS / control_rate_hz)
        return max(0.0, 1.0 - 1.0 / (time_s * control_rate_hz))
