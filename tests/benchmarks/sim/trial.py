"""Quick trials of how a simulator is trained: a small pretraining, then what it does on robots that no benchmark
reports.

`python -m tests.benchmarks.sim.trial --work FOLDER [--config '{"known_share": 0.6}'] [--updates 1000] [--members 2]`
trains in about three minutes of one core and prints, as a line of JSON, the error over hold-last under five prompts and
the answers to what-if questions. `--bundle FOLDER` looks at a simulator that was trained already. Single trainings
differ by chance: five per cent mean nothing.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from fleet_ingest.standins.families import BENCHMARK, population
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import train_simulator
from tests.benchmarks.sim import pretrain, statistics
from tests.benchmarks.sim.bundle import WORK, load_simulator, save_simulator
from tests.benchmarks.sim.windows import Tested, futures, steps_of, unseen, windows_of
from tests.benchmarks.sim_what_if import QUANTITIES, balanced, questions_of

SEED = 778
HORIZONS_S = (0.1, 0.5, 1.0)
WINDOWS, SAMPLES = 40, 10


def prompts_of(robot: Tested) -> dict[str, Prompt]:
    told = {"spec": 0.0, "0.3s": 0.3, "2s": 2.0, "10s": 10.0}
    prompts = {name: robot.prompt(seconds=seconds) for name, seconds in told.items()}
    return prompts | {"truth": robot.prompt(robot.body.true_spec, seconds=0.0)}


def errors_of(simulator: Simulator, robot: Tested, seed: int) -> dict[str, np.ndarray]:
    """Median error over that of hold-last by horizon, and as a fourth figure the coverage of 90 % at 0.5 s."""
    steps = steps_of(HORIZONS_S, robot.body.spec)
    cases = windows_of(robot.logs, max(steps), WINDOWS)

    def median(guess: np.ndarray, step: int) -> float:
        return float(np.median(statistics.errors(guess, cases.truth[:, step - 1], robot.scale, robot.angle)))

    found = {}
    for name, prompt in prompts_of(robot).items():
        samples = futures(simulator.ground(prompt), cases, SAMPLES, steps, seed).samples
        rows = [
            median(statistics.center(samples[:, :, k], robot.angle), step) / median(cases.now, step)
            for k, step in enumerate(steps)
        ]
        inside = statistics.covered(samples[:, :, 1], cases.ahead[:, steps[1] - 1], robot.angle, 90.0)
        found[name] = np.array([*rows, float(inside.mean())])
    return found


def grounding(simulator: Simulator, robots: int) -> dict[str, list[float]]:
    """Geometric means over unseen robots, and the mean coverage."""
    bodies = population(robots, SEED, BENCHMARK, "test")
    found = [errors_of(simulator, unseen(body, 2, 10.0, seed=i), i) for i, body in enumerate(bodies)]
    out = {}
    for name in found[0]:
        table = np.stack([one[name] for one in found])
        out[name] = [*np.exp(np.log(table[:, :-1]).mean(0)).round(3).tolist(), round(float(table[:, -1].mean()), 2)]
    return out


def what_if(simulator: Simulator, robots: int) -> dict[str, float]:
    """Signs and magnitudes as the benchmark has them; `size`: slope of answers by true effects, 1 where they are as
    large."""
    bodies = population(robots, SEED, BENCHMARK, "test")
    asked = [
        question
        for i, body in enumerate(bodies)
        for question in questions_of(simulator, unseen(body, 1, 5.0, seed=i), 6, 20, i + i // len(BENCHMARK))
    ]
    kept = balanced(asked, 0)
    true, told = np.array([q.true for q in kept]), np.array([q.answers.mean() for q in kept])
    low, high = (np.array([np.quantile(q.answers, p, method="weibull") for q in kept]) for p in (0.05, 0.95))
    inside = (true >= low) & (true <= high)
    found = {
        "sign": statistics.balanced_accuracy(true > 0, told > 0),
        "magnitude": statistics.pearson(np.abs(true), np.abs(told)),
        "effect": statistics.pearson(true, told),
        "covered": float(inside.mean()),
    }
    for name in QUANTITIES:
        of = np.array([q.quantity == name for q in kept])
        found[f"size {name}"] = float((true[of] * told[of]).sum() / (true[of] ** 2).sum())
        found[f"covered {name}"] = float(inside[of].mean())
    return {name: round(value, 2) for name, value in found.items()}


def trained(arguments: argparse.Namespace, changes: Mapping[str, object]) -> Simulator:
    update = {"updates": arguments.updates, "members": arguments.members, **changes}
    config = pretrain.CONFIG.model_validate(pretrain.CONFIG.model_dump() | update)
    said = [0.0]

    def say(share: float, text: str) -> None:
        if share >= said[0]:
            sys.stderr.write(f"{share:6.1%} {text}\n")
            said[0] += 0.1

    return train_simulator(pretrain.recordings(arguments.train_robots, seed=0), config, progress=say)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", type=Path, default=WORK)
    words.add_argument("--name", default="trial", help="of the folder under --work that the bundle is kept in")
    words.add_argument("--config", default="{}", help="what is set otherwise than in the pretraining, as JSON")
    words.add_argument("--updates", type=int, default=1000)
    words.add_argument("--members", type=int, default=2)
    words.add_argument("--train-robots", type=int, default=360)
    words.add_argument("--robots", type=int, default=12)
    words.add_argument("--bundle", type=Path, help="a simulator to look at instead of training one")
    arguments = words.parse_args()
    torch.set_num_threads(1)
    changes = json.loads(arguments.config)
    if arguments.bundle is None:
        simulator = trained(arguments, changes)
        save_simulator(simulator, arguments.work / arguments.name, arguments.name, "trial")
    else:
        simulator = load_simulator(arguments.bundle)
    found = {"config": changes, "error": grounding(simulator, arguments.robots)}
    sys.stdout.write(json.dumps(found | {"what if": what_if(simulator, arguments.robots)}) + "\n")


if __name__ == "__main__":
    main()
