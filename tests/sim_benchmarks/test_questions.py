"""What the benchmarks of the simulator ask and how they judge, on stand-ins and made-up answers; nothing is trained."""

import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, population
from fleet_ingest.standins.recorder import record, record_truth
from tests.benchmarks.sim import windows as windows_module
from tests.benchmarks.sim.controllers import CartPole, draw_gains, swing_up
from tests.benchmarks.sim.probes import Latent, probe_ranks
from tests.benchmarks.sim.statistics import uniform_p
from tests.benchmarks.sim.training import partly_known
from tests.benchmarks.sim_grounding import gap_closed
from tests.benchmarks.sim_interventions import intervened
from tests.benchmarks.sim_long_horizon import distances
from tests.benchmarks.sim_policy_ranking import Ranked, better_half, figures, real_returns, spread_evenly
from tests.benchmarks.sim_what_if import (
    QUANTITIES,
    Question,
    balanced,
    change,
    lead_in,
    outcomes,
    real_outcomes,
    told_of,
    trials_of,
)
from tests.benchmarks.sim_what_if import figures as answers

ANGLE = np.array([True, False])


def body(family: str = "double_pendulum", index: int = 0) -> Body:
    return population(index + 1, 5, [family], "test")[index]


def test_windows_hold_what_was_measured_and_their_snapshots_what_was_true() -> None:
    log = record_truth(body(), 1, 4.0, seed=2)[0]
    found = windows_module.windows_of([log], 10, 7)
    rows = found.past.shape[1] - 1
    assert rows == 10
    assert found.n == 7
    np.testing.assert_array_equal(found.past[0], log.episode.state[: rows + 1])
    np.testing.assert_array_equal(found.commands[0], log.episode.command[rows : rows + 10])
    np.testing.assert_array_equal(found.truth[0], log.truth[rows + 1 : rows + 11])
    np.testing.assert_array_equal(found.snapshots[0].state, log.truth[rows])
    np.testing.assert_array_equal(found.ahead[-1], log.episode.state[-10:])


def test_an_intervention_goes_on_from_the_same_state_under_other_commands() -> None:
    robot = body()
    found = windows_module.windows_of(record_truth(robot, 1, 4.0, seed=2), 30, 8)
    other = intervened(robot, found, seed=0)
    np.testing.assert_array_equal(other.past, found.past)
    assert (np.abs(other.commands) <= robot.spec.command_limits[:, 1]).all()
    assert np.abs(other.commands - found.commands).mean() > 0.05
    if not robot.queue_rows:
        pytest.fail("this test needs a robot with a delay")
    # commands that are still under way act first: nothing differs before the delay is over
    whole = robot.delay_substeps // robot.substeps
    np.testing.assert_array_equal(other.truth[:, :whole], found.truth[:, :whole])
    assert (other.truth[:, -1] != found.truth[:, -1]).any()


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_question_names_what_both_scene_and_standin_know(quantity: str) -> None:
    for family in BENCHMARK:
        robot = body(family)
        name, value = change(robot, quantity, up=True)
        assert robot.edited(name, value).quantity(name) == value > robot.quantity(name)
        spec = told_of(robot, name)
        told = [e for e in spec.entities if name in e.features or name.startswith(f"{e.name}.")]
        known = [e.features.get(name, e.mass_kg if quantity == "mass" else e.friction) for e in told]
        assert robot.quantity(name) in known
        unsaid = [e for e in spec.entities if e not in told]
        assert all(e.mass_kg is None and e.friction is None for e in unsaid)


def test_the_true_effect_of_no_change_is_nothing_and_a_payload_slows() -> None:
    robot = body("pendulum")
    trials = trials_of(robot, 6, seed=0)
    before, motors = lead_in(robot, trials)
    base = real_outcomes(robot, trials, before, motors)
    again = real_outcomes(robot, trials, before, motors)
    for name, values in base.items():
        np.testing.assert_array_equal(values, again[name])
    braked = real_outcomes(
        robot.edited("link1.friction", 50 * robot.quantity("link1.friction")), trials, before, motors
    )
    assert braked["link1 speed"].mean() < base["link1 speed"].mean()


def test_outcomes_of_a_turn_by_hand() -> None:
    robot = body("pendulum")
    states = np.array([[[0.0, 3.0], [math.pi, -4.0], [2 * math.pi, 0.0]]])
    found = outcomes(states, np.array([[[2.0], [1.0], [9.0]]]), robot)
    assert found["link1 work"][0] == pytest.approx((3 * 2 - 4 * 1) / 3)
    assert found["link1 speed"][0] == pytest.approx(math.sqrt(25 / 3))
    assert found["link1 travel"][0] == pytest.approx(math.sqrt(4 / 3))  # 2 sin of half of: 0, pi, 2 pi


def question(true: float, error: float, answer: float, robot: str = "a") -> Question:
    return Question(robot, "mass", "x", true, error, answer + np.linspace(-0.05, 0.05, 41))


def test_only_clear_questions_count_and_neither_sign_has_more_than_six_tenths() -> None:
    asked = [question(1.0, 0.6, 1.0)] + [question(1.0, 0.1, 1.0)] * 20 + [question(-1.0, 0.1, -1.0)] * 4
    kept = balanced(asked, 0)
    assert len(kept) == 10
    assert sum(q.true > 0 for q in kept) == 6


def test_answers_are_counted_by_hand() -> None:
    names = ["a", "b", "c", "d"]
    asked = [question(t, 0.01, a, r) for t, a, r in zip((1, 2, -1, -2), (1.01, 2.2, -1.04, 0.5), names, strict=True)]
    found = answers(asked, 9)
    assert found["balanced accuracy of the sign"].value == pytest.approx(0.75)  # both up right, one of two down
    assert found["coverage of 90 % intervals, low side"].value == 0.5  # 1.01 and -1.04 within 0.045
    assert found["questions asked"].value == 9


def test_policies_are_taken_evenly_and_each_once() -> None:
    returns = np.array([0.0, 0.01, 0.02, 0.5, 0.51, 1.0])
    chosen = spread_evenly(returns, 3)
    assert sorted(chosen) == [0, 3, 5]
    assert len(set(spread_evenly(returns, 6).tolist())) == 6


def test_the_better_half_is_that_of_the_real_returns() -> None:
    real = np.array([0.0, 0.1, 0.2, 0.7, 0.8, 0.9])
    wrong_below = Ranked(real, np.array([0.2, 0.0, 0.1, 0.5, 0.6, 0.7]))
    assert better_half(wrong_below) == pytest.approx(1.0)
    wrong_above = Ranked(real, np.array([0.0, 0.1, 0.2, 0.7, 0.6, 0.5]))
    assert better_half(wrong_above) == pytest.approx(-1.0)
    # MMRV of the second: 0.7 and 0.8 and 0.9 swapped: (0.2 + 0.1 + 0.2) / 6
    assert figures([wrong_above])["MMRV"].value == pytest.approx(0.5 / 6)


def test_controllers_differ_and_a_good_one_swings_up() -> None:
    robot = body("cartpole", 1)
    gains = draw_gains(40, 0)
    returns = real_returns(robot, gains, 1, seed=0)
    assert returns.min() < 0.1
    assert returns.max() > 0.3  # hanging still earns next to nothing
    assert ((returns >= 0) & (returns <= 1)).all()
    np.testing.assert_array_equal(returns, real_returns(robot, gains, 1, seed=0))


def test_the_reward_is_one_only_upright_in_the_middle_and_still() -> None:
    robot = body("cartpole")
    states = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, math.pi, 0.0], [0.0, 0.0, 0.0, 6.0]])
    reward = np.asarray(swing_up(robot).reward_of(robot.spec, states, np.zeros((3, 1)), np))
    np.testing.assert_allclose(reward, [1.0, 0.0, 0.5 + 0.5 * math.exp(-1)], atol=1e-12)


def test_a_controller_pushes_the_cart_under_a_leaning_pole() -> None:
    gains = draw_gains(5, 1)
    command = CartPole.of(body("cartpole").spec).act(gains, np.tile([0.0, 0.0, 0.1, 0.0], (5, 1)), np.zeros(5))
    assert command.shape == (5, 1)
    assert (command > 0).all()


def test_distance_is_one_for_equal_sources_and_large_for_others() -> None:
    rng = np.random.default_rng(0)
    real = [np.stack([rng.uniform(-3, 3, 800), rng.normal(size=800)], 1) for _ in range(6)]
    same = np.stack([np.stack([rng.uniform(-3, 3, 800), rng.normal(size=800)], 1) for _ in range(6)])
    mine, own = distances(same, real, ANGLE)
    np.testing.assert_allclose(mine / own, 1.0, rtol=0.35)
    other, own = distances(same + np.array([0.0, 1.0]), real, ANGLE)
    assert other[1] / own[1] > 5
    assert np.isinf(distances(same * np.nan, real, ANGLE)[0]).all()


@pytest.mark.parametrize("told", [1.0, 0.3])
def test_probes_pass_when_the_posterior_is_honest_and_fail_when_it_is_not(told: float) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(3, 4))

    def scenes(n: int, spread: float) -> tuple[list[Latent], np.ndarray]:
        values = rng.normal(size=n)
        found = []
        for value in values:
            # Known only up to noise; a quarter of the robots are prompted so poorly that theirs is five times as wide.
            width = 0.3 * (5.0 if rng.random() < 0.25 else 1.0)
            z = (value + width * rng.normal()) * weight
            found.append(Latent(z, np.abs(width * weight) * spread))
        return found, values

    train, train_values = scenes(400, 1.0)
    test, test_values = scenes(300, told)
    ranks, explained = probe_ranks(train, train_values, test, test_values)
    assert explained > 0.4
    # Robots whose posterior claims to be narrower than those the probe was fitted on must be caught.
    assert (uniform_p(ranks) > 0.01) == (told == 1.0)


def test_the_gap_closed_by_hand() -> None:
    none, prompt, oracle = np.array([1.0, 0.8]), np.array([0.5, 0.5]), np.array([0.4, 0.2])
    assert gap_closed(none, prompt, oracle)(np.arange(2)) == pytest.approx(0.8 / 1.2)
    assert math.isnan(gap_closed(oracle, prompt, none)(np.arange(2)))


def test_accounts_say_nothing_everything_or_some_and_never_a_wrong_value() -> None:
    robot = body("cartpole")
    rng = np.random.default_rng(0)
    accounts = [partly_known(robot, rng) for _ in range(60)]
    assert robot.spec in accounts
    assert robot.true_spec in accounts
    for spec in accounts:
        for said, true in zip(spec.entities, robot.true_spec.entities, strict=True):
            assert said.mass_kg in (None, true.mass_kg)
            assert said.features.items() <= true.features.items()
    assert len({spec.digest for spec in accounts}) > 10


def test_controlled_logs_are_other_commands_than_excited_ones() -> None:
    robot = body()
    controlled = windows_module.controlled(robot, 1, 4.0, seed=2)[0].episode
    assert controlled.steps <= 200
    assert not np.array_equal(controlled.command[:50], record(robot, 1, 4.0, seed=2)[0].command[:50])
