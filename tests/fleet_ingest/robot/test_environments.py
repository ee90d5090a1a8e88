"""Gymnasium and dm_control environments behind the driver port."""

import json

import numpy as np
import pytest

from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.robot.drivers import open_driver
from fleet_ingest.robot.environments import environment_steps_per_period
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment
from storage.contracts.channel import Role
from storage.contracts.errors import InputError, UnknownName

pytest.importorskip("gymnasium")


def assignment(duration_s: float) -> Assignment:
    episode = {"index": 0, "seed": 3, "duration_s": duration_s, "purpose": "random"}
    task = {"name": "t", "reward_channel": "reward", "terminated_channel": "terminated", "horizon_s": duration_s}
    body = {"id": 1, "key": "k", "robot": "pendulum-1", "plan": {"task": task, "episodes": [episode]}}
    return Assignment.from_json(json.dumps(body))


def test_a_gymnasium_environment_is_a_robot_with_a_logged_reward() -> None:
    driver = open_driver("gymnasium:Pendulum-v1", "pendulum-1")
    assert driver.spec.name == "gymnasium:pendulum-v1"
    assert (driver.spec.state_layout.width, driver.spec.command_layout.width) == (3, 1)
    assert driver.spec.control_rate_hz == pytest.approx(20.0)
    assert driver.spec.command_limits.tolist() == [[-2.0, 2.0]]
    assert len(driver.spec.by_role(Role.REWARD)) == len(driver.spec.by_role(Role.TERMINATION)) == 1
    plan = assignment(20.0)
    plan.plan.task.check(driver.spec)
    recording = run_episode(driver, plan, plan.plan.episodes[0], None)
    # Its own limit of 200 steps cuts the 400 that were planned.
    assert (len(recording.reward), recording.terminated, recording.truncated) == (200, False, True)
    # Gymnasium's Pendulum pays -(angle^2 + 0.1 rate^2 + 0.001 torque^2) of the state that the step began in.
    cosine, sine, rate = recording.state[7]
    cost = np.arctan2(sine, cosine) ** 2 + 0.1 * rate**2 + 0.001 * recording.command[7][0] ** 2
    assert recording.reward[7] == pytest.approx(-cost, rel=1e-4)
    again = run_episode(open_driver("gymnasium:Pendulum-v1", "x"), plan, plan.plan.episodes[0], None)
    assert write_log(again) == write_log(recording)


def test_a_gymnasium_environment_that_ends_is_logged_as_terminated() -> None:
    driver = open_driver("gymnasium:MountainCarContinuous-v0", "car-1")
    driver.reset({}, 0)
    for _ in range(999):
        velocity = driver.read()[1][1]
        driver.apply(np.array([1.0 if velocity >= 0 else -1.0]))
        if driver.outcome().terminated:
            break
    assert driver.outcome().terminated
    assert not driver.outcome().truncated
    assert driver.read()[1][0] >= 0.45  # the flag


def test_environments_refuse_what_they_cannot_do() -> None:
    driver = open_driver("gymnasium:Pendulum-v1", "pendulum-1")
    with pytest.raises(InputError, match="draws its own starts"):
        driver.reset({"observation_0": 0.1}, 0)
    with pytest.raises(InputError, match="only boxes"):
        open_driver("gymnasium:CartPole-v1", "x")
    with pytest.raises(InputError, match="no Gymnasium environment"):
        open_driver("gymnasium:NoSuchThing-v0", "x")


def test_a_dm_control_task_is_a_robot() -> None:
    pytest.importorskip("dm_control")
    driver = open_driver("dm_control:cartpole-swingup", "x")
    assert driver.spec.state_layout.width == 5
    driver.reset({}, 1)
    first = driver.read()[1]
    driver.apply(np.array([0.5]))
    assert 0 <= driver.outcome().reward <= 1
    driver.reset({}, 1)
    assert driver.read()[1].tobytes() == first.tobytes()


@pytest.mark.parametrize(
    ("name", "rate_hz", "limit"),
    [
        ("gymnasium:Pendulum-v1", 20.0, 200),  # dt 0.05 s; its frames per second for drawing are 30
        ("gymnasium:InvertedPendulum-v5", 25.0, 1000),  # 2 physics steps of 0.02 s
        ("gymnasium:Reacher-v5", 50.0, 50),  # 2 of 0.01 s
        ("dm_control:pendulum-swingup", 50.0, 1000),
    ],
)
def test_the_control_rate_is_that_of_the_environment(name: str, rate_hz: float, limit: int) -> None:
    driver = open_driver(name, "x")
    assert driver.spec.control_rate_hz == pytest.approx(rate_hz)
    assert (driver.time_limit_steps, environment_steps_per_period(driver)) == (limit, 1)  # type: ignore[attr-defined]
    twice = open_driver(f"{name}?repeat=2", "x")
    assert twice.spec.control_rate_hz == pytest.approx(rate_hz / 2)
    assert (twice.time_limit_steps, environment_steps_per_period(twice)) == (limit, 2)  # type: ignore[attr-defined]
    assert twice.spec.name == f"{name}:repeat-2".lower()
    assert twice.spec.digest != driver.spec.digest


def drive(driver: RobotDriver, commands: list[float]) -> tuple[list[np.ndarray], list[float]]:
    """States after and rewards of periods of `commands`, until an end."""
    driver.reset({}, 5)
    states, rewards = [], []
    for value in commands:
        driver.apply(np.array([value]))
        states.append(driver.read()[1])
        rewards.append(driver.outcome().reward)
        if driver.outcome().terminated or driver.outcome().truncated:
            break
    return states, rewards


@pytest.mark.parametrize("name", ["gymnasium:Pendulum-v1", "dm_control:cartpole-swingup"])
def test_with_repeat_a_command_is_held_and_its_rewards_are_summed(name: str) -> None:
    commands = np.random.default_rng(0).uniform(-1, 1, 20)
    states, rewards = drive(open_driver(name, "x"), np.repeat(commands, 3).tolist())
    held = open_driver(f"{name}?repeat=3", "x")
    found, sums = drive(held, commands.tolist())
    assert np.array(found).tobytes() == np.array(states)[2::3].tobytes()
    assert sums == pytest.approx(np.reshape(rewards, (-1, 3)).sum(axis=1), abs=1e-12)
    assert held.read()[0] == round(20 * 3e9 * (held.spec.period_s / 3))  # 20 periods, each three steps long


def test_a_repeated_command_stops_with_the_environment() -> None:
    """An inverted pendulum pays 1 for each step in which it stands, and nothing for the one in which it falls."""
    states, rewards = drive(open_driver("gymnasium:InvertedPendulum-v5", "x"), [3.0] * 200)
    assert len(rewards) % 4  # else the last period would be whole
    driver = open_driver("gymnasium:InvertedPendulum-v5?repeat=4", "x")
    found, sums = drive(driver, [3.0] * 50)
    assert driver.outcome().terminated
    assert not driver.outcome().truncated
    assert len(sums) == len(rewards) // 4 + 1
    assert sum(sums) == sum(rewards)
    assert found[-1].tobytes() == states[-1].tobytes()
    # Three steps fit into the time that is left of an episode of 200: time cuts it, and nothing ended.
    driver = open_driver("gymnasium:Pendulum-v1?repeat=7", "x")
    found, _ = drive(driver, [0.0] * 50)
    assert (len(found), driver.outcome().terminated, driver.outcome().truncated) == (29, False, True)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("rept=2", "unknown option of an environment 'rept'.*Did you mean 'repeat'"),
        ("repeat=0", "repeat is '0'; it must be a whole number from 1 to 64"),
        ("repeat=two", "repeat is 'two'"),
        ("repeat", "repeat is ''"),
    ],
)
def test_options_that_are_none_are_refused(option: str, words: str) -> None:
    with pytest.raises((InputError, UnknownName), match=words):
        open_driver(f"gymnasium:Pendulum-v1?{option}", "x")
