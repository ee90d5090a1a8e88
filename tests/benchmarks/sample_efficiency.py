"""How many steps of the real robot until a policy is good: the loop on one environment, nothing pretrained.

`python -m tests.benchmarks.sample_efficiency --task gymnasium:Pendulum-v1 --seeds 5 --json`. Every environment step
that the robot makes is counted; the ten evaluation episodes after each iteration are counted apart, and nothing learns
from them. Solved: their mean passes the threshold in two iterations running; the first of the two counts. Given
again it goes on where it was stopped (`--work`). Other tasks: `--task gymnasium:ID --threshold R --limit STEPS`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fleet_ingest.robot.plan import Noise, Purpose
from flows import local_store
from flows.local_loop import LocalLoop, LoopConfig
from flows.presets import UNNAMED_POLICY, UNNAMED_SIMULATOR
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.learning.tasks import GOALS, Goal

WORK = Path(".benchmarks") / "sample_efficiency"
EVALUATION_SEED, EVALUATION_EPISODES = 9_999, 10
FEWEST_STEPS = 200
"""Environment steps that an iteration collects at least; an episode that has begun is finished."""
Curve = list[dict[str, float]]


def config(seed: int, quick: bool) -> LoopConfig:
    """One setting for all tasks. `seed` is of networks, batches, noise and starts."""
    if quick:
        return LoopConfig(
            seed=seed, simulator=SimulatorConfig(updates=20, warm_updates=10, members=2),
            policy=PolicyConfig(updates=8, worlds=16, windows=2, evaluation_worlds=4, evaluation_steps=20),
        )  # fmt: skip
    return LoopConfig(
        seed=seed,
        simulator=UNNAMED_SIMULATOR,
        policy=UNNAMED_POLICY,
        exploration=Noise(std=0.3),
    )


class Trial:
    """One seed of one task."""

    def __init__(self, goal: Goal, seed: int, work: Path, quick: bool) -> None:
        robot, twin = goal.open("robot-1"), goal.open("robot-2")
        task = goal.task(robot)
        self.goal, self.folder, self.seed = goal, work / goal.name / f"seed-{seed}", seed
        self.loop = LocalLoop({"robot-1": robot}, task, config(seed, quick))
        self.judge = LocalLoop({"robot-2": twin}, task, config(seed, quick))
        self.curve: Curve = []
        self.episodes = 0
        found = local_store.restore(self.loop, self.folder)
        if found is not None:
            self.curve, self.episodes = found["curve"], found["episodes"]

    @property
    def steps(self) -> int:
        """Environment steps made so far."""
        return self.loop.control_periods * self.goal.repeat

    @property
    def solved_at(self) -> int | None:
        """Steps at the first of two evaluations running that passed."""
        passed = [row["return"] >= self.goal.threshold for row in self.curve]
        return next((int(self.curve[i]["steps"]) for i in range(len(passed) - 1) if passed[i] and passed[i + 1]), None)

    def finished(self, limit: int) -> bool:
        return self.solved_at is not None or (self.steps >= limit and bool(self.curve))

    def iterate(self) -> None:
        """Collects, retrains, trains a policy, evaluates; then saves."""
        begin, iteration, loop = time.monotonic(), len(self.curve), self.loop
        wanted, made = self.steps + FEWEST_STEPS, 0
        while self.steps < wanted:
            # What the last policy earns is asked first: one that the simulator overrates is dropped for it.
            purpose: Purpose = "random" if iteration == 0 else ("exploration" if made % 2 else "evaluation")
            seed = self.seed * 100_003 + self.episodes
            runs = {"random": None, "exploration": loop.explorer}.get(purpose, loop.policy)
            loop.episodes += loop.run("robot-1", loop.plan(purpose, seed), runs)
            self.episodes, made = self.episodes + 1, made + 1
        loop.retrain(iteration)
        trained = loop.improve(iteration)
        plan = self.judge.plan("evaluation", EVALUATION_SEED, EVALUATION_EPISODES)
        found = self.judge.returns(self.judge.run("robot-2", plan, loop.policy))
        row = {
            "steps": self.steps, "return": float(np.mean(found)), "worst": min(found), "best": max(found),
            "simulated": trained.simulated.mean, "wall_s": round(time.monotonic() - begin, 1),
        }  # fmt: skip
        self.curve.append(row)
        local_store.save(loop, self.folder, {"curve": self.curve, "episodes": self.episodes})
        sys.stderr.write(
            f"{self.goal.driver} seed {self.seed}: {row['steps']:.0f} steps, return {row['return']:.1f} "
            f"[{row['worst']:.1f}, {row['best']:.1f}], simulated {row['simulated']:.1f}, {row['wall_s']:.0f} s\n"
        )
        sys.stderr.flush()


def goal_of(arguments: argparse.Namespace) -> Goal:
    known = GOALS.get(arguments.task)
    if known is None and (arguments.threshold is None or arguments.limit is None):
        sys.exit(f"'{arguments.task}' is none of {', '.join(GOALS)}: give its --threshold and --limit too")
    threshold = arguments.threshold if arguments.threshold is not None else known.threshold if known else 0.0
    limit = arguments.limit or (known.limit if known else 0)
    repeat = arguments.repeat or (known.repeat if known else 1)
    return Goal(arguments.task, threshold, limit, repeat)


def figures(goal: Goal, trials: Sequence[Trial], limit: int) -> dict[str, Figure]:
    """A seed that was never solved counts as the limit that it was tried to, and is told apart."""
    steps = [trial.solved_at if trial.solved_at is not None else limit for trial in trials]
    solved = sum(trial.solved_at is not None for trial in trials)
    walls = [sum(row["wall_s"] for row in trial.curve) for trial in trials]
    n = len(trials)
    return {
        "steps to the threshold, median": Figure(float(np.median(steps)), "environment steps", n, None),
        "steps to the threshold, fewest": Figure(float(min(steps)), "environment steps", n),
        "steps to the threshold, most": Figure(float(max(steps)), "environment steps", n),
        "seeds solved": Figure(float(solved), "seeds", n),
        "best mean return, median over seeds": Figure(
            float(np.median([max(row["return"] for row in trial.curve) for trial in trials])), "1", n
        ),
        "action repeat": Figure(float(goal.repeat), "environment steps", n),
        "evaluation steps beside": Figure(
            float(np.mean([len(trial.curve) for trial in trials])) * EVALUATION_EPISODES, "episodes per seed", n
        ),
        "wall time per seed": Figure(round(float(np.mean(walls)), 1), "s", n),
        "wall time per iteration": Figure(round(sum(walls) / sum(len(t.curve) for t in trials), 1), "s", n),
    }


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--task", default="gymnasium:Pendulum-v1", help=f"one of {', '.join(GOALS)}, or any driver")
    words.add_argument("--threshold", type=float, default=None, help="mean return to reach")
    words.add_argument("--limit", type=int, default=None, help="environment steps within which to reach it")
    words.add_argument("--repeat", type=int, default=None, help="environment steps that a command is held for")
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--first-seed", type=int, default=0, help="so that two processes can share the seeds")
    words.add_argument("--beyond", type=float, default=1.0, help="a seed is given up after this many times the limit")
    words.add_argument("--work", type=Path, default=WORK, help="where a killed run goes on from")
    arguments = words.parse_args()
    torch.set_num_threads(1)
    goal = goal_of(arguments)
    work = arguments.work / ("quick" if arguments.quick else "whole")
    limit = FEWEST_STEPS if arguments.quick else round(goal.limit * arguments.beyond)
    seeds = list(range(arguments.first_seed, arguments.first_seed + (1 if arguments.quick else arguments.seeds)))
    trials = []
    for seed in seeds:
        trial = Trial(goal, seed, work, arguments.quick)
        while not trial.finished(limit):
            trial.iterate()
        trials.append(trial)
    name = f"sample_efficiency_{goal.name.replace('-', '_')}"
    targets = {"steps to the threshold, median": Target(float(goal.limit), "lower")}
    targets |= {"seeds solved": Target(float(len(seeds)), "higher")}
    result: dict[str, Any] = envelope(name, figures(goal, trials, limit), targets, seeds)
    result |= {"task": goal.driver, "threshold": goal.threshold}
    result["curves"] = {str(trial.seed): trial.curve for trial in trials}
    publish(result, arguments)


if __name__ == "__main__":
    main()
