"""What a robot is asked to do: a plan of episodes, and the assignment that carries it with its policy.

These are the JSON bodies that the API serves and the flows write. This module does not run them.
"""

from typing import Literal

from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.bundles import PolicyManifest
from storage.contracts.errors import ContractError
from storage.contracts.task import Task

Purpose = Literal["evaluation", "exploration", "excitation", "random"]
POLICY_PURPOSES = ("evaluation", "exploration")


class Noise(Contract):
    """Ornstein-Uhlenbeck noise on the command; `std` is a share of each command's half range."""

    std: float = Field(ge=0, le=4)
    time_constant_s: float = Field(default=0.2, gt=0, le=60)


class PlannedEpisode(Contract):
    """One episode. `seed` drives the noise of commands and of stand-ins; `start` is state channel -> value."""

    index: int = Field(ge=0, lt=1_000_000)
    seed: int = Field(ge=0, lt=2**63)
    start: dict[str, float] = Field(default_factory=dict)
    duration_s: float = Field(gt=0, le=3600)
    purpose: Purpose
    noise: Noise | None = None


class Plan(Contract):
    """The episodes of one assignment, run in the order of their index."""

    task: Task
    episodes: tuple[PlannedEpisode, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _distinct(self) -> "Plan":
        indices = [e.index for e in self.episodes]
        if len(set(indices)) != len(indices):
            raise ContractError(f"plan: episode indices occur twice: {sorted(indices)[:20]}")
        return self


class Assignment(Contract):
    """What GET /robots/{serial}/assignment answers. `policy` is the digest of the manifest; None: excitation alone."""

    id: int
    key: str
    robot: str
    plan: Plan
    policy: str | None = None
    manifest: PolicyManifest | None = None
    onnx_url: str | None = None
    campaign: str | None = None
    iteration: int | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Assignment":
        if self.policy is not None and (self.manifest is None or self.onnx_url is None):
            raise ContractError(
                f"assignment '{self.key}' names policy {self.policy[:12]} but brings no manifest or URL"
            )
        needs = [e.index for e in self.plan.episodes if e.purpose in POLICY_PURPOSES]
        if self.policy is None and needs:
            raise ContractError(f"assignment '{self.key}': episodes {needs[:10]} need a policy, and there is none")
        return self
