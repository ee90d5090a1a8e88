"""Does the simulator rank policies as the robot does?

On each of several unseen cart-poles, sixteen policies that are spread evenly by their real return are run on the
stand-in and, from the same starts, in the simulator grounded by some seconds of its log. Returns are shares of the
highest possible. Which policies are taken is decided on other episodes than those reported.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import population
from fleet_ingest.standins.recorder import run
from fleet_ingest.standins.twin import FamilyStandIn
from simulator.history import History
from simulator.scene import Scene
from simulator.simulator import Simulator
from storage.contracts.starts import evaluation_starts
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import options, report, simulator_of
from tests.benchmarks.sim.controllers import HORIZON_S, CartPole, Gains, draw_gains, swing_up
from tests.benchmarks.sim.windows import unseen

POLICIES = 16
CANDIDATES = 200
TARGETS = {
    "Pearson": Target(0.93, "higher"),
    "Spearman within the better half": Target(0.8, "higher"),
    "MMRV": Target(0.03, "lower"),
}


@dataclass(frozen=True, eq=False)
class Ranked:
    """Mean returns [P] as shares of the highest possible, on the robot and in the simulator; `again` on the robot from
    other starts, which is as well as anything can rank."""

    real: np.ndarray
    simulated: np.ndarray
    again: np.ndarray | None = None


def real_returns(body: Body, gains: Gains, episodes: int, seed: int) -> np.ndarray:
    """[P] mean over `episodes` starts; the noise of sensors and policies differs by episode."""
    task, pole, driver = swing_up(body), CartPole.of(body.spec), FamilyStandIn(body)
    steps, names = task.horizon_steps(body.spec), body.spec.state_layout.columns
    starts = [np.array([s.get(n, 0.0) for n in names]) for s in evaluation_starts(task, episodes, seed)]
    found = np.zeros((len(gains.pump), episodes))
    for p in range(len(found)):
        own = gains.pick(np.array([p]))
        for e, start in enumerate(starts):
            uniform = np.random.default_rng([seed, p, e]).uniform(-1, 1, steps)
            policy = lambda t, s, u=uniform, g=own: pole.act(g, s[None], u[t : t + 1])[0].tolist()
            episode = run(driver, start, policy, steps, seed, e, purpose="evaluation").episode
            rewards = np.asarray(task.reward_of(body.spec, episode.state[1:], episode.command, np))
            found[p, e] = rewards.sum() / steps  # a robot that trips earns nothing more
    return np.asarray(found.mean(1))


def simulated_returns(scene: Scene, body: Body, gains: Gains, per: int, seed: int) -> np.ndarray:
    """[P] mean over `per` hypotheses each; hypothesis i of every policy starts alike."""
    task, pole = swing_up(body), CartPole.of(body.spec)
    steps, policies = task.horizon_steps(body.spec), len(gains.pump)
    worlds = scene.sample(policies * per, seed)
    names = body.spec.state_layout.columns
    starts = np.array([[s.get(n, 0.0) for n in names] for s in evaluation_starts(task, per, seed)])
    first = torch.from_numpy(np.tile(starts, (policies, 1))).float()
    each = gains.pick(np.repeat(np.arange(policies), per))
    rng, total = np.random.default_rng(seed), np.zeros(policies * per)
    with torch.no_grad():
        state = worlds.reset(History(first[:, None], first.new_zeros(worlds.n, 0, 1)))
        seen = worlds.observe(state).double().numpy()
        for _ in range(steps):
            command = pole.act(each, seen, rng.uniform(-1, 1, worlds.n))
            state, _, _ = worlds.step(state, torch.from_numpy(command).float())
            seen = worlds.observe(state).double().numpy()
            total += np.asarray(task.reward_of(body.spec, seen, command, np))
    return np.asarray((total / steps).reshape(policies, per).mean(1))


def spread_evenly(returns: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` policies whose returns lie nearest an even grid from the lowest to the highest."""
    left, chosen = list(range(len(returns))), []
    for wanted in np.linspace(returns.min(), returns.max(), count):
        nearest = min(left, key=lambda i: abs(returns[i] - wanted))
        left.remove(nearest)
        chosen.append(nearest)
    return np.array(chosen)


def better_half(ranked: Ranked) -> float:
    """Spearman among the policies with the higher real returns."""
    top = np.argsort(ranked.real)[len(ranked.real) // 2 :]
    return statistics.spearman(ranked.real[top], ranked.simulated[top])


def figures(results: list[Ranked]) -> dict[str, Figure]:
    """Means over robots; intervals draw robots and, within them, policies again."""
    measures: dict[str, Callable[[Ranked], float]] = {
        "Pearson": lambda r: statistics.pearson(r.real, r.simulated),
        "Spearman": lambda r: statistics.spearman(r.real, r.simulated),
        "Spearman within the better half": better_half,
        "MMRV": lambda r: statistics.mmrv(real=r.real, simulated=r.simulated),
        "simulated over real, mean difference": lambda r: float((r.simulated - r.real).mean()),
    }
    count, found = sum(len(r.real) for r in results), {}
    for name, measure in measures.items():
        rng, draws = np.random.default_rng(0), []
        for _ in range(1000):
            again = [results[i] for i in rng.integers(0, len(results), len(results))]
            parts = [(r, rng.integers(0, len(r.real), len(r.real))) for r in again]
            draws.append(np.mean([measure(Ranked(r.real[i], r.simulated[i])) for r, i in parts]))
        low, high = np.quantile(draws, [0.025, 0.975])
        found[name] = Figure(float(np.mean([measure(r) for r in results])), "1", count, (float(low), float(high)))
    for name in ("Pearson", "Spearman within the better half", "MMRV"):
        own = [measures[name](Ranked(r.real, r.again)) for r in results if r.again is not None]
        if own:
            found[f"{name}, the robot against itself"] = Figure(float(np.mean(own)), "1", count)
    found["largest gap between neighbours by real return"] = Figure(
        float(max(np.diff(np.sort(r.real)).max() for r in results)), "1", count
    )
    found["spread of real returns"] = Figure(float(min(np.ptp(r.real) for r in results)), "1", count)
    return found


def robot_result(simulator: Simulator, body: Body, arguments: argparse.Namespace, seed: int) -> Ranked:
    quick, prompt_s = arguments.quick, arguments.prompt_s
    candidates = draw_gains(40 if quick else CANDIDATES, seed)
    chosen = spread_evenly(real_returns(body, candidates, 1 if quick else 3, 77 + seed), POLICIES)
    gains = candidates.pick(chosen)
    real = real_returns(body, gains, 4 if quick else 24, 2_026 + seed)
    prompt = unseen(body, 1, 1.0, seed=seed, clip_s=prompt_s).prompt(seconds=prompt_s)
    scene = simulator.ground(prompt)
    again = real_returns(body, gains, 4 if quick else 24, 9_000 + seed)
    return Ranked(real, simulated_returns(scene, body, gains, 10 if quick else 64, 2_026 + seed), again)


def main() -> None:
    words = options(__doc__ or "")
    words.add_argument("--prompt-s", type=float, default=2.0, help="seconds of log that ground the simulator")
    arguments = words.parse_args()
    simulator = simulator_of(arguments)
    count = arguments.robots or (1 if arguments.quick else 4)
    bodies = population(count, 940 + arguments.seed, ["cartpole"], "test")
    results = [robot_result(simulator, body, arguments, i) for i, body in enumerate(bodies)]
    found = figures(results) | {"episode": Figure(HORIZON_S, "s", count)}
    report("sim_policy_ranking", found, TARGETS, [arguments.seed], arguments)


if __name__ == "__main__":
    main()
