"""What is a prompt worth, on robots never seen?

One simulator, unseen robots of four families (and of a fifth that training held out), each prompted with its
specification alone, with two seconds of log beside, or with its true parameters. Beside it stand specialists, trained
on five minutes of one robot, and separate models of one family each.

Those are trained before, resumably: `python -m tests.benchmarks.sim_grounding --train specialists|separate|joint`, one
bundle after the other under `--work`; a benchmark without them leaves their figures out.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, HELD_OUT, population
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import load_simulator, options, report, simulator_of
from tests.benchmarks.sim.probes import latent, probe_ranks
from tests.benchmarks.sim.training import Recipe, trained
from tests.benchmarks.sim.windows import Tested, futures, steps_of, unseen, windows_of

HORIZONS_S = (0.1, 0.5, 1.0)
SAMPLES = 10
SEED = 920  # of the unseen robots; specialists are those of the same draw
SPECIALISTS = 8
PARAMETERS = ("link1.mass", "link1.damping", "link1.friction", "payload.mass", "command.delay")
TARGETS = {
    "gap closed by 2 s at 0.5 s": Target(0.7, "higher"),
    "prompted over specialists at 0.5 s": Target(1.25, "lower"),
    "one model over separate ones at 0.5 s": Target(1.1, "lower"),
    "smallest p of the probes, times their number": Target(0.05, "higher"),
    "chain3: prompted over hold-last at 0.5 s": Target(1.0, "lower"),
    "chain3: prompted over unprompted at 0.5 s": Target(1.0, "lower"),
}


@dataclass(frozen=True)
class Result:
    """Median errors of one robot by horizon, under every prompt; `hold` for hold-last."""

    body: Body
    errors: Mapping[str, list[float]]


def measure(simulator: Simulator, robot: Tested, prompts: Mapping[str, Prompt], windows: int, seed: int) -> Result:
    steps = steps_of(HORIZONS_S, robot.body.spec)
    cases = windows_of(robot.logs, max(steps), windows)
    found: dict[str, list[float]] = {}
    scenes = {name: simulator.ground(prompt) for name, prompt in prompts.items()}
    for name, scene in scenes.items():
        samples = futures(scene, cases, SAMPLES, steps, seed).samples
        found[name] = [
            _median(statistics.center(samples[:, :, k], robot.angle), cases.truth[:, step - 1], robot)
            for k, step in enumerate(steps)
        ]
    found["hold"] = [_median(cases.now, cases.truth[:, step - 1], robot) for step in steps]
    return Result(robot.body, found)


def _median(guess: np.ndarray, truth: np.ndarray, robot: Tested) -> float:
    return float(np.median(statistics.errors(guess, truth, robot.scale, robot.angle)))


def three_prompts(robot: Tested) -> dict[str, Prompt]:
    return {
        "none": robot.prompt(seconds=0.0),
        "prompt": robot.prompt(seconds=2.0),
        "oracle": robot.prompt(robot.body.true_spec, seconds=0.0),
        "oracle and prompt": robot.prompt(robot.body.true_spec, seconds=2.0),
    }


def mean_of(results: Sequence[Result], name: str, k: int) -> np.ndarray:
    return np.array([result.errors[name][k] for result in results])


def gap_closed(none: np.ndarray, prompt: np.ndarray, oracle: np.ndarray) -> Callable[[np.ndarray], float]:
    """Of the mean errors of the robots that an index picks: (e_none - e_prompt) / (e_none - e_oracle)."""

    def of(index: np.ndarray) -> float:
        room = float(none[index].mean() - oracle[index].mean())
        # Where the true parameters do not help, there is no gap to close: the share has no meaning.
        return float("nan") if room <= 0 else float(none[index].mean() - prompt[index].mean()) / room

    return of


def prompt_figures(results: Sequence[Result]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    n = len(results)
    for k, horizon in enumerate(HORIZONS_S):
        at = f"at {horizon:g} s"
        for name in results[0].errors:
            found[f"error, {name} {at}"] = Figure(float(mean_of(results, name, k).mean()), "std", n)
        closed = gap_closed(*(mean_of(results, name, k) for name in ("none", "prompt", "oracle")))
        if np.isfinite(value := closed(np.arange(n))):
            found[f"gap closed by 2 s {at}"] = Figure(value, "share", n, statistics.bootstrap(closed, n))
        ratio, interval = statistics.ratio_of_runs(
            list(mean_of(results, "prompt", k)), list(mean_of(results, "hold", k))
        )
        found[f"prompted over hold-last {at}"] = Figure(ratio, "ratio", n, interval)
    return found


def family_figures(results: Sequence[Result]) -> dict[str, Figure]:
    """Of the held-out family."""
    found: dict[str, Figure] = {}
    for k, horizon in enumerate(HORIZONS_S):
        prompt = list(mean_of(results, "prompt", k))
        for name, other in (("hold-last", "hold"), ("unprompted", "none")):
            ratio, interval = statistics.ratio_of_runs(prompt, list(mean_of(results, other, k)))
            found[f"chain3: prompted over {name} at {horizon:g} s"] = Figure(ratio, "ratio", len(results), interval)
    return found


def probe_figures(simulator: Simulator, families: Sequence[str], train: int, test: int, seed: int) -> dict[str, Figure]:
    """Smallest p-value over all (family, parameter), corrected by Bonferroni, and the share of variance explained."""
    p, explained = [], {name: list[float]() for name in PARAMETERS}
    for family in families:
        bodies = [population(n, seed, [family], split) for n, split in ((train, "train"), (test, "test"))]
        found = [[latent(simulator, unseen(b, 1, 2.0, seed=i).prompt()) for i, b in enumerate(g)] for g in bodies]
        for name in PARAMETERS:
            values = [np.array([_value(body, name) for body in group]) for group in bodies]
            ranks, share = probe_ranks(found[0], values[0], found[1], values[1])
            p.append(statistics.uniform_p(ranks))
            explained[name].append(share)
    figures = {"smallest p of the probes, times their number": Figure(min(1.0, min(p) * len(p)), "1", len(p) * test)}
    for name, shares in explained.items():
        figures[f"variance of {name} explained by the prompt"] = Figure(float(np.mean(shares)), "share", test)
    return figures


def _value(body: Body, name: str) -> float:
    """Logarithm of what is drawn evenly in the logarithm; a payload counts by its share of the last link."""
    if name == "payload.mass":
        return body.quantity(name) / body.joints[-1].mass_kg
    return body.quantity(name) if name == "command.delay" else float(np.log(body.quantity(name)))


def specialist(index: int, updates: int) -> Recipe:
    """Robot `index` of the unseen ones, five minutes of it."""
    return Recipe(BENCHMARK, index + 1, 300.0, updates, seed=SEED, only=index)


def separate(robots: int, updates: int) -> dict[str, Recipe]:
    """One model of all families (`joint`), and one of each on the same number of its robots."""
    each = Recipe(BENCHMARK, robots, 60.0, updates)
    return {"joint": each} | {
        family: replace(each, families=(family,), robots=robots // len(BENCHMARK)) for family in BENCHMARK
    }


def ratio_figure(mine: Sequence[float], others: Sequence[float]) -> Figure:
    ratio, interval = statistics.ratio_of_runs(list(mine), list(others))
    return Figure(ratio, "ratio", len(mine), interval)


def main() -> None:
    words = options(__doc__ or "")
    words.add_argument("--train", choices=("specialists", "separate", "joint"), help="train what is compared, and stop")
    words.add_argument("--training-robots", type=int, default=128)
    arguments = words.parse_args()
    quick = arguments.quick
    recipes = separate(8 if quick else arguments.training_robots, 40 if quick else arguments.train_updates)
    alone = [specialist(i, 40 if quick else arguments.train_updates) for i in range(2 if quick else SPECIALISTS)]
    if arguments.train:
        chosen = {"specialists": alone, "joint": [recipes["joint"]],
                  "separate": [recipes[family] for family in BENCHMARK]}[arguments.train]  # fmt: skip
        for recipe in chosen:
            trained(recipe, arguments.work, quiet=False)
            sys.stderr.write("\n")
        return
    simulator = simulator_of(arguments)
    count = arguments.robots or (4 if quick else 64)
    windows = 16 if quick else 40
    robots = [unseen(b, 2, 10.0, seed=i) for i, b in enumerate(population(count, SEED, BENCHMARK, "test"))]
    results = [measure(simulator, robot, three_prompts(robot), windows, i) for i, robot in enumerate(robots)]
    found = prompt_figures(results)
    chains = population(2 if quick else 16, SEED, HELD_OUT, "test")
    strangers = [unseen(body, 2, 10.0, seed=i) for i, body in enumerate(chains)]
    found |= family_figures([measure(simulator, r, three_prompts(r), windows, i) for i, r in enumerate(strangers)])
    if quick:
        for recipe in alone:
            trained(recipe, arguments.work)
    found |= probe_figures(
        simulator, BENCHMARK[:1] if quick else BENCHMARK, 12 if quick else 96, 8 if quick else 48, SEED
    )
    at = HORIZONS_S.index(0.5)
    paths = [arguments.work / f"simulator-{recipe.key}" for recipe in alone]
    ready = [i for i, path in enumerate(paths) if (path / "manifest.json").is_file()]
    if ready:
        others = [
            measure(load_simulator(paths[i]), robots[i], {"prompt": robots[i].prompt()}, windows, i) for i in ready
        ]
        found["prompted over specialists at 0.5 s"] = ratio_figure(
            [results[i].errors["prompt"][at] for i in ready], [o.errors["prompt"][at] for o in others]
        )
    bundles = {name: arguments.work / f"simulator-{recipe.key}" for name, recipe in recipes.items()}
    if all((path / "manifest.json").is_file() for path in bundles.values()):
        found["one model over separate ones at 0.5 s"] = _joint_over_separate(bundles, robots, windows, at)
    report("sim_grounding", found, TARGETS, [SEED], arguments)


def _joint_over_separate(bundles: Mapping[str, Path], robots: Sequence[Tested], windows: int, at: int) -> Figure:
    loaded = {name: load_simulator(path) for name, path in bundles.items()}
    mine: list[float] = []
    others: list[float] = []
    for i, robot in enumerate(robots):
        for name, kept in (("joint", mine), (robot.body.family, others)):
            found = measure(loaded[name], robot, {"prompt": robot.prompt()}, windows, i)
            kept.append(found.errors["prompt"][at])
    return ratio_figure(mine, others)


if __name__ == "__main__":
    main()
