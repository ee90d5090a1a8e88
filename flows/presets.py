"""Named settings: one for quick campaigns on small robots, one for imported logs. Values come from tests/benchmarks/LOG.md."""

from typing import Literal

from flows.campaign_config import CampaignConfig
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig


def campaign_config(robot: str, *, fleet: int, seed: int) -> CampaignConfig:
    """The configuration of `bootstrap`: an iteration of a small robot takes about two minutes on two cores."""
    return CampaignConfig(robot=robot, fleet=fleet, seed=seed, simulator=simulator_config("campaign"), policy=PolicyConfig())


def simulator_config(use: Literal["campaign", "logs"], *, seed: int = 0, steps: int | None = None) -> SimulatorConfig:
    """`campaign` retrains every iteration from the one before; `logs` trains once on what was imported."""
    config = SimulatorConfig(seed=seed)
    return config.model_copy(update={"updates": steps}) if steps is not None else config
