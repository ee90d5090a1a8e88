"""The configuration of a campaign: everything that its results depend on, and nothing else."""

from pydantic import Field

from policy.config import PolicyConfig
from simulator.config import SimulatorConfig
from storage.contracts.base import Contract

HORIZONS_S = (0.1, 0.5, 1.0)


class CollectionConfig(Contract):
    """What each robot records. Episodes; noise is a share of half the command range."""

    evaluation_episodes: int = Field(default=8, ge=1)
    exploration_episodes: int = Field(default=2, ge=0)
    exploration_noise: float = Field(default=0.3, ge=0, le=2)
    excitation_episodes: int = Field(default=1, ge=1)
    excitation_noise: float = Field(default=0.6, ge=0, le=2)
    held_out_episodes: int = Field(default=3, ge=1)
    noise_time_constant_s: float = Field(default=0.2, gt=0)


class CampaignConfig(Contract):
    """Arguments of `bootstrap`. Budgets count steps and episodes, never seconds, so that equal arguments give equal
    digests.
    """

    robot: str
    fleet: int = Field(default=3, ge=1, le=64)
    seed: int = 0
    collection: CollectionConfig = CollectionConfig()
    simulator: SimulatorConfig = SimulatorConfig()
    policy: PolicyConfig = PolicyConfig()
    parent: str | None = Field(default=None, exclude_if=lambda digest: digest is None)
    """Digest of the simulator that the first iteration's training begins with; None: from chance."""
    population: int = Field(default=2, ge=1, le=64)
    """Policies trained side by side from different seeds, of which the best on withheld hypotheses is taken."""
