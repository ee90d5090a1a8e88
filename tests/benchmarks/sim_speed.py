"""Robot-seconds per wall-second of the simulator over batch sizes, beside a physics engine and a recurrent world model.

All in one run on the same cores, in turns, medians of the turns. The simulator steps and observes with sensor noise;
its bundle is the one whose accuracy is reported. The Gymnasium environment is stepped in Python, one process a core,
once at its own period (0.04 s) and once at the stand-in's (0.02 s).
"""

from collections import defaultdict

import numpy as np
import torch

from fleet_ingest.standins.families import population
from simulator.scene import Scene
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim.bundle import options, report, simulator_of
from tests.benchmarks.sim.peers import gymnasium_robot_seconds, rate, recurrent_rate
from tests.benchmarks.sim.windows import unseen

BATCHES = (64, 256, 1024, 4096)
TURNS = 5
TARGETS = {
    "over a Gymnasium environment": Target(5.0, "higher"),
    "over a recurrent world model": Target(1.5, "higher"),
}


def simulator_rate(scene: Scene, n: int, seconds: float) -> float:
    """Steps per second of `n` worlds at once, each observed."""
    worlds = scene.sample(n, 0)
    state = worlds.reset()
    limits = torch.from_numpy(scene.spec.command_limits).float()
    command = limits[:, 0] + (limits[:, 1] - limits[:, 0]) * torch.rand(n, len(limits))

    def step() -> None:
        nonlocal state
        state, _, _ = worlds.step(state, command)
        worlds.observe(state)

    with torch.no_grad():
        return rate(step, seconds)


def main() -> None:
    words = options(__doc__ or "")
    words.set_defaults(threads=2)
    arguments = words.parse_args()
    cores, quick = arguments.threads, arguments.quick
    simulator = simulator_of(arguments)
    torch.set_num_threads(cores)
    robot = unseen(population(1, 950, ["cartpole"], "test")[0], 1, 5.0, seed=0)
    scene, spec = simulator.ground(robot.prompt()), robot.body.spec
    seconds, turns = (0.2, 1) if quick else (1.5, TURNS)
    batches = BATCHES[:2] if quick else BATCHES
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(turns):
        found["Gymnasium environment"].append(gymnasium_robot_seconds(seconds, cores))
        found["Gymnasium environment at 50 Hz"].append(gymnasium_robot_seconds(seconds, cores, frame_skip=1))
        for n in batches:
            widths = spec.state_layout.width, spec.command_layout.width
            found[f"simulator, {n} worlds"].append(n * spec.period_s * simulator_rate(scene, n, seconds))
            found[f"recurrent, {n} worlds"].append(n * spec.period_s * recurrent_rate(n, *widths, seconds))
    found_figures = figures(found, batches)
    report("sim_speed", found_figures | {"cores": Figure(cores, "cores", 1)}, TARGETS, [0], arguments)


def figures(found: dict[str, list[float]], batches: tuple[int, ...]) -> dict[str, Figure]:
    """Rates and paired ratios as medians over the turns, with their range. Against the environment the best batch
    counts, against the recurrent model the batch that suits the simulator least."""
    rates = {
        name: Figure(float(np.median(v)), "robot-seconds per second", len(v), (min(v), max(v)))
        for name, v in found.items()
    }
    best = max(batches, key=lambda n: rates[f"simulator, {n} worlds"].value)

    def paired(a: str, b: str) -> Figure:
        values = np.array(found[a]) / np.array(found[b])
        return Figure(float(np.median(values)), "ratio", len(values), (float(values.min()), float(values.max())))

    ratios = {f"over a recurrent world model, {n} worlds": paired(f"simulator, {n} worlds", f"recurrent, {n} worlds")
              for n in batches}  # fmt: skip
    ratios["over a recurrent world model"] = min(ratios.values(), key=lambda figure: figure.value)
    ratios["over a Gymnasium environment"] = paired(f"simulator, {best} worlds", "Gymnasium environment")
    ratios["over a Gymnasium environment at 50 Hz"] = paired(
        f"simulator, {best} worlds", "Gymnasium environment at 50 Hz"
    )
    return rates | ratios


if __name__ == "__main__":
    main()
