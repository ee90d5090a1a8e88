"""The oracle of the cart-pole fleet: SAC trained on the stand-ins themselves, and a random policy beside it.

`python -m tests.benchmarks.oracle_cartpole --json` trains (10 to 20 minutes on one core), evaluates on the fleet's own
evaluation starts and writes `fleet_ingest/standins/cartpole_oracle.json`; `--quick` trains for seconds and writes
nothing. The best of several snapshots is chosen on starts of another seed than those reported. One network, trained on
all robots at once with a history of states and commands, so that it can tell them apart.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fleet_ingest.robot.commands import RandomHold
from fleet_ingest.standins.registry import standin
from storage.contracts.starts import evaluation_starts
from tests.benchmarks.envelope import Figure, envelope, parser, publish
from tests.benchmarks.peers.sac import Predictor, SacSettings, episode_return, predictor_return, train_sac

FLEET = standin("cartpole")
SERIALS = [FLEET.serial(i) for i in (1, 2, 3)]
HISTORY, SEED, VALIDATION_SEED = 6, 0, 77
SETTINGS = SacSettings(history=HISTORY, learning_starts=3_000, keep_best=True)

Run = Callable[[str, dict[str, float], int], float]
"""(serial, start, noise seed) -> return."""


def returns(run: Run, seed: int, n: int) -> dict[str, list[float]]:
    """Serial -> returns of `n` episodes from the starts that `seed` draws."""
    starts = evaluation_starts(FLEET.task, n, seed)
    return {serial: [run(serial, start, i) for i, start in enumerate(starts)] for serial in SERIALS}


def oracle_returns(predictor: Predictor, seed: int, n: int) -> dict[str, list[float]]:
    robots = {serial: FLEET.open(serial) for serial in SERIALS}
    return returns(lambda s, start, i: predictor_return(robots[s], FLEET.task, predictor, start, i)[0], seed, n)


def random_returns(seed: int, n: int) -> dict[str, list[float]]:
    robots = {serial: FLEET.open(serial) for serial in SERIALS}

    def run(serial: str, start: dict[str, float], index: int) -> float:
        source = RandomHold(FLEET.spec, index)
        return episode_return(robots[serial], FLEET.task, lambda state, last: source.next(), start, index)[0]

    return returns(run, seed, n)


def train(total_steps: int, chunks: int) -> tuple[Predictor, list[float]]:
    """The best snapshot by validation return, and the curve of validation returns."""
    torch.set_num_threads(1)

    def validate(predictor: Predictor) -> float:
        value = float(np.mean(list(oracle_returns(predictor, VALIDATION_SEED, 4).values())))
        sys.stderr.write(f"{predictor.model.num_timesteps} steps, validation return {value:.1f}\n")
        sys.stderr.flush()
        return value

    robots = [FLEET.open(serial) for serial in SERIALS]
    every = -(-total_steps // chunks)
    predictor, curve = train_sac(
        robots, FLEET.task, steps=total_steps, seed=SEED, evaluate=validate, every=every, settings=SETTINGS
    )
    return predictor, [point.value for point in curve]


def figure(returns: dict[str, list[float]]) -> Figure:
    """Mean over all episodes, interval by bootstrap over robots."""
    means = np.array([np.mean(v) for v in returns.values()])
    boot = np.random.default_rng(0).choice(means, (2000, len(means))).mean(axis=1)
    low, high = (round(float(q), 3) for q in np.quantile(boot, [0.025, 0.975]))
    interval = (low, high) if len(means) > 1 else None
    return Figure(round(float(means.mean()), 3), "1", sum(map(len, returns.values())), interval)


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--steps", type=int, default=270_000)
    arguments = words.parse_args()
    model, curve = train(6_000 if arguments.quick else arguments.steps, 2 if arguments.quick else 18)
    seed, n = FLEET.evaluation_seed, FLEET.evaluation_episodes
    oracle, random = oracle_returns(model, seed, n), random_returns(seed, n)
    figures = {"oracle_return": figure(oracle), "random_return": figure(random)}
    figures |= {f"oracle_return.{s}": figure({s: oracle[s]}) for s in SERIALS}
    figures |= {f"random_return.{s}": figure({s: random[s]}) for s in SERIALS}
    if not arguments.quick:
        write_oracle(figures, curve, arguments.steps)
    publish(envelope("oracle_cartpole", figures, {}, [SEED]), arguments)


def write_oracle(figures: dict[str, Figure], curve: list[float], steps: int) -> None:
    """The file that `StandIn.oracle_return` reads."""
    result = {
        "robot": FLEET.name,
        "task": FLEET.task.name,
        "task_digest": FLEET.task.digest,
        "serials": SERIALS,
        "evaluation_seed": FLEET.evaluation_seed,
        "evaluation_episodes": FLEET.evaluation_episodes,
        "return": "undiscounted sum of rewards",
        "oracle_return": figures["oracle_return"].value,
        "random_return": figures["random_return"].value,
        "oracle_per_robot": {s: figures[f"oracle_return.{s}"].value for s in SERIALS},
        "random_per_robot": {s: figures[f"random_return.{s}"].value for s in SERIALS},
        "algorithm": f"SAC, history {HISTORY}, {steps} steps on the stand-ins",
        "validation_curve": curve,
        "command": "python -m tests.benchmarks.oracle_cartpole --json",
    }
    Path(str(FLEET.oracle_file)).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
