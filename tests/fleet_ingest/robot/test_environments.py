"""Gymnasium and dm_control environments behind the driver port."""

import json

import numpy as np
import pytest

from fleet_ingest.robot.drivers import open_driver
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment
from storage.contracts.channel import Role
from storage.contracts.errors import InputError

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
