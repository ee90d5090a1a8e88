"""Named settings. tests/benchmarks/LOG.md has the trials that they come from, and what those were made on."""

from typing import Literal

from flows.campaign_config import CampaignConfig, CollectionConfig
from flows.fleet import ENVIRONMENTS
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig

Preset = Literal["standard", "quick"]

UNNAMED_SIMULATOR = SimulatorConfig(
    updates=500, warm_updates=250, rows=1024, max_batch=256, jitter=0.0, history_s=0.05, delay_s=0.0
)
"""For environments, whose robots are all alike: one robot's scales, no delay, no sensor that has to be filtered."""
UNNAMED_POLICY = PolicyConfig(
    updates=300,
    horizon_steps=48,
    windows=4,
    history_steps=2,
    evaluate_every=24,
    patience=6,
    actor_rate=5e-3,
    critic_rate=5e-3,
    smoothness=0.5,
    entropy=0.1,
    start_share=0.1,
    wide_share=0.8,
    good_share=0.0,
)
"""For robots of unnamed channels: few of the starts that an environment draws are in any log, so most worlds begin
elsewhere, and rewards that nobody shaped want slower rates and commands that do not saturate early."""


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
    if robot.partition(":")[0] in ENVIRONMENTS:
        return CampaignConfig(
            robot=robot, fleet=fleet, seed=seed, simulator=UNNAMED_SIMULATOR, policy=UNNAMED_POLICY
        )  # fmt: skip
    return CampaignConfig(
        robot=robot,
        fleet=fleet,
        seed=seed,
        # The robots of a campaign share their scales, so nothing is gained from varying them.
        simulator=SimulatorConfig(updates=400, warm_updates=250, jitter=0.0),
        policy=PolicyConfig(updates=400, worlds=64),
    )


def simulator_config(*, seed: int = 0, updates: int | None = None) -> SimulatorConfig:
    """For imported logs: trained once, on everything there is."""
    return SimulatorConfig(seed=seed, updates=updates or 2500, warm_updates=updates or 750)
