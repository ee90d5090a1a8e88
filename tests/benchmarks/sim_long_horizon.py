"""Do long rollouts stay sane? A thousand worlds, ten thousand steps, under random commands and under a controller.

Counted are values that are not finite, steps in which a limit of the model's own was active, and how far the states
that are visited lie from those of the stand-in, per channel, in units of the distance between two runs of the stand-in
itself. A model that has limits says so in `worlds.limits_active(state)`, bool [N]. The controller is the best of a
random search on the stand-in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import population
from fleet_ingest.standins.recorder import run
from fleet_ingest.standins.twin import FamilyStandIn
from simulator.history import History
from simulator.scene import Scene
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import options, report, simulator_of
from tests.benchmarks.sim.controllers import CartPole, draw_gains
from tests.benchmarks.sim.windows import angles, unseen
from tests.benchmarks.sim_policy_ranking import real_returns

WORLDS, STEPS, RUNS, KEPT_WORLDS, THIN = 1024, 10_000, 8, 64, 10
Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(states [P, S], generator) -> commands [P, C]."""


class Held:
    """Uniform commands within half the limits, held 0.1 s; one stream for a batch."""

    def __init__(self, body: Body) -> None:
        self._limits = body.spec.command_limits[:, 1]
        self._every = max(1, round(0.1 * body.rate_hz))
        self._step = 0
        self._value = np.zeros((0, 0))

    def __call__(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self._step % self._every == 0:
            self._value = rng.uniform(-0.5, 0.5, (len(states), len(self._limits))) * self._limits
        self._step += 1
        return self._value


def best_controller(body: Body, candidates: int, seed: int) -> Policy:
    gains = draw_gains(candidates, seed)
    best = gains.pick(np.array([int(np.argmax(real_returns(body, gains, 2, 55 + seed)))]))
    pole = CartPole.of(body.spec)
    return lambda states, rng: pole.act(best, states, rng.uniform(-1, 1, len(states)))


@dataclass(frozen=True, eq=False)
class Rollout:
    """`kept` [worlds, rows, S]; `broken`: values that were not finite; `limited`: share of (world, step) pairs in which
    the model's limits were active, None where the model does not say."""

    kept: np.ndarray
    broken: int
    limited: float | None


def real_runs(body: Body, make: Callable[[], Policy], runs: int, steps: int) -> list[np.ndarray]:
    """States [rows, S] of the stand-in, every `THIN` steps, from rest."""
    driver, start, found = FamilyStandIn(body), rest(body), []
    for part in range(runs):
        policy, rng = make(), np.random.default_rng([part, 5])
        recorded = run(driver, start, lambda t, s, p=policy, r=rng: p(s[None], r)[0], steps, 31, part)  # type: ignore[misc]
        found.append(recorded.episode.state[THIN::THIN])
    return found


def rest(body: Body) -> np.ndarray:
    """[S] hanging, or stretched out where nothing hangs."""
    return np.array([v for j in body.joints for v in ((np.pi if body.up == 1 and not j.prismatic else 0.0), 0.0)])


def rollout(scene: Scene, body: Body, policy: Policy, worlds_n: int, steps: int, seed: int) -> Rollout:
    worlds, rng = scene.sample(worlds_n, seed), np.random.default_rng([seed, 6])
    first = torch.from_numpy(np.tile(rest(body), (worlds_n, 1))).float()[:, None]
    limits_active = getattr(worlds, "limits_active", None)
    kept, broken, active = [], 0, 0
    with torch.no_grad():
        state = worlds.reset(History(first, first.new_zeros(worlds_n, 0, len(body.driven))))
        seen = worlds.observe(state)
        for t in range(steps):
            command = policy(np.nan_to_num(seen.double().numpy()), rng)
            state, _, _ = worlds.step(state, torch.from_numpy(command).float())
            seen = worlds.observe(state)
            broken += int((~torch.isfinite(seen)).sum())
            active += 0 if limits_active is None else int(limits_active(state).sum())
            if (t + 1) % THIN == 0:
                kept.append(seen[:KEPT_WORLDS].double().numpy())
    share = None if limits_active is None else active / (steps * worlds_n)
    return Rollout(np.stack(kept, 1), broken, share)


def distances(simulated: np.ndarray, real: list[np.ndarray], angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[S] mean distance of a simulated world to a run of the stand-in, and of two runs of the stand-in."""

    def between(a: np.ndarray, b: np.ndarray) -> list[float]:
        return [statistics.wasserstein(a[:, s], b[:, s], angle=bool(angle[s])) for s in range(len(angle))]

    own = np.mean([between(a, b) for a, b in combinations(real, 2)], 0)
    finite = [world for world in simulated if np.isfinite(world).all()]
    if not finite:
        return np.full(len(angle), np.inf), own
    return np.mean([between(world, run) for world in finite for run in real], 0), own


def figures(
    name: str, body: Body, found: Rollout, real: list[np.ndarray], worlds: int, steps: int
) -> dict[str, Figure]:
    mine, own = distances(found.kept, real, angles(body.spec))
    ratios, pairs = mine / np.maximum(own, 1e-12), len(found.kept) * len(real)
    figures = {
        f"{name}: values not finite": Figure(found.broken, "values", worlds * steps),
        f"{name}: largest Wasserstein ratio": Figure(float(ratios.max()), "ratio", pairs),
    }
    if found.limited is not None:
        figures[f"{name}: share of steps with limits active"] = Figure(found.limited, "share", worlds * steps)
    spreads = statistics.channel_scale(np.concatenate(real), angles(body.spec))
    for column, ratio, distance, spread in zip(body.spec.state_layout.columns, ratios, mine, spreads, strict=True):
        figures[f"{name}: {column}, distance over seed to seed"] = Figure(float(ratio), "ratio", pairs)
        figures[f"{name}: {column}, distance over spread"] = Figure(float(distance / spread), "std", pairs)
    return figures


def targets(names: list[str]) -> dict[str, Target]:
    found = {}
    for name in names:
        found[f"{name}: values not finite"] = Target(0.0, "lower")
        found[f"{name}: share of steps with limits active"] = Target(0.001, "lower")
        found[f"{name}: largest Wasserstein ratio"] = Target(2.0, "lower")
    return found


def main() -> None:
    arguments = options(__doc__ or "").parse_args()
    simulator, quick = simulator_of(arguments), arguments.quick
    worlds, steps, runs = (64, 300, 3) if quick else (WORLDS, STEPS, RUNS)
    cartpole = population(1, 960 + arguments.seed, ["cartpole"], "test")[0]
    double = population(1, 960 + arguments.seed, ["double_pendulum"], "test")[0]
    controller = best_controller(cartpole, 20 if quick else 200, arguments.seed)
    cases: dict[str, tuple[Body, Callable[[], Policy]]] = {
        "cart-pole, random": (cartpole, lambda: Held(cartpole)),
        "cart-pole, controller": (cartpole, lambda: controller),
        "double pendulum, random": (double, lambda: Held(double)),
    }
    found: dict[str, Figure] = {}
    for name, (body, make) in cases.items():
        scene = simulator.ground(unseen(body, 1, 1.0, seed=0).prompt())
        rolled = rollout(scene, body, make(), worlds, steps, arguments.seed)
        found |= figures(name, body, rolled, real_runs(body, make, runs, steps), worlds, steps)
    report("sim_long_horizon", found, targets(list(cases)), [arguments.seed], arguments)


if __name__ == "__main__":
    main()
