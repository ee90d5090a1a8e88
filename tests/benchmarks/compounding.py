"""Does the loop compound, or would something simpler do as well? The sceptic's experiment on stand-in cart-poles.

A unit is one loop over a fresh draw of 3 stand-ins (swing-up with delay, hidden physics), 5 iterations of 30
robot-seconds each, without servers. Arms: the full loop; its simulator frozen after the first iteration; retrained on
equal seconds of noise instead of what policies did; policies trained without sampling hypotheses; SAC at equal steps.
Returns are measured on 8 stand-ins that no fleet ever held. Declared beforehand: the endpoint is the area under real
return against robot-seconds, full minus frozen and full minus non-adaptive, interquartile mean over draws, bootstrap
over draws.
Given again it goes on where it was stopped (`--work`); SAC needs the extra `bench`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fleet_ingest.standins.registry import standin
from flows.local_loop import LoopConfig
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.learning.arms import ARMS, Experiment, Row
from tests.benchmarks.learning.sac_arm import sac_curve
from tests.benchmarks.peers.bootstrap import area_under, iqm, stratified_bootstrap

WORK = Path(".benchmarks") / "compounding"
Curves = Mapping[str, Sequence[Row]]


def config(draw: int, quick: bool) -> LoopConfig:
    if quick:
        return LoopConfig(
            seed=draw, simulator=SimulatorConfig(updates=20, warm_updates=10, members=2),
            policy=PolicyConfig(updates=8, worlds=16, windows=2, evaluation_worlds=4, evaluation_steps=20),
        )  # fmt: skip
    return LoopConfig(
        seed=draw,
        simulator=SimulatorConfig(updates=400, warm_updates=250, jitter=0.0),
        policy=PolicyConfig(updates=200),
    )


def area(curve: Sequence[Row], up_to: float) -> float:
    """Mean real return over the robot-seconds from the first policy to `up_to`."""
    x, y = [row["robot_s"] for row in curve], [row["return"] for row in curve]
    return area_under(x, y, up_to) / (up_to - x[0]) if up_to > x[0] else y[0]


def contrast(loops: Sequence[Curves], arm: str) -> Figure:
    """Full minus `arm`, area under the return."""
    up_to = min(curves["full"][-1]["robot_s"] for curves in loops)
    value, interval = stratified_bootstrap(
        {"cartpole": [area(curves["full"], up_to) - area(curves[arm], up_to) for curves in loops]}
    )
    return Figure(round(value, 3), "1", len(loops), interval)


def over_loops(values: Sequence[float], unit: str) -> Figure:
    value, interval = stratified_bootstrap({"cartpole": list(values)})
    return Figure(round(value, 4), unit, len(values), interval)


def figures(loops: Sequence[Curves]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    arms = [arm for arm in (*ARMS[1:], "sac") if all(arm in curves for curves in loops)]
    for arm in arms:
        found[f"area under real return, full minus {arm}"] = contrast(loops, arm)
    for arm in ("full", *arms):
        ends = [curves[arm][-1]["return"] for curves in loops]
        found[f"real return at the end, {arm}"] = Figure(round(iqm(ends), 2), "1", len(ends))
    errors = [[row["error"] for row in curves["full"]] for curves in loops]
    found["slope of the simulator's error"] = over_loops(
        [float(np.polyfit(range(len(e)), e, 1)[0]) if len(e) > 1 else 0.0 for e in errors], "1/iteration"
    )
    found["simulator's error, last over first"] = over_loops([e[-1] / e[0] for e in errors], "1")
    oracle = standin("cartpole").oracle_return()
    if oracle is not None:
        gaps = [abs(curves["full"][-1]["simulated"] - curves["full"][-1]["fleet"]) / oracle for curves in loops]
        found["gap of simulated and real return at the end"] = over_loops(gaps, "oracle")
    return found


TARGETS = {
    "area under real return, full minus frozen": Target(0.0, "higher"),
    "area under real return, full minus non-adaptive": Target(0.0, "higher"),
    "slope of the simulator's error": Target(0.0, "lower"),
    "simulator's error, last over first": Target(0.5, "lower"),
    "gap of simulated and real return at the end": Target(0.1, "lower"),
}


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--loops", type=int, default=10)
    words.add_argument("--iterations", type=int, default=5)
    words.add_argument("--arms", nargs="*", default=[*ARMS, "sac"], choices=[*ARMS, "sac"])
    words.add_argument("--work", type=Path, default=WORK, help="where a killed run goes on from")
    arguments = words.parse_args()
    torch.set_num_threads(1)
    draws = range(2 if arguments.quick else arguments.loops)
    iterations = 2 if arguments.quick else arguments.iterations
    work = arguments.work / ("quick" if arguments.quick else "whole")
    loops: list[dict[str, list[Row]]] = []
    for draw in draws:
        unit = Experiment(draw, config(draw, arguments.quick), work, iterations)
        for arm in arguments.arms:
            unit.curves[arm] = sac_curve(unit, arguments.quick) if arm == "sac" else unit.run(arm)
            last = unit.curves[arm][-1]
            sys.stderr.write(f"draw {draw}, {arm}: {', '.join(f'{k} {v:.4g}' for k, v in last.items())}\n")
            sys.stderr.flush()
        loops.append(unit.curves)
    result: dict[str, Any] = envelope("compounding", figures(loops), TARGETS, list(draws))
    below = [key for key in TARGETS if "minus" in key and key in result["figures"]]
    result["missed"] += [k for k in below if k not in result["missed"] and result["figures"][k]["ci95"][0] <= 0]
    result["curves"] = loops
    publish(result, arguments)


if __name__ == "__main__":
    main()
