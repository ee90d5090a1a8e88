"""Does the simulator answer what-if questions rightly? What would more friction, mass, payload or delay do?

Unseen stand-ins, prompted with two seconds of log and the present value of the quantity that is asked about. A question
is (robot, quantity up or down, outcome); its true answer is the mean effect on twins over several starts and command
sequences, and counts where it exceeds two standard errors. The simulator answers with `scene.edit` under common random
numbers: one effect per hypothesis, hence an interval. Questions are kept so that both signs are as frequent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, population
from fleet_ingest.standins.twin import Twin
from simulator.history import History
from simulator.scene import Scene
from simulator.simulator import Simulator
from storage.contracts.robot import Entity, RobotSpec
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.sim import statistics
from tests.benchmarks.sim.bundle import options, report, simulator_of
from tests.benchmarks.sim.training import with_entities
from tests.benchmarks.sim.windows import HISTORY_S, Tested, angles, unseen

HORIZON_S = 1.5
QUANTITIES = ("friction", "mass", "payload", "delay")
FACTOR = {"friction": 3.0, "mass": 1.6}
STEP = {"payload": 0.6, "delay": 0.03}  # of the last link's mass; seconds
TARGETS = {
    "balanced accuracy of the sign": Target(0.9, "higher"),
    "correlation of magnitudes": Target(0.8, "higher"),
    "coverage of 90 % intervals, low side": Target(0.80, "higher"),
    "coverage of 90 % intervals, high side": Target(0.97, "lower"),
    "share of positive effects, low side": Target(0.40, "higher"),
    "share of positive effects, high side": Target(0.60, "lower"),
}


@dataclass(frozen=True, eq=False)
class Trials:
    """K trials: robots begin at `origin` [K, S] with nothing under way and run under `commands` [K, H + T, C]; what is
    changed changes after the first H = `rows` periods."""

    origin: np.ndarray
    commands: np.ndarray
    rows: int


@dataclass(frozen=True, eq=False)
class Question:
    """`true` mean effect with standard error `error`; `answers` [n] one mean effect per hypothesis; in units of the
    outcome's spread over trials."""

    robot: str
    quantity: str
    outcome: str
    true: float
    error: float
    answers: np.ndarray

    @property
    def counts(self) -> bool:
        return abs(self.true) > 2 * self.error and abs(self.true) > 1e-9


def change(body: Body, quantity: str, up: bool) -> tuple[str, float]:
    """The name that scenes and stand-ins use, and the new value."""
    if quantity in FACTOR:
        moved = body.joints[0] if quantity == "friction" else body.joints[-1]
        name = f"{moved.name}.{quantity}"
        return name, body.quantity(name) * (FACTOR[quantity] if up else 1 / FACTOR[quantity])
    name = {"payload": "payload.mass", "delay": "command.delay"}[quantity]
    step = STEP[quantity] * (body.joints[-1].mass_kg if quantity == "payload" else 1.0)
    return name, max(0.0, body.quantity(name) + (step if up else -step))


def told_of(body: Body, name: str) -> RobotSpec:
    """The maker's specification with the present value of the quantity `name`, wherever it stands."""
    rows = []
    owner, _, short = name.rpartition(".")
    field = {"friction": "friction", "mass": "mass_kg"}.get(short)
    for said, true in zip(body.spec.entities, body.true_spec.entities, strict=True):
        update: dict[str, object] = {}
        if name in true.features:
            update["features"] = said.features | {name: true.features[name]}
        elif said.name == owner and field is not None:
            update[field] = getattr(true, field)
        rows.append(Entity.model_validate(said.model_dump() | update))
    return with_entities(body.spec, rows)


def trials_of(body: Body, count: int, seed: int) -> Trials:
    """Starts anywhere, commands held 0.1 s within four tenths of the limits, so that outcomes depend on the physics
    more than on chance."""
    rng = np.random.default_rng([seed, 3])
    rows, steps = round(HISTORY_S * body.rate_hz), round(HORIZON_S * body.rate_hz)
    limits, every = body.spec.command_limits[:, 1], max(1, round(0.1 * body.rate_hz))
    held = rng.uniform(-0.4, 0.4, (count, -(-(rows + steps) // every), len(limits))) * limits
    origin = np.zeros((count, 2 * len(body.joints)))
    for j, joint in enumerate(body.joints):
        spread = 0.3 * (joint.stop_m or 1.0) if joint.prismatic else 1.2
        origin[:, 2 * j] = (np.pi if body.up == 1 and not joint.prismatic else 0.0) + rng.uniform(
            -spread, spread, count
        )
    return Trials(origin, np.repeat(held, every, 1)[:, : rows + steps], rows)


def outcomes(states: np.ndarray, commands: np.ndarray, body: Body) -> dict[str, np.ndarray]:
    """[...] of trajectories [..., T, S] under `commands` [..., T, C]: root mean square speed of every joint, how far it
    strays from where it began, and the work that its command does in a second, as if the command acted at once."""
    found = {}
    for j, joint in enumerate(body.joints):
        found[f"{joint.name} speed"] = np.sqrt((states[..., 2 * j + 1] ** 2).mean(-1))
        at = states[..., 2 * j]
        # Twice the sine of half the angle, so that a turn round does not count as six radians.
        away = at - at[..., :1] if joint.prismatic else 2 * np.sin((at - at[..., :1]) / 2)
        found[f"{joint.name} travel"] = np.sqrt((away**2).mean(-1))
        if joint in body.driven:
            found[f"{joint.name} work"] = (states[..., 2 * j + 1] * commands[..., body.driven.index(joint)]).mean(-1)
    return found


def lead_in(body: Body, trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """States [K, H + 1, S] and motors [K, C] of the unchanged robot up to the moment of the change."""
    twin, states, motors = Twin(body), [], []
    for origin, commands in zip(trials.origin, trials.commands, strict=True):
        twin.set(origin)
        states.append(np.concatenate([origin[None], twin.step(commands[: trials.rows])]))
        motors.append(twin.motor())
    return np.array(states), np.array(motors)


def real_outcomes(body: Body, trials: Trials, before: np.ndarray, motors: np.ndarray) -> dict[str, np.ndarray]:
    """Outcomes [K] of a robot that goes on from there."""
    twin, found = Twin(body), []
    idle = np.zeros((body.queue_rows, trials.commands.shape[2]))
    for k, commands in enumerate(trials.commands):
        twin.set(before[k, -1], np.concatenate([idle, commands[: trials.rows]]), motors[k])
        found.append(twin.step(commands[trials.rows :]))
    return outcomes(np.array(found), trials.commands[:, trials.rows :], body)


def simulated_outcomes(
    scene: Scene, body: Body, trials: Trials, before: np.ndarray, n: int, seed: int
) -> list[dict[str, np.ndarray]]:
    """Outcomes [n] of every trial, under the same `n` hypotheses in each."""
    worlds, found = scene.sample(n, seed), []
    past = torch.from_numpy(statistics.difference(before, np.zeros(before.shape[2]), angles(body.spec))).float()
    commands = torch.from_numpy(trials.commands).float()
    with torch.no_grad():
        for k in range(len(before)):
            state = worlds.reset(History(past[k : k + 1], commands[k : k + 1, : trials.rows]), seed=seed + k)
            rows = []
            for command in commands[k, trials.rows :]:
                state, _, _ = worlds.step(state, command.expand(n, -1))
                rows.append(worlds.observe(state, noisy=False))
            found.append(outcomes(torch.stack(rows, 1).double().numpy(), trials.commands[k, trials.rows :], body))
    return found


def questions_of(simulator: Simulator, robot: Tested, count: int, n: int, seed: int) -> list[Question]:
    """Every quantity up or down (by turns of `seed`) and every outcome of one robot."""
    body, found = robot.body, []
    trials = trials_of(body, count, seed)
    for q, quantity in enumerate(QUANTITIES):
        name, value = change(body, quantity, up=(seed + q) % 2 == 0)
        if value == body.quantity(name):
            continue
        scene = simulator.ground(robot.prompt(told_of(body, name)))
        before, motors = lead_in(body, trials)
        base = real_outcomes(body, trials, before, motors)
        edited = real_outcomes(body.edited(name, value), trials, before, motors)
        answers = [
            simulated_outcomes(s, body, trials, before, n, seed) for s in (scene, scene.edit({name: f"{value!r}"}))
        ]
        for outcome, values in base.items():
            effect = edited[outcome] - values
            unit = max(float(values.std(ddof=1)), 1e-9)
            told = np.mean([after[outcome] - first[outcome] for first, after in zip(*answers, strict=True)], 0)
            error = float(effect.std(ddof=1) / np.sqrt(count))
            found.append(
                Question(body.serial, quantity, outcome, float(effect.mean()) / unit, error / unit, told / unit)
            )
    return found


def balanced(questions: Sequence[Question], seed: int) -> list[Question]:
    """Those that count, thinned at random until neither sign has more than six tenths."""
    rng = np.random.default_rng(seed)
    kept = [question for question in questions if question.counts]
    sides = [[q for q in kept if (q.true > 0) == side] for side in (True, False)]
    most = int(1.5 * min(map(len, sides)))
    chosen: list[Question] = []
    for side in sides:
        chosen += [side[i] for i in sorted(rng.permutation(len(side))[:most])]
    return chosen


def figures(questions: Sequence[Question], asked: int) -> dict[str, Figure]:
    true = np.array([q.true for q in questions])
    middle = np.array([q.answers.mean() for q in questions])
    low, high = (np.array([np.quantile(q.answers, p, method="weibull") for q in questions]) for p in (0.05, 0.95))
    inside = (true >= low) & (true <= high)
    robots = np.array([q.robot for q in questions])
    names = np.unique(robots)
    places = [np.flatnonzero(robots == name) for name in names]

    def over_robots(statistic: Callable[[np.ndarray], float], n: int = len(questions)) -> Figure:
        value = statistic(np.arange(n))
        draw = lambda i: statistic(np.concatenate([places[j] for j in i]))
        return Figure(value, "1", n, statistics.bootstrap(draw, len(names)))

    found = {
        "balanced accuracy of the sign": over_robots(
            lambda i: statistics.balanced_accuracy(true[i] > 0, middle[i] > 0)
        ),
        "correlation of magnitudes": over_robots(lambda i: statistics.pearson(np.abs(true[i]), np.abs(middle[i]))),
        "correlation of effects": over_robots(lambda i: statistics.pearson(true[i], middle[i])),
        "width of the intervals over the true effects": over_robots(
            lambda i: float(np.median((high - low)[i] / np.abs(true[i])))
        ),
        "questions asked": Figure(asked, "questions", len(names)),
    }
    for side in ("low", "high"):
        found[f"coverage of 90 % intervals, {side} side"] = over_robots(lambda i: float(inside[i].mean()))
        found[f"share of positive effects, {side} side"] = over_robots(lambda i: float((true[i] > 0).mean()))
    for quantity in QUANTITIES:
        of = np.array([q.quantity == quantity for q in questions])
        if of.any():
            right = (true > 0) == (middle > 0)
            found[f"sign right, {quantity}"] = Figure(float(right[of].mean()), "share", int(of.sum()))
            found[f"covered, {quantity}"] = Figure(float(inside[of].mean()), "share", int(of.sum()))
    return found


def main() -> None:
    words = options(__doc__ or "")
    arguments = words.parse_args()
    simulator = simulator_of(arguments)
    quick = arguments.quick
    count = arguments.robots or (4 if quick else 24)
    questions: list[Question] = []
    for i, body in enumerate(population(count, 930 + arguments.seed, BENCHMARK, "test")):
        robot = unseen(body, 1, 5.0, seed=i)
        # Shifted by the round of families, so that each family is asked both ways about everything.
        questions += questions_of(simulator, robot, 3 if quick else 12, 10 if quick else 36, i + i // len(BENCHMARK))
    kept = balanced(questions, arguments.seed)
    found = figures(kept, len(questions)) if kept else {}
    report("sim_what_if", found, TARGETS, [arguments.seed], arguments)


if __name__ == "__main__":
    main()
