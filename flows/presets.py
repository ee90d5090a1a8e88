"""Named settings. tests/benchmarks/LOG.md has the trials that they come from, and what those were made on."""

from typing import Literal

from flows.campaign_config import CampaignConfig, CollectionConfig
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig

Preset = Literal["standard", "quick"]


def campaign_config(robot: str, *, fleet: int, seed: int, preset: Preset = "standard") -> CampaignConfig:
    """`standard`: an iteration of a small robot takes about two minutes on two cores. `quick` learns nothing worth
    having; it walks through every step of the loop within a minute, to see that an installation works.
    """
    if preset == "quick":
        return CampaignConfig(
            robot=robot, fleet=fleet, seed=seed,
            collection=CollectionConfig(evaluation_episodes=2, exploration_episodes=1, held_out_episodes=1),
            simulator=SimulatorConfig(updates=60, warm_updates=40, checkpoint_every=10, members=2),
            policy=PolicyConfig(updates=24, worlds=16, windows=4, evaluate_every=8, evaluation_worlds=8),
        )  # fmt: skip
    return CampaignConfig(
        robot=robot,
        fleet=fleet,
        seed=seed,
        # The robots of a campaign share their scales, so nothing is gained from varying them.
        simulator=SimulatorConfig(updates=400, warm_updates=250, jitter=0.0),
        policy=PolicyConfig(updates=200),
    )


def simulator_config(*, seed: int = 0, updates: int | None = None) -> SimulatorConfig:
    """For imported logs: trained once, on everything there is."""
    return SimulatorConfig(seed=seed, updates=updates or 2500)
