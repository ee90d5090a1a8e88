"""Does the k-th new robot of a fleet cost less than the first? Robot-seconds until a policy earns 90 % of the oracle's
return on it, for the 1st, 2nd, 4th and 8th robot, beside the same robots from scratch.

A unit is one draw of eight stand-in cart-poles (swing-up with delay, hidden physics) that join one after another, see
`learning/growing_fleet.py`; without servers. The 2 s of noise that ground the simulator in a robot count, so nothing
costs less. A robot that did not get there within the limit counts as the limit and is told apart (cut off). The first
evaluation that passes counts, in both arms. Robots differ in how hard they are: the first and the eighth are other
robots, so the ratio to from-scratch, of the same robot, says more on few draws.
The oracle is SAC trained on that robot alone (extra `bench`); `--oracle family` takes the committed one of the family
for all of them, of which some robots cannot reach 90 %.
Declared beforehand: the cost of the 8th over that of the 1st, over that from scratch, and the change per doubling of
the fleet, geometric means over draws, bootstrap over draws. Given again it goes on where it was stopped (`--work`).
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fleet_ingest.standins.registry import standin
from flows.local_loop import LoopConfig
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.learning.arms import Row
from tests.benchmarks.learning.growing_fleet import Cost, GrowingFleet, Protocol, cost_of
from tests.benchmarks.learning.own_oracle import STEPS, own_oracle
from tests.benchmarks.peers.bootstrap import stratified_bootstrap

WORK = Path(".benchmarks") / "kth_robot"
_EVERY = 10
"""Seeds of training lie this far apart, so that no two draws share one."""
QUICK = Protocol(timed=(1, 2), limit_s=7.0, contribution_s=7.0, evaluation_episodes=2)


@dataclass(frozen=True)
class Unit:
    """What one draw gave: position -> cost, in the fleet and from scratch, and the share of the oracle's return that
    the fleet's policy earned on a robot before anything was trained for it."""

    fleet: Mapping[int, Cost]
    scratch: Mapping[int, Cost]
    untrained: Mapping[int, float]
    wall_s: float


def config(draw: int, quick: bool) -> LoopConfig:
    """As many gradient steps from nothing as from an earlier simulator: equal in each iteration of either arm."""
    if quick:
        return LoopConfig(
            seed=_EVERY * draw, simulator=SimulatorConfig(updates=10, warm_updates=10, members=2),
            policy=PolicyConfig(updates=8, worlds=16, windows=2, evaluation_worlds=4, evaluation_steps=20),
        )  # fmt: skip
    return LoopConfig(
        seed=_EVERY * draw,
        simulator=SimulatorConfig(updates=300, warm_updates=300, jitter=0.0),
        policy=PolicyConfig(updates=200),
    )


def over_draws(ratios: Sequence[float]) -> Figure:
    """Geometric mean and its 95 % interval."""
    logs = [math.log(ratio) for ratio in ratios]
    value, (low, high) = stratified_bootstrap({"cartpole": logs}, lambda drawn: float(np.mean(drawn)))
    rounded = (round(math.exp(low), 4), round(math.exp(high), 4))
    return Figure(round(math.exp(value), 4), "1", len(ratios), rounded)


def ratio(pairs: Sequence[tuple[Cost, Cost]]) -> Figure:
    """Of the first of each pair to the second, cut off where they were."""
    return over_draws([first.seconds / second.seconds for first, second in pairs])


def per_doubling(fleets: Sequence[Mapping[int, Cost]]) -> Figure:
    """Factor on the cost for each doubling of the position: 2 to the slope of a line through the logarithms."""
    slopes = [
        float(np.polyfit(np.log2(list(costs)), np.log2([c.seconds for c in costs.values()]), 1)[0]) for costs in fleets
    ]
    return over_draws([2.0**slope for slope in slopes])


def named(position: int, arm: str) -> str:
    return f"robot {position}, {arm}"


def spread(name: str, costs: Sequence[Cost]) -> dict[str, Figure]:
    """Median and range over draws, and in how many it was cut off: where in half of them, the median is a lower
    bound."""
    seconds, n = [cost.seconds for cost in costs], len(costs)
    return {
        f"{name}: median": Figure(float(np.median(seconds)), "robot s", n),
        f"{name}: fewest": Figure(min(seconds), "robot s", n),
        f"{name}: most": Figure(max(seconds), "robot s", n),
        f"{name}: cut off": Figure(float(sum(cost.censored for cost in costs)), "draws", n),
    }


def contrasts(units: Sequence[Unit]) -> dict[str, list[tuple[Cost, Cost]]]:
    """Ratio -> its numerator and denominator in each draw."""
    positions = sorted(units[0].fleet)
    last = positions[-1]
    found = {f"robot {last} over robot 1": [(unit.fleet[last], unit.fleet[positions[0]]) for unit in units]}
    for position in positions[1:]:
        found[f"robot {position}, fleet over from scratch"] = [
            (unit.fleet[position], unit.scratch[position]) for unit in units
        ]
    return found


def figures(units: Sequence[Unit]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for position in sorted(units[0].fleet):
        found |= spread(named(position, "fleet"), [unit.fleet[position] for unit in units])
        found |= spread(named(position, "from scratch"), [unit.scratch[position] for unit in units])
        shares = [unit.untrained[position] for unit in units if position in unit.untrained]
        if shares:
            key = f"robot {position}, share of the oracle before training: median"
            found[key] = Figure(round(float(np.median(shares)), 3), "1", len(shares))
    found |= {name: ratio(pairs) for name, pairs in contrasts(units).items()}
    found["factor per doubling of the fleet"] = per_doubling([unit.fleet for unit in units])
    found["wall time per draw"] = Figure(round(float(np.mean([unit.wall_s for unit in units])), 1), "s", len(units))
    return found


def bounds(pairs: Sequence[tuple[Cost, Cost]]) -> dict[str, int]:
    """In how many draws a ratio is exact, at most or at least what was computed, or anything."""
    kinds = [(first.censored, second.censored) for first, second in pairs]
    names = {"exact": (False, False), "at most": (False, True), "at least": (True, False), "unknown": (True, True)}
    return {name: kinds.count(kind) for name, kind in names.items()}


def targets(last: int) -> dict[str, Target]:
    """All are factors that must lie below 1 with their whole interval."""
    names = (f"robot {last} over robot 1", f"robot {last}, fleet over from scratch", "factor per doubling of the fleet")
    return {name: Target(1.0, "lower") for name in names}


def report(units: Sequence[Unit], seeds: Sequence[int]) -> dict[str, Any]:
    """The result without its curves. A factor is missed, too, when its interval reaches 1, or when a draw says no more
    than that it is at least what was computed."""
    wanted = targets(max(units[0].fleet))
    result: dict[str, Any] = envelope("kth_robot", figures(units), wanted, seeds)
    result["bounds"] = {name: bounds(pairs) for name, pairs in contrasts(units).items()}
    for name in wanted:
        open_ended = result["bounds"].get(name, {}).get("at least", 0)
        if name not in result["missed"] and (result["figures"][name]["ci95"][1] >= 1 or open_ended):
            result["missed"].append(name)
    return result


def measured(fleet: GrowingFleet) -> tuple[Unit, dict[str, dict[int, list[Row]]]]:
    """One draw, gone on with where it was left, and its curves."""
    grown = fleet.grown()
    first, *others = fleet.protocol.timed
    # The first robot meets an empty fleet: its curve is the one from scratch.
    alone = {position: fleet.from_scratch(position) for position in others}
    scratch = {first: grown.curves[first]} | {position: arm.curves[position] for position, arm in alone.items()}
    level = {position: fleet.threshold(position) for position in fleet.protocol.timed}
    unit = Unit(
        {position: cost_of(grown.curves[position], level[position]) for position in level},
        {position: cost_of(scratch[position], level[position]) for position in level},
        {
            position: rows[0]["return"] / fleet.oracle(fleet.serial(position))
            for position, rows in grown.curves.items()
            if not rows[0]["trained"]
        },
        grown.seconds + sum(arm.seconds for arm in alone.values()),
    )
    return unit, {"fleet": grown.curves, "from scratch": scratch}


def oracle_by(arguments: argparse.Namespace, family: bool) -> Callable[[str], float]:
    """Serial -> the oracle's return on it."""
    if not family:
        folder = arguments.work / "oracles"
        return lambda serial: float(own_oracle(serial, folder, arguments.oracle_steps)["return"])
    value = standin("cartpole").oracle_return()
    if value is None:
        sys.exit("the family has no oracle for its task: run python -m tests.benchmarks.oracle_cartpole --json")
    return lambda serial: value


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--seeds", type=int, default=3, help="draws of fleets")
    words.add_argument("--first-seed", type=int, default=0, help="so that processes can share the draws")
    words.add_argument("--limit", type=float, default=Protocol.limit_s, help="robot-seconds until a robot is cut off")
    words.add_argument("--oracle", choices=["own", "family"], default="own")
    words.add_argument("--oracle-steps", type=int, default=STEPS, help="of SAC on each robot that is timed")
    words.add_argument("--work", type=Path, default=WORK, help="where a killed run goes on from")
    arguments = words.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    protocol = QUICK if quick else Protocol(limit_s=arguments.limit)
    family = quick or arguments.oracle == "family"
    folder = arguments.work / ("quick" if quick else "whole") / ("family" if family else "own")
    oracle = oracle_by(arguments, family)
    seeds = list(range(arguments.first_seed, arguments.first_seed + (1 if quick else arguments.seeds)))
    fleets = [GrowingFleet(draw, config(draw, quick), folder, protocol, oracle, tell) for draw in seeds]
    units, curves = zip(*map(measured, fleets), strict=True)
    result = report(units, seeds)
    result |= {"timed": list(protocol.timed), "limit_s": protocol.limit_s, "oracle": "family" if family else "own"}
    result["oracles"] = {fleet.serial(p): oracle(fleet.serial(p)) for fleet in fleets for p in protocol.timed}
    result["curves"] = {str(draw): one for draw, one in zip(seeds, curves, strict=True)}
    publish(result, arguments)


if __name__ == "__main__":
    main()
