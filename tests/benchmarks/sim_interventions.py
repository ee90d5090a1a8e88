"""Does the simulator know what commands do, or has it learned what the controllers did?

Unseen stand-ins are run by controllers in closed loop, whose commands give the state away. From the same exact states,
twins are run under other commands, which no controller chose. The error of the simulator there is compared with its
error on what was observed: medians over the windows of a robot, paired per robot, geometric mean over robots.
"""

from dataclasses import dataclass, replace

import numpy as np

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, population
from fleet_ingest.standins.twin import Twin
from simulator.scene import Scene
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import options, report, simulator_of
from tests.benchmarks.sim.windows import Tested, Windows, controlled, futures, steps_of, unseen, windows_of

HORIZONS_S = (0.1, 0.5, 1.0)
SAMPLES = 20
TARGETS = {f"interventions over observations at {h:g} s": Target(1.2, "lower") for h in HORIZONS_S}


@dataclass(frozen=True)
class Errors:
    """Median error of one robot by horizon: observed, under interventions, and of hold-last in both."""

    observed: list[float]
    intervened: list[float]
    held: list[float]
    held_intervened: list[float]


def intervened(body: Body, windows: Windows, seed: int) -> Windows:
    """The same windows with other commands: those of another window, plus noise of half the limits held 0.1 s, from
    which the twin goes on from the exact state."""
    rng = np.random.default_rng(seed)
    limits = body.spec.command_limits[:, 1]
    every = max(1, round(0.1 * body.rate_hz))
    shape = (windows.n, -(-windows.commands.shape[1] // every), len(limits))
    noise = np.repeat(rng.normal(0, 0.5, shape) * limits, every, 1)[:, : windows.commands.shape[1]]
    commands = np.clip(windows.commands[rng.permutation(windows.n)] + noise, -limits, limits)
    twin, truth = Twin(body), np.empty_like(windows.truth)
    for w, snapshot in enumerate(windows.snapshots):
        twin.restore(snapshot)
        truth[w] = twin.step(commands[w])
    return replace(windows, commands=commands, ahead=truth, truth=truth)


def robot_errors(scene: Scene, robot: Tested, windows: Windows, seed: int) -> Errors:
    steps = steps_of(HORIZONS_S, robot.body.spec)
    found: dict[str, list[float]] = {"predicted": [], "held": []}
    for case in (windows, intervened(robot.body, windows, seed)):
        samples = futures(scene, case, SAMPLES, steps, seed).samples
        for k, step in enumerate(steps):
            truth = case.truth[:, step - 1]
            middle = statistics.center(samples[:, :, k], robot.angle)
            for name, guess in (("predicted", middle), ("held", case.now)):
                found[name].append(float(np.median(statistics.errors(guess, truth, robot.scale, robot.angle))))
    half = len(steps)
    p, h = found["predicted"], found["held"]
    return Errors(p[:half], p[half:], h[:half], h[half:])


def main() -> None:
    arguments = options(__doc__ or "").parse_args()
    simulator = simulator_of(arguments)
    count = arguments.robots or (4 if arguments.quick else 32)
    results = []
    for i, body in enumerate(population(count, 900 + arguments.seed, BENCHMARK, "test")):
        robot = unseen(body, 2, 10.0, seed=i)
        logs = controlled(body, 1 if arguments.quick else 4, 10.0, seed=i)
        windows = windows_of(logs, max(steps_of(HORIZONS_S, body.spec)), 20 if arguments.quick else 60)
        scene = simulator.ground(robot.prompt())
        results.append(robot_errors(scene, robot, windows, seed=i))
    report("sim_interventions", figures(results), TARGETS, [arguments.seed], arguments)


def figures(results: list[Errors]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for k, horizon in enumerate(HORIZONS_S):
        observed, other = [r.observed[k] for r in results], [r.intervened[k] for r in results]
        ratio, interval = statistics.ratio_of_runs(other, observed)
        found[f"interventions over observations at {horizon:g} s"] = Figure(ratio, "ratio", len(results), interval)
        pairs = (("observed", observed, [r.held[k] for r in results]),
                 ("intervened", other, [r.held_intervened[k] for r in results]))  # fmt: skip
        for name, errors, held in pairs:
            ratio, interval = statistics.ratio_of_runs(errors, held)
            found[f"{name} at {horizon:g} s"] = Figure(float(np.mean(errors)), "std", len(results))
            found[f"{name} over hold-last at {horizon:g} s"] = Figure(ratio, "ratio", len(results), interval)
    return found


if __name__ == "__main__":
    main()
