"""Are the sampled futures as spread as the truth is, on robots never seen, at every horizon?

Coverage of central quantiles (circular for angles), PIT, energy score against hold-last with a fitted Gaussian, and
whether the disagreement of the members ranks the error and shrinks with data. Stand-ins, and real robots where
`sim/real.py` finds their logs. Nothing is rescaled here; sensor noise is part of what is predicted.

With `--less-data FOLDER`, a bundle of the same recipe trained on a quarter of the robots, the shrinking is measured.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fleet_ingest.standins.families import BENCHMARK, population
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import load_simulator, options, report, simulator_of
from tests.benchmarks.sim.real import found_bundle, real_robots
from tests.benchmarks.sim.windows import Windows, angles, futures, steps_of, unseen, windows_of

HORIZONS_S = (0.02, 0.1, 0.5, 1.0, 2.0)
SAMPLES = 40
QUARTILES = 4
KINDS = ("stand-ins", "real")


@dataclass(frozen=True, eq=False)
class Case:
    """A robot with its grounded scene's futures. `fit` are windows that the baseline's Gaussian is fitted on."""

    kind: str
    name: str
    spec: RobotSpec
    windows: Windows
    fit: Windows
    scale: np.ndarray
    simulator: Simulator | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """Of one robot at one horizon. `cover` level -> bool [W, S]; `speed` [W] quartile; scores [W]."""

    kind: str
    cover: Mapping[int, np.ndarray]
    speed: np.ndarray
    pit: np.ndarray
    score: np.ndarray
    baseline: np.ndarray
    epistemic: np.ndarray
    error: np.ndarray


def gaussian_about(
    windows: Windows, fit: Windows, step: int, angle: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """[W, n, S]: hold-last with the mean and covariance of the change over `step` rows, fitted on `fit`."""
    change = statistics.difference(fit.ahead[:, step - 1], fit.now, angle)
    covariance = np.cov(change.T).reshape(len(angle), len(angle)) + 1e-12 * np.eye(len(angle))
    drawn = rng.multivariate_normal(change.mean(0), covariance, (windows.n, SAMPLES))
    return np.asarray(windows.now[:, None] + drawn)


def speeds(windows: Windows, spec: RobotSpec, scale: np.ndarray) -> np.ndarray:
    """[W] quartile of the root mean square of the rates at the start, in units of `scale`."""
    rate = np.array([c.derivative_of is not None for c in spec.state_layout.channels for _ in range(c.width)])
    rate = rate if rate.any() else ~rate
    speed = np.sqrt(((windows.now / scale)[:, rate] ** 2).mean(1))
    return np.asarray(np.searchsorted(np.quantile(speed, [0.25, 0.5, 0.75]), speed))


def measure(simulator: Simulator, case: Case, prompt_of: Mapping[str, Prompt], seed: int) -> dict[float, Measured]:
    angle, rng = angles(case.spec), np.random.default_rng(seed)
    steps = steps_of(HORIZONS_S, case.spec)
    scene = simulator.ground(prompt_of[case.name])
    drawn = futures(scene, case.windows, SAMPLES, steps, seed)
    quartile, found = speeds(case.windows, case.spec, case.scale), {}
    for horizon, step in zip(HORIZONS_S, steps, strict=True):
        samples, truth = drawn.samples[:, :, sorted(set(steps)).index(step)], case.windows.ahead[:, step - 1]
        middle = statistics.center(samples, angle)
        groups = [samples[:, drawn.members == m] for m in np.unique(drawn.members)]
        means = np.stack([statistics.center(group, angle) for group in groups])
        apart = statistics.difference(means, middle, angle) / case.scale
        gauss = gaussian_about(case.windows, case.fit, step, angle, rng)
        found[horizon] = Measured(
            kind=case.kind,
            cover={level: statistics.covered(samples, truth, angle, level) for level in statistics.LEVELS},
            speed=quartile,
            pit=statistics.pit(samples, truth, angle, rng),
            score=statistics.energy_score(samples, truth, case.scale, angle),
            baseline=statistics.energy_score(gauss, truth, case.scale, angle),
            epistemic=np.sqrt((apart**2).mean((0, 2))),
            error=statistics.errors(middle, truth, case.scale, angle),
        )
    return found


def standin_cases(count: int, quick: bool, seed: int) -> tuple[list[Case], dict[str, Prompt]]:
    cases, prompts = [], {}
    for i, body in enumerate(population(count, 910 + seed, BENCHMARK, "test")):
        robot = unseen(body, 3 if quick else 96, 10.0, seed=i)
        half = robot.logs[: len(robot.logs) // 2]
        most = max(steps_of(HORIZONS_S, body.spec))
        test = windows_of(robot.logs[len(half) :], most, 24 if quick else 240)
        cases.append(Case("stand-ins", body.serial, body.spec, test, windows_of(half, most, 400), robot.scale))
        prompts[body.serial] = robot.prompt()
    return cases, prompts


def real_cases(work: Path) -> tuple[list[Case], dict[str, Prompt]]:
    cases, prompts = [], {}
    for robot in real_robots():
        simulator = found_bundle(robot.name, work)
        if simulator is None:
            continue
        spec = robot.prompt.robot
        most = max(steps_of(HORIZONS_S, spec))
        rows = _states(robot.test)
        scale = statistics.channel_scale(rows, angles(spec))
        test, fit = windows_of(robot.test, most, 200), windows_of(robot.fit, most, 400)
        cases.append(Case("real", robot.name, spec, test, fit, scale, simulator))
        prompts[robot.name] = robot.prompt
    return cases, prompts


def _states(episodes: Sequence[Episode]) -> np.ndarray:
    return np.concatenate([e.state[e.state_valid.all(1)] for e in episodes])


def figures(results: Sequence[Mapping[float, Measured]]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for kind in KINDS:
        robots = [r for r in results if next(iter(r.values())).kind == kind]
        if robots:
            for horizon in HORIZONS_S:
                found |= _at(kind, horizon, [robot[horizon] for robot in robots])
            deviations = [f.value for name, f in found.items() if name.startswith(f"{kind}: coverage of ")]
            found[f"{kind}: worst coverage, all horizons"] = Figure(max(deviations), "points", len(robots))
    return found


def _off(by_robot: np.ndarray, index: np.ndarray) -> float:
    """How far the mean over the robots of `index` is from none."""
    return abs(float(by_robot[index].mean()))


def _at(kind: str, horizon: float, robots: list[Measured]) -> dict[str, Figure]:
    at, found = f"at {horizon:g} s", {}
    for level in statistics.LEVELS:
        by_robot = np.array([100 * robot.cover[level].mean() - level for robot in robots])
        interval = statistics.bootstrap(partial(_off, by_robot), len(robots))
        found[f"{kind}: coverage of {level} % {at}, off by"] = Figure(
            _off(by_robot, np.arange(len(robots))), "points", len(robots), interval
        )
        found[f"{kind}: signed coverage error of {level} % {at}"] = Figure(
            float(by_robot.mean()), "points", len(robots)
        )
        found[f"{kind}: worst robot, {level} % {at}"] = Figure(float(np.abs(by_robot).max()), "points", len(robots))
        quartiles = _quartiles(robots, level)
        found[f"{kind}: worst speed quartile, {level} % {at}"] = Figure(
            float(np.abs(quartiles).max()), "points", len(robots)
        )
    ratio, interval = statistics.ratio_of_runs(
        [float(r.score.mean()) for r in robots], [float(r.baseline.mean()) for r in robots]
    )
    found[f"{kind}: energy score over Gaussian hold-last {at}"] = Figure(ratio, "ratio", len(robots), interval)
    # Within a robot and over the windows of all of them: which predictions to distrust, and which robots.
    spread, error = np.concatenate([r.epistemic for r in robots]), np.concatenate([r.error for r in robots])
    found[f"{kind}: epistemic rank {at}"] = Figure(statistics.spearman(spread, error), "1", len(spread))
    found[f"{kind}: epistemic spread {at}"] = Figure(float(np.median(spread)), "std", len(spread))
    values = np.concatenate([r.pit.ravel() for r in robots])
    shares = np.histogram(values, 10, (0, 1))[0] / len(values)
    found[f"{kind}: PIT histogram, largest bin {at}, off by"] = Figure(
        float(100 * np.abs(shares - 0.1).max()), "points", len(values)
    )
    return found


def _quartiles(robots: list[Measured], level: int) -> np.ndarray:
    """[quartile] signed coverage error over the windows of all robots."""
    by: dict[int, list[float]] = defaultdict(list)
    for robot in robots:
        for quartile, row in zip(robot.speed, robot.cover[level], strict=True):
            by[int(quartile)].append(float(row.mean()))
    return np.array([100 * np.mean(by[q]) - level for q in sorted(by)])


def targets(kinds: Sequence[str]) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for kind in kinds:
        for horizon in HORIZONS_S:
            for level in statistics.LEVELS:
                found[f"{kind}: coverage of {level} % at {horizon:g} s, off by"] = Target(5.0, "lower")
                found[f"{kind}: worst robot, {level} % at {horizon:g} s"] = Target(10.0, "lower")
                found[f"{kind}: worst speed quartile, {level} % at {horizon:g} s"] = Target(10.0, "lower")
            found[f"{kind}: epistemic rank at {horizon:g} s"] = Target(0.5, "higher")
        for horizon in (h for h in HORIZONS_S if h >= 0.1):
            found[f"{kind}: energy score over Gaussian hold-last at {horizon:g} s"] = Target(0.8, "lower")
    found["epistemic spread at 0.5 s, all data over a quarter"] = Target(1.0, "lower")
    return found


def main() -> None:
    words = options(__doc__ or "")
    words.add_argument("--less-data", type=Path, default=None, help="a bundle trained on a quarter of the robots")
    arguments = words.parse_args()
    simulator = simulator_of(arguments)
    count = arguments.robots or (4 if arguments.quick else 16)
    cases, prompts = standin_cases(count, arguments.quick, arguments.seed)
    more, real = real_cases(arguments.work) if not arguments.quick else ([], {})
    results = [measure(simulator, case, prompts, i) for i, case in enumerate(cases)]
    # Weights that were trained on a robot's logs have nothing to gain from the same logs once more.
    results += [measure(case.simulator or simulator, case, real, len(cases) + i) for i, case in enumerate(more)]
    found = figures(results)
    if arguments.less_data:
        less = load_simulator(arguments.less_data)
        small = [measure(less, case, prompts, i) for i, case in enumerate(cases)]
        ratio, interval = statistics.ratio_of_runs(
            *([float(np.median(r[0.5].epistemic)) for r in group] for group in (results[: len(cases)], small))
        )
        found["epistemic spread at 0.5 s, all data over a quarter"] = Figure(ratio, "ratio", len(cases), interval)
    report("sim_calibration", found, targets(KINDS), [arguments.seed], arguments)


if __name__ == "__main__":
    main()
