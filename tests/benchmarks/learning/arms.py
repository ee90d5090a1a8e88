"""Arms of the compounding experiment: what a loop does differently, so that one can say what made it better.

All arms of one draw of robots share their first data, simulator and policy; they have equal robot-seconds and equal
gradient steps in each iteration. This module holds no statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from fleet_ingest.robot.plan import Purpose
from fleet_ingest.standins.registry import standin
from flows import local_store
from flows.local_loop import LocalLoop, LoopConfig
from simulator.prompt import Prompt
from storage.contracts.episode import Episode

ARMS = ("full", "frozen", "non-adaptive", "no sampling")
FLEET, TEST_ROBOTS, PROMPT_S, HORIZON_S = 3, 8, 2.0, 0.5
_FIRST_TEST, _FIRST_FLEET, _PER_DRAW = 90_001, 10_001, 100
Row = dict[str, float]


@dataclass
class Experiment:
    """One draw of robots. `iterations` policies are trained, the first on shared data; `episodes` per robot and
    iteration, each of the task's length."""

    draw: int
    config: LoopConfig
    work: Path
    iterations: int = 5
    episodes: int = 2
    test_episodes: int = 2
    curves: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.work / f"draw-{self.draw}"

    def run(self, arm: str) -> list[Row]:
        """The curve of one arm; what was done before is not done again."""
        loop = self.fleet(arm)
        curve = self._restored(loop, arm)
        while len(curve) < self.iterations:
            curve.append(self._iterate(loop, arm, len(curve)))
            local_store.save(loop, self.folder / arm.replace(" ", "-"), {"curve": curve})
        self.curves[arm] = curve
        return curve

    def _restored(self, loop: LocalLoop, arm: str) -> list[Row]:
        own, shared = self.folder / arm.replace(" ", "-"), self.folder / "shared"
        found = local_store.restore(loop, own) or local_store.restore(loop, shared)
        if found is None:
            curve = [self._iterate(loop, "full", 0)]
            local_store.save(loop, shared, {"curve": curve})
            return curve
        return cast(list[Row], found["curve"])

    def fleet(self, arm: str = "full") -> LocalLoop:
        family = standin("cartpole")
        serials = [family.serial(_FIRST_FLEET + _PER_DRAW * self.draw + i) for i in range(FLEET)]
        config = self.config.model_copy(update={"sampled": arm != "no sampling"})
        return LocalLoop({serial: family.open(serial) for serial in serials}, family.task, config)

    def _iterate(self, loop: LocalLoop, arm: str, iteration: int) -> Row:
        """Data (first: excitation), simulator, policy, then everything is measured on robots of its own."""
        purposes: list[Purpose] = ["excitation"] * self.episodes
        if iteration and arm != "non-adaptive":
            purposes = [("evaluation", "exploration")[i % 2] for i in range(self.episodes)]
        fresh: list[Episode] = []
        for index, serial in enumerate(loop.robots):
            for place, purpose in enumerate(purposes):
                seed = (self.draw * 1_000 + iteration * 50 + index * 10 + place) * 7 + self.config.seed
                runs = {"evaluation": loop.policy, "exploration": loop.explorer}.get(purpose)
                fresh += loop.run(serial, loop.plan(purpose, seed), runs)
        row: Row = {"before": self._error(loop, fresh)} if loop.simulator is not None else {}
        loop.episodes += fresh
        if arm != "frozen" or iteration == 0:
            loop.retrain(iteration)
        trained = loop.improve(iteration)
        row |= {
            "robot_s": sum(e.steps / e.spec.control_rate_hz for e in loop.episodes),
            "return": self._return(loop, self.tests()), "fleet": self._return(loop, loop),
            "simulated": trained.simulated.mean, "error": self._error(loop, self._held()),
        }  # fmt: skip
        return row

    def tests(self) -> LocalLoop:
        family = standin("cartpole")
        serials = [family.serial(_FIRST_TEST + i) for i in range(TEST_ROBOTS)]
        return LocalLoop({serial: family.open(serial) for serial in serials}, family.task, self.config)

    def _return(self, loop: LocalLoop, robots: LocalLoop) -> float:
        """Mean return of the policy of `loop` on `robots`; nothing learns from these episodes."""
        plan = robots.plan("evaluation", standin("cartpole").evaluation_seed, self.test_episodes)
        return float(np.mean([np.mean(robots.returns(robots.run(s, plan, loop.policy))) for s in robots.robots]))

    def _held(self) -> list[Episode]:
        """Logs of the test robots under noise, the same for all arms and iterations."""
        tests = self.tests()
        return [e for i, s in enumerate(tests.robots) for e in tests.run(s, tests.plan("excitation", 77_000 + i))]

    def _error(self, loop: LocalLoop, episodes: Sequence[Episode]) -> float:
        """Open-loop error over the next `HORIZON_S`, in standard deviations; each robot is grounded in the first
        `PROMPT_S` seconds of its own log, which are not scored."""
        if loop.simulator is None:
            return float("nan")
        rows = round(PROMPT_S * loop.spec.control_rate_hz)
        first = {e.robot: e for e in reversed(episodes)}
        prompts = {robot: Prompt(e.spec, (e.window(0, rows),)) for robot, e in first.items()}
        rest = [e.window(rows, e.steps) for e in episodes]
        card = loop.simulator.score(rest, (HORIZON_S,), prompts=prompts, max_windows=100, samples=10)
        found = card.find("nrmse", HORIZON_S)
        return float("nan") if found is None else found.value
