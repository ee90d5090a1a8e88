"""The stand-in cart-pole: closed-form physics, repeatability, hidden differences, and a swing-up that can be done."""

import hashlib
import math
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from fleet_ingest.standins.cartpole import STEP_S, CartPoleStandIn, Drive, Physics, draw, mjcf
from fleet_ingest.standins.registry import standin
from fleet_ingest.standins.tasks import CARTPOLE, CARTPOLE_SWINGUP
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.starts import evaluation_starts, return_of

SERIALS = [f"cartpole-{i:04d}" for i in range(1, 31)]
PINNED_DRAW = "16615f1364e2b6b7272ca6f0595934b436e7fff692037e8ef14780eefdb5f0d9"
PINNED_LAST_ROW = [0.316977, 0.838007, 2.835224, 2.248114]
IDEAL = Physics(1.0, 0.2, 0.6, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0, (0, 0, 0, 0))


def trajectory(
    serial: str, commands: np.ndarray, *, seed: int = 0, start: dict[str, float] | None = None
) -> np.ndarray:
    robot = CartPoleStandIn(serial)
    robot.reset(start if start is not None else {"pole.angle": math.pi}, seed)
    rows = [robot.read()[1]]
    for command in commands:
        robot.apply(np.array([command]))
        rows.append(robot.read()[1])
    return np.array(rows)


def test_same_serial_seed_and_commands_give_the_same_bits() -> None:
    commands = np.random.default_rng(0).uniform(-10, 10, 100)
    robot = CartPoleStandIn(SERIALS[0])
    robot.reset({}, 99)
    for command in commands[:17]:
        robot.apply(np.array([command]))
    robot.reset({"pole.angle": math.pi}, 5)
    rows = [robot.read()[1]]
    for command in commands:
        robot.apply(np.array([command]))
        rows.append(robot.read()[1])
    assert np.array(rows).tobytes() == trajectory(SERIALS[0], commands, seed=5).tobytes()
    assert np.array(rows).tobytes() != trajectory(SERIALS[0], commands, seed=6).tobytes()


def test_virtual_clock_and_reading_twice() -> None:
    robot = CartPoleStandIn(SERIALS[0])
    robot.reset({}, 1)
    first = robot.read()
    assert first[0] == 0
    assert first[1].tobytes() == robot.read()[1].tobytes()
    for _ in range(3):
        robot.apply(np.zeros(1))
    assert robot.read()[0] == 60_000_000


def test_open_loop_trajectories_of_different_serials_diverge() -> None:
    commands = 6 * np.sign(np.sin(np.arange(100) * 0.11))
    runs = np.array([trajectory(serial, commands) for serial in SERIALS[:6]])
    spread = runs[:, -1, 0].std()
    assert spread > 0.1, f"cart positions after 2 s differ by {spread:.3f} m"
    noise = np.std([trajectory(SERIALS[0], commands, seed=s)[-1, 0] for s in range(6)])
    assert spread > 20 * noise


def test_ideal_cart_accelerates_as_newton_says() -> None:
    model = mujoco.MjModel.from_xml_string(mjcf(IDEAL))
    data = mujoco.MjData(model)
    data.qpos[1] = math.pi
    data.ctrl[0] = 3.0
    mujoco.mj_forward(model, data)
    # Hanging at rest: (M + m) a + m l alpha = F and m l a cos(pi) ... solved for a with l = L/2, J = m L^2 / 3.
    m_pole, half, inertia = 0.2, 0.3, 0.2 * 0.6**2 / 3
    expected = 3.0 / (1.2 - (m_pole * half) ** 2 / inertia)
    assert data.qacc[0] == pytest.approx(expected, rel=0.01)  # the capsule is no ideal rod
    assert data.qacc[1] > 0  # accelerating to +x leaves the hanging pole behind: the angle grows beyond pi


def test_small_swings_have_the_period_of_a_rod() -> None:
    model = mujoco.MjModel.from_xml_string(mjcf(replace(IDEAL, cart_mass=1e6)))
    data = mujoco.MjData(model)
    data.qpos[1] = math.pi + 0.02
    crossings = []
    for step in range(2000):
        before = data.qpos[1] - math.pi
        mujoco.mj_step(model, data)
        if before > 0 >= data.qpos[1] - math.pi:
            crossings.append(step * STEP_S)
    period = 2 * math.pi * math.sqrt(2 * 0.6 / (3 * 9.81))
    assert np.diff(crossings).mean() == pytest.approx(period, rel=0.02)


def test_drive_delays_deadband_backlash_and_sag() -> None:
    delayed = Drive(replace(IDEAL, delay_steps=3))
    assert [delayed.force(5.0) for _ in range(5)] == [0, 0, 0, 5, 5]
    assert Drive(replace(IDEAL, deadband=0.3)).force(0.2) == 0
    assert Drive(replace(IDEAL, deadband=0.3)).force(-1.0) == pytest.approx(-0.7)
    loose = Drive(replace(IDEAL, backlash=0.5))
    assert [loose.force(c) for c in (2.0, 1.5, 1.0, 0.0)] == [1.5, 1.5, 1.5, 0.5]
    flat = Drive(replace(IDEAL, sag=0.1))
    first = flat.force(10.0)
    for _ in range(round(5.0 / STEP_S)):
        last = flat.force(10.0)
    assert first == pytest.approx(10.0, rel=1e-3)
    assert last == pytest.approx(10 * (1 - 0.1 * (1 - math.exp(-2))), rel=0.02)  # 50 N*s at about 10 N, scale 25 N*s


def test_draws_stay_in_range_and_are_fixed_by_the_name() -> None:
    for serial in SERIALS:
        physics = draw(serial)
        assert 0 <= physics.delay_steps * STEP_S <= 0.040
        assert 0.45 <= physics.pole_length <= 0.78
        assert draw(serial) == physics
    assert len({draw(serial).pole_length for serial in SERIALS}) == len(SERIALS)


def test_the_default_fleet_is_the_one_the_oracle_was_trained_on() -> None:
    commands = np.where(np.arange(50) % 20 < 10, 8.0, -8.0)
    rows = np.round(trajectory("cartpole-0001", commands), 6)
    pinned = hashlib.sha256(repr(draw("cartpole-0001")).encode()).hexdigest()
    assert pinned == PINNED_DRAW, "the hidden draw changed: the committed oracle result no longer belongs to this fleet"
    assert rows[-1] == pytest.approx(PINNED_LAST_ROW, abs=1e-4)


def test_cart_stays_between_the_end_stops() -> None:
    rows = trajectory(SERIALS[2], np.full(200, 10.0))
    assert 1.45 < rows[-1, 0] <= 1.5
    assert np.abs(rows[:, 0]).max() <= 1.5


def test_unknown_or_infinite_starts_are_refused() -> None:
    robot = CartPoleStandIn(SERIALS[0])
    with pytest.raises(UnknownName, match=r"pole\.angel.*Did you mean 'pole\.angle'"):
        robot.reset({"pole.angel": 1.0}, 0)
    with pytest.raises(InputError, match="finite"):
        robot.reset({"pole.angle": math.nan}, 0)


def test_task_fits_the_robot_and_its_reward_is_bounded() -> None:
    CARTPOLE_SWINGUP.check(CARTPOLE)
    best = CARTPOLE_SWINGUP.reward_of(CARTPOLE, np.zeros((1, 4)), np.zeros((1, 1)), np)
    assert best == pytest.approx([1.0])
    assert CARTPOLE_SWINGUP.reward_of(CARTPOLE, np.array([[0, 0, math.pi, 0]]), np.zeros((1, 1)), np) == pytest.approx(
        [0.0]
    )
    states = np.random.default_rng(0).normal(size=(1000, 4)) * 5
    reward = CARTPOLE_SWINGUP.reward_of(CARTPOLE, states, np.random.default_rng(1).uniform(-10, 10, (1000, 1)), np)
    assert ((reward >= 0) & (reward <= 1)).all()


def balance_gain(period_s: float = 0.02) -> np.ndarray:
    """[5] state-feedback gain for the data sheet's robot with one period of delay (discrete Riccati iteration)."""
    m, half, g = 0.2, 0.3, 9.81
    inverse = np.linalg.inv(np.array([[1.2, m * half], [m * half, m * 0.6**2 / 3]]))
    a, b = np.zeros((4, 4)), np.array([[0.0], [inverse[0, 0]], [0.0], [inverse[1, 0]]])
    a[0, 1] = a[2, 3] = 1
    a[1, 2], a[3, 2] = inverse[0, 1] * m * g * half, inverse[1, 1] * m * g * half
    ad, bd = np.eye(4), np.zeros((4, 1))
    for _ in range(20):
        bd, ad = bd + period_s / 20 * (a @ bd + b), ad + period_s / 20 * a @ ad
    full = np.block([[ad, bd], [np.zeros((1, 5))]])
    inputs = np.array([[0.0], [0], [0], [0], [1]])
    cost = np.diag([4.0, 1, 20, 1, 0])
    value = cost.copy()
    for _ in range(2000):
        gain = np.linalg.solve(0.05 + inputs.T @ value @ inputs, inputs.T @ value @ full)
        value = cost + full.T @ value @ (full - inputs @ gain)
    return gain[0]


def swing_up(
    serial: str, gain: np.ndarray, push: float, catch: float, centre: float, surplus: float
) -> tuple[float, float]:
    """(return, least cosine of the angle over the last second) of energy pumping, then state feedback."""
    robot = CartPoleStandIn(serial)
    robot.reset(evaluation_starts(CARTPOLE_SWINGUP, 1, 0)[0], 0)
    rows, commands, last = [robot.read()[1]], [], 0.0
    for _ in range(CARTPOLE_SWINGUP.horizon_steps(CARTPOLE)):
        x, v, angle, rate = robot.read()[1]
        energy = (0.012 * rate**2 + 0.5886 * (math.cos(angle) - 1)) / 1.1772  # 0 upright, -1 hanging
        force = float(np.clip(-push * (surplus - energy) * np.sign(rate * math.cos(angle)), -10, 10)) - centre * x
        if abs(angle) < catch and abs(rate) < 5:
            force = float(-gain @ np.array([x, v, angle, rate, last]))
        last = float(np.clip(force, -10, 10))
        robot.apply(np.array([last]))
        rows.append(robot.read()[1])
        commands.append([last])
    state = np.array(rows)
    return return_of(CARTPOLE, CARTPOLE_SWINGUP, state, np.array(commands)), float(np.cos(state[-50:, 2]).min())


def test_every_serial_can_be_swung_up_but_no_single_crude_controller_does_them_all() -> None:
    gain = balance_gain()
    options = [
        (80, 0.6, 3.0, 0.1),
        (80, 0.6, 1.0, 0.1),
        (80, 0.6, 1.0, 0.0),
        (30, 0.6, 1.0, 0.1),
        (30, 0.35, 1.0, 0.0),
        (30, 0.35, 1.0, 0.2),
    ]
    results = np.array([[swing_up(serial, gain, *option) for option in options] for serial in SERIALS])
    up = results[:, :, 1] > 0.9
    assert up.any(axis=1).all(), (
        f"never swung up: {[s for s, ok in zip(SERIALS, up.any(axis=1), strict=True) if not ok]}"
    )
    assert not up.all(axis=0).any()
    assert results[:, :, 0].max(axis=1).min() > 60


def test_a_random_policy_earns_little() -> None:
    rng = np.random.default_rng(0)
    returns = []
    for seed, start in enumerate(evaluation_starts(CARTPOLE_SWINGUP, 10, 1)):
        commands = np.repeat(rng.uniform(-10, 10, 50), 5)
        rows = trajectory(SERIALS[0], commands, seed=seed, start=start)
        returns.append(return_of(CARTPOLE, CARTPOLE_SWINGUP, rows, commands[:, None]))
    assert np.mean(returns) < 25


def test_the_committed_oracle_is_of_this_task_and_beats_random() -> None:
    oracle, random = standin("cartpole").oracle_return(), standin("cartpole").random_return()
    assert oracle is not None, "the task changed: run `python -m tests.benchmarks.oracle_cartpole --json` again"
    assert random is not None
    assert oracle > 100 > 25 > random
