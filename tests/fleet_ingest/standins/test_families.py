"""Families of stand-ins against mechanics done by hand, and the exactness that benchmarks build on."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from fleet_ingest.standins.bodies import GRAVITY, SUBSTEP_S, Body, Joint
from fleet_ingest.standins.families import BENCHMARK, FAMILIES, HELD_OUT, MAX_DELAY_S, PRETRAINING, draw, population
from fleet_ingest.standins.recorder import record, record_truth
from fleet_ingest.standins.twin import FamilyStandIn, twin
from storage.codecs.episodes import decode_episode, encode_episode
from storage.contracts.errors import ContractError, InputError, UnknownName

LENGTH, MASS = 0.5, 0.3


def rod(**changes: float) -> Joint:
    plain = Joint(
        name="link1", prismatic=False, parent=None, length_m=LENGTH, mass_kg=MASS, damping=0.0, friction=0.0,
        armature=0.0, gear=1.0, command_limit=5.0, stop_m=None, noise=(0.0, 0.0),
    )  # fmt: skip
    return replace(plain, **changes)


def pendulum(up: int = -1, payload_kg: float = 0.0, delay_s: float = 0.0, lag_s: float = 0.0, **joint: float) -> Body:
    return Body("pendulum", "by-hand", 50.0, up, 1, (rod(**joint),), payload_kg, delay_s, lag_s)


def period_s(angles: np.ndarray, dt: float) -> float:
    """From the rising zero crossings, interpolated."""
    rising = np.flatnonzero((angles[:-1] < 0) & (angles[1:] >= 0))
    times = rising - angles[rising] / (angles[rising + 1] - angles[rising])
    return float(np.diff(times).mean() * dt)


@pytest.mark.parametrize("payload_kg", [0.0, 0.2])
def test_a_frictionless_pendulum_swings_with_the_period_of_the_elliptic_integral(payload_kg: float) -> None:
    # rod about its end m L²/3, ball M L² + 2/5 M r²; torque (m L/2 + M L) g sin(angle)
    inertia = MASS * LENGTH**2 / 3 + payload_kg * (LENGTH**2 + 0.4 * 0.02**2)
    natural = math.sqrt((MASS * LENGTH / 2 + payload_kg * LENGTH) * GRAVITY / inertia)
    amplitude = 2.0
    a, b = 1.0, math.cos(amplitude / 2)  # T = 2 pi / (w agm(1, cos(A / 2)))
    for _ in range(8):
        a, b = (a + b) / 2, math.sqrt(a * b)
    run = twin(pendulum(payload_kg=payload_kg))
    run.set(np.array([amplitude, 0.0]))
    start = run.energy()
    states = run.step(np.zeros((1000, 1)))
    assert period_s(states[:, 0], 0.02) == pytest.approx(2 * math.pi / (natural * a), rel=2e-3)
    assert states[:, 0].max() == pytest.approx(amplitude, rel=5e-3)
    swing = (MASS * LENGTH / 2 + payload_kg * LENGTH) * GRAVITY * 2
    assert abs(run.energy() - start) < 0.01 * swing


@pytest.mark.parametrize("payload_kg", [0.0, 0.15])
def test_acceleration_is_torque_over_inertia(payload_kg: float) -> None:
    inertia = MASS * LENGTH**2 / 3 + payload_kg * (LENGTH**2 + 0.4 * 0.02**2)
    states = twin(pendulum(up=0, payload_kg=payload_kg, gear=0.9)).step(np.full((10, 1), 0.5))
    np.testing.assert_allclose(states[:, 1], 0.9 * 0.5 / inertia * 0.02 * np.arange(1, 11), rtol=1e-9)


def test_coulomb_friction_takes_a_constant_torque_and_damping_a_proportional_one() -> None:
    inertia = MASS * LENGTH**2 / 3
    dry = twin(pendulum(up=0, friction=0.02))
    dry.set(np.array([0.0, 3.0]))
    assert dry.step(np.zeros((20, 1)))[-1, 1] == pytest.approx(3.0 - 0.02 / inertia * 0.4, rel=0.01)
    wet = twin(pendulum(up=0, damping=0.05))
    wet.set(np.array([0.0, 3.0]))
    assert wet.step(np.zeros((20, 1)))[-1, 1] == pytest.approx(3.0 * math.exp(-0.05 / inertia * 0.4), rel=0.01)


def test_a_delay_shifts_the_response_by_exactly_its_steps() -> None:
    commands = np.random.default_rng(0).uniform(-0.3, 0.3, (40, 1))
    prompt, late = twin(pendulum()).step(commands), twin(pendulum(delay_s=0.06)).step(commands)
    np.testing.assert_array_equal(late[3:], prompt[:-3])
    assert not late[:3].any()
    assert prompt[0].any()


def test_a_delay_of_part_of_a_period_acts_within_it() -> None:
    inertia = MASS * LENGTH**2 / 3
    states = twin(pendulum(up=0, delay_s=0.026)).step(np.full((3, 1), 0.5))
    # 26 ms = one period and 3 of 10 substeps: 7 substeps of torque in the second period
    np.testing.assert_allclose(states[:, 1] * inertia / 0.5, [0.0, 7 * SUBSTEP_S, 17 * SUBSTEP_S], atol=1e-12)


def test_the_motor_lags_as_a_first_order_filter() -> None:
    run = twin(pendulum(up=0, lag_s=0.03))
    run.step(np.full((2, 1), 0.5))
    assert run.motor()[0] == pytest.approx(0.5 * (1 - math.exp(-0.04 / 0.03)), rel=1e-9)


def test_a_pole_that_leans_right_is_carried_right_by_gravity_and_left_by_the_cart() -> None:
    body = population(1, 0, ["cartpole"], "test")[0]
    run = twin(body)
    run.set(np.array([0.0, 0.0, 0.3, 0.0]))
    assert run.step(np.zeros((5, 1)))[-1, 3] > 0.3
    run.set(np.zeros(4), queue=np.full((8, 1), 5.0))
    pushed = run.step(np.full((5, 1), 5.0))[-1]
    assert pushed[1] > 0 > pushed[3]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_twin_goes_on_exactly_from_any_row_of_a_recording(family: str) -> None:
    for body in population(3, 5, [family], "test"):
        recorded = record_truth(body, 1, 4.0, seed=1)[0]
        for row in (0, 1, 77):
            states = twin(body).restore(recorded.snapshot(row)).step(recorded.episode.command[row:])
            np.testing.assert_array_equal(states, recorded.truth[row + 1 :])


def test_without_sensor_noise_the_log_is_the_truth_wrapped() -> None:
    body = population(1, 3, ["double_pendulum"], "test")[0]
    quiet = replace(body, joints=tuple(replace(joint, noise=(0.0, 0.0)) for joint in body.joints))
    recorded = record_truth(quiet, 1, 5.0, seed=0)[0]
    np.testing.assert_array_equal(recorded.episode.state[:, 1::2], recorded.truth[:, 1::2])
    turns = (recorded.truth[:, 0::2] - recorded.episode.state[:, 0::2]) / (2 * math.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    assert np.abs(recorded.episode.state[:, 0::2]).max() <= math.pi


def test_equal_seeds_give_equal_bytes_and_survive_the_codec() -> None:
    body = population(6, 1)[5]
    first, again = record(body, 2, 3.0, seed=4), record(body, 2, 3.0, seed=4)
    assert [encode_episode(e) for e in first] == [encode_episode(e) for e in again]
    assert encode_episode(decode_episode(encode_episode(first[1]))) == encode_episode(first[1])
    assert not np.array_equal(first[0].state, record(body, 1, 3.0, seed=5)[0].state)


def test_commands_stay_within_limits_and_links_go_all_the_way_round() -> None:
    body = population(1, 2, ["pendulum"], "test")[0]
    episodes = record(body, 6, 10.0, seed=0)
    for episode in episodes:
        assert (np.abs(episode.command) <= body.spec.command_limits[:, 1]).all()
    angles = np.concatenate([e.column("link1.angle") for e in episodes])
    assert (np.histogram(angles, 8, (-math.pi, math.pi))[0] > 0).all()


def test_a_robot_does_not_depend_on_how_many_are_drawn_and_splits_share_none() -> None:
    assert population(4, 7)[:2] == population(2, 7)
    train = {str(replace(b, serial="")) for b in population(30, 7, BENCHMARK, "train")}
    assert len(train) == 30
    assert not train & {str(replace(b, serial="")) for b in population(30, 7, BENCHMARK, "test")}


def test_the_held_out_family_and_its_likes_are_not_in_training() -> None:
    with pytest.raises(InputError, match="held out"):
        population(1, 0, HELD_OUT)
    with pytest.raises(UnknownName, match="chain3"):
        population(1, 0, ["chain4"], "test")
    for body in population(300, 1, PRETRAINING):
        by_name = {joint.name: joint for joint in body.joints}
        for joint in body.joints:
            links = 0
            at: Joint | None = joint
            while at is not None:
                links += not at.prismatic
                at = by_name.get(at.parent or "")
            assert links <= 2


def test_draws_stay_in_their_ranges() -> None:
    bodies = [draw("double_pendulum", 0, i, "train") for i in range(200)]
    masses = [body.joints[1].mass_kg for body in bodies]
    assert 0.125 <= min(masses) < 0.14
    assert 0.45 < max(masses) <= 0.5
    delays = {body.delay_s for body in bodies}
    assert min(delays) == 0.0
    assert max(delays) == MAX_DELAY_S
    assert max(body.payload_kg / body.joints[1].mass_kg for body in bodies) > 0.9
    assert {body.rate_hz for body in bodies} == {50.0}
    assert {body.rate_hz for body in population(40, 0, ["chain"])} == {50.0, 100.0}


def test_the_maker_knows_lengths_and_limits_only_and_the_oracle_everything() -> None:
    body = population(1, 0, ["cartpole"], "test")[0]
    for entity in body.spec.entities:
        assert (entity.mass_kg, entity.inertia_kgm2, entity.damping, entity.friction, entity.gear) == (None,) * 5
    cart, pole = body.true_spec.entities
    assert body.spec.entities[1].length_m == pole.length_m == body.joints[1].length_m
    assert pole.features["payload.mass"] == body.payload_kg
    assert cart.features["command.delay"] == body.delay_s
    assert (cart.gear, pole.gear) == (body.joints[0].gear, None)
    assert body.spec.channels == body.true_spec.channels
    assert body.spec.state_layout.columns == ("cart.position", "cart.velocity", "link1.angle", "link1.rate")


def test_an_edited_quantity_is_the_one_read_back() -> None:
    body = population(1, 0, ["double_pendulum"], "test")[0]
    for name in ("link1.friction", "link2.mass", "link2.length", "payload.mass", "command.delay", "motor.lag"):
        changed = body.edited(name, 0.04)
        assert changed.quantity(name) == 0.04
        assert body.quantity(name) != 0.04
        assert changed != body
    with pytest.raises(UnknownName, match=r"link1\.mass"):
        body.edited("link1.weight", 1.0)


def test_the_driver_speaks_the_port_and_refuses_what_it_does_not_know() -> None:
    driver = FamilyStandIn(population(1, 0, ["reacher2"], "test")[0])
    driver.reset({"link1.angle": 1.0}, seed=3)
    time_ns, state = driver.read()
    assert time_ns == 0
    np.testing.assert_array_equal(driver.read()[1], state)
    driver.apply(np.zeros(2))
    assert driver.read()[0] == 20_000_000
    with pytest.raises(UnknownName):
        driver.reset({"elbow": 1.0}, seed=3)
    with pytest.raises(ContractError, match="queue"):
        twin(pendulum(delay_s=0.06)).set(np.zeros(2), queue=np.zeros((2, 1)))
