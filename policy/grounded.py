"""Training a policy in a simulator that is grounded in robots by their logs: what a worker does, and a laptop.

The last member of an ensemble trains nothing: policies are chosen and reported by the whole ensemble on hypotheses of
their own, so that what suits only the members it grew up in does not win. This module starts no processes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from policy.config import PolicyConfig
from policy.network import PolicyNetwork
from policy.simulated import SimulatedFleet, ground_all
from policy.train import Progress, TrainedPolicy, train_policy
from policy.windows import logged_windows
from simulator.simulator import Simulator
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

CURIOSITY = 1.0
"""What the most novel states are worth to policies that explore, in usual rewards."""
FEWEST = 3
"""Members that training keeps at least; smaller ensembles train and judge with all."""


def train_grounded(
    simulator: Simulator,
    spec: RobotSpec,
    prompts: Sequence[Sequence[Episode]],
    task: Task,
    config: PolicyConfig,
    *,
    logs: Sequence[Episode] | None = None,
    sampled: bool = True,
    checkpoint: Path | None = None,
    warm_start: PolicyNetwork | None = None,
    incumbent: PolicyNetwork | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> TrainedPolicy:
    """A policy for the robots that `prompts` describe, one list of episodes each.

    The states of `logs` (default: the prompts) are starts of training, too. Where the simulator never saw one reward
    above another, the policy is one that explores: it is paid for reaching what nobody has logged. Unless `sampled`,
    training knows one hypothesis per robot and member only, the posterior's mean: an ablation. Raises what
    `train_policy` raises.
    """
    logs = [e for clips in prompts for e in clips] if logs is None else logs
    starts = logged_windows(logs, config.history_steps)
    curious = unrewarded(task, simulator)
    if curious:
        config = config.model_copy(update={"curiosity": CURIOSITY})
    judges = ground_all(simulator, spec, prompts)
    scenes = [replace(without_last(fleet), compiled=config.compiles) for fleet in judges]
    trained = train_policy(
        scenes if sampled else [fleet.certain() for fleet in scenes],
        task,
        config,
        judges=judges,
        starts=starts if len(starts) else None,
        checkpoint=checkpoint,
        warm_start=warm_start,
        incumbent=incumbent,
        progress=progress,
        device=device,
    )
    # Values do not tell policies apart then: the one that has learned longest has come farthest.
    return replace(trained, network=trained.last, curious=True) if curious else trained


def unrewarded(task: Task, simulator: Simulator) -> bool:
    """Whether the reward of `task` is logged, and was the same in all that the simulator ever learned from: no policy
    is known to be better than another, but for what it brings home."""
    traits = simulator.model.traits
    return task.reward is None and traits.reward_low == traits.reward_high


def without_last(fleet: SimulatedFleet) -> SimulatedFleet:
    """The fleet as the simulator less its last member sees it, where at least `FEWEST` remain. What a log says to one
    member does not depend on the others."""
    return fleet if fleet.members <= FEWEST else fleet.first_members(fleet.members - 1)
