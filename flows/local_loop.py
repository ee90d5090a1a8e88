"""The loop in one process, without servers: robots behind drivers, logs, simulator, policy, and robots again.

What a robot runs, logs and is asked for is made by the same code as in a fleet (plans, ONNX policies, MCAP logs,
conversion), so equal plans give equal logs. Nothing is stored: campaigns with a catalog are `flows.campaign`.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fleet_ingest.convert_robot_log import robot_log_to_episode
from fleet_ingest.formats.read import read_log
from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment, Noise, Plan, PlannedEpisode, Purpose
from policy.config import PolicyConfig
from policy.export import export_onnx
from policy.grounded import train_grounded
from policy.network import PolicyNetwork
from policy.runtime.runner import PolicyRunner
from policy.train import TrainedPolicy
from policy.weights import pack_network
from simulator.config import SimulatorConfig
from simulator.prompt import clips_of
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.base import Contract
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.starts import evaluation_starts, return_of
from storage.contracts.task import Task


class LoopConfig(Contract):
    """Settings of one loop. Noise on commands is a share of half their range."""

    seed: int = 0
    simulator: SimulatorConfig = SimulatorConfig()
    policy: PolicyConfig = PolicyConfig()
    exploration: Noise = Noise(std=0.3)
    sampled: bool = True
    """Whether policies train over sampled hypotheses; without, in the mean of each member's posterior."""
    beginnings: Literal["fresh", "warm", "alternating"] = "alternating"
    """Where policies begin: from chance, from the one before, or one after the other. The policy before is a candidate
    in either case."""


@dataclass(frozen=True)
class Deployed:
    """A policy as robots run it, with the network that it was exported from. `promised`: its simulated mean return when
    it was deployed, None where nobody asked, with the deviation over hypotheses, `spread`."""

    manifest: PolicyManifest
    onnx: bytes
    network: PolicyNetwork
    promised: float | None = None
    spread: float = 0.0

    @classmethod
    def of(
        cls, network: PolicyNetwork, spec: RobotSpec, task: Task, seed: int, promised: float | None = None,
        spread: float = 0.0,
    ) -> "Deployed":  # fmt: skip
        return cls(*export_onnx(network, spec, task, seed=seed), network, promised, spread)

    @property
    def least(self) -> float:
        """A real return below this says that the simulator overrates the policy."""
        return -math.inf if self.promised is None else self.promised - self.spread


@dataclass
class LocalLoop:
    """Robots by serial, all of one specification. `episodes` is what the simulator learns from, oldest first."""

    robots: Mapping[str, RobotDriver]
    task: Task
    config: LoopConfig
    episodes: list[Episode] = field(default_factory=list)
    simulator: Simulator | None = None
    policy: Deployed | None = None
    """The best by its pessimistic value in the simulator."""
    explorer: Deployed | None = None
    """The policy that was trained last, whether it is the best or not: what it does differently teaches."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by what it was spent on."""

    def __post_init__(self) -> None:
        if not self.robots:
            raise InputError("a loop needs at least one robot, given none")

    @property
    def spec(self) -> RobotSpec:
        return next(iter(self.robots.values())).spec

    @property
    def control_periods(self) -> int:
        """How many the robots have lived in `episodes`."""
        return sum(episode.steps for episode in self.episodes)

    def run(self, serial: str, planned: Sequence[PlannedEpisode], policy: Deployed | None = None) -> list[Episode]:
        """The episodes of one robot, through its log; they are not kept for training."""
        with self._timed("robots"):
            driver = self.robots[serial]
            runner = None if policy is None else PolicyRunner(policy.manifest, policy.onnx)
            assignment = Assignment(
                id=0, key=f"local/{serial}", robot=serial, plan=Plan(task=self.task, episodes=tuple(planned)),
                policy=None if policy is None else policy.manifest.digest,
                manifest=None if policy is None else policy.manifest,
                onnx_url=None if policy is None else "local",
            )  # fmt: skip
            return [_logged(driver, assignment, one, runner) for one in assignment.plan.episodes]

    def plan(self, purpose: Purpose, seed: int, n: int = 1) -> list[PlannedEpisode]:
        """`n` episodes of the task's length, from starts that `seed` draws where the task has start ranges. Policies
        explore with `config.exploration`; excitation is twice that."""
        share = {"exploration": 1.0, "excitation": 2.0}.get(purpose)
        noise = None
        if share is not None:
            noise = self.config.exploration.model_copy(update={"std": share * self.config.exploration.std})
        return [
            PlannedEpisode(
                index=i, seed=seed * 1000 + i, start=start, duration_s=self.task.horizon_s, purpose=purpose, noise=noise
            )
            for i, start in enumerate(evaluation_starts(self.task, n, seed))
        ]

    def retrain(self, iteration: int, *, checkpoint: Path | None = None) -> Simulator:
        """The simulator trained on all `episodes`, from the one before it where there is one."""
        config = self.config.simulator.model_copy(update={"seed": self.config.seed * 101 + iteration})
        with self._timed("simulator"):
            self.simulator = train_simulator(self.episodes, config, parent=self.simulator, checkpoint=checkpoint)
        return self.simulator

    def improve(self, iteration: int, *, checkpoint: Path | None = None) -> TrainedPolicy:
        """A policy trained in the simulator as it is now, and deployed. Raises InputError before `retrain`."""
        if self.simulator is None:
            raise InputError("there is no simulator to train a policy in yet", remedy="Call retrain first.")
        config = self.config.policy.model_copy(update={"seed": self.config.seed * 101 + iteration})
        earlier = None if self.policy is None or self.refuted else self.policy.network
        how = self.config.beginnings
        warm = earlier if how == "warm" or (how == "alternating" and iteration % 2 == 0) else None
        with self._timed("policy"):
            trained = train_grounded(
                self.simulator, self.spec, self.prompts(), self.task, config, logs=self.episodes,
                sampled=self.config.sampled, checkpoint=checkpoint, warm_start=warm, incumbent=earlier,
            )  # fmt: skip
        proven = self.proven
        if trained.curious or proven is None or proven < trained.simulated.mean:
            self.policy = self._deployed(trained, config.seed)
        self.explorer = Deployed.of(trained.last, self.spec, self.task, config.seed)
        return trained

    def _deployed(self, trained: TrainedPolicy, seed: int) -> Deployed:
        """The policy that came out; where that is the one before, it keeps its name and what it has earned under it."""
        promised, spread = trained.simulated.mean, trained.spread
        if self.policy is not None and pack_network(trained.network) == pack_network(self.policy.network):
            return replace(self.policy, promised=promised, spread=spread)
        return Deployed.of(trained.network, self.spec, self.task, seed, promised, spread)

    @property
    def refuted(self) -> bool:
        """Whether the policy's own evaluation episodes earned less than the simulator promised. Such a policy is no
        candidate again: what overrates it once would do so for ever, and keep better ones from being tried."""
        own = self._earned()
        return self.policy is not None and bool(own) and float(np.mean(own)) < self.policy.least

    @property
    def proven(self) -> float | None:
        """What the policy earns, by its own evaluation episodes and, as if it were one more of them, by what the
        simulator promised, where that is more; None before it has any, and of a refuted one. It gives way to none that
        promises less."""
        own = self._earned()
        if self.policy is None or self.policy.promised is None or not own or self.refuted:
            return None
        return max(float(np.mean(own)), (sum(own) + self.policy.promised) / (len(own) + 1))

    def _earned(self) -> list[float]:
        """Real returns of the evaluation episodes of the policy as it is, on the robots that are here."""
        if self.policy is None:
            return []
        digest = self.policy.manifest.digest
        own = [e for e in self.episodes if e.policy == digest and e.robot in self.robots]
        return self.returns([e for e in own if e.tags.get("purpose") == "evaluation"])

    def prompts(self) -> list[list[Episode]]:
        """Of each robot that has logged anything, episodes from all over it, which ground the simulator in it."""
        found = [[e for e in self.episodes if e.robot == serial] for serial in self.robots]
        return [clips_of(episodes) for episodes in found if episodes]

    def returns(self, episodes: Sequence[Episode]) -> list[float]:
        return [return_of(e.spec, self.task, e.state, e.command, e.reward) for e in episodes]

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - begin


def _logged(
    driver: RobotDriver, assignment: Assignment, planned: PlannedEpisode, runner: PolicyRunner | None
) -> Episode:
    """The episode as the fleet would know it: through the bytes of its log."""
    data = write_log(run_episode(driver, assignment, planned, runner))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.mcap"
        path.write_bytes(data)
        return robot_log_to_episode(read_log(path), sha256_hex(data))
