"""Episodes: defaults, refusals, windows; tasks that are evaluated on them; the split of a dataset."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.dataset import split_of
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

MakeEpisode = Callable[..., Episode]


def test_what_is_not_given_has_a_default(make_episode: MakeEpisode) -> None:
    state = np.array([[0.0, 1.0], [np.nan, 2.0], [1.0, 3.0]])
    episode = make_episode(steps=2, state=state)
    assert episode.state_valid.tolist() == [[True, True], [False, True], [True, True]]
    assert episode.command_requested.tolist() == episode.command.tolist()
    assert episode.exogenous.shape == (2, 0)
    assert episode.alive.tolist() == [[True]] * 3
    assert np.isnan(episode.reward).tolist() == [True, True]
    assert (episode.steps, episode.duration_s) == (2, pytest.approx(0.02))
    assert episode.time_s.tolist() == pytest.approx([0, 0.01, 0.02])
    assert episode.column("arm.rate").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state": np.zeros((3, 3))}, r"state has shape \(3, 3\), expected \(3, 2\)"),
        ({"command": np.zeros((3, 1))}, r"command has shape \(3, 1\), expected \(2, 1\)"),
        ({"reward": np.zeros(3)}, r"reward has shape \(3,\), expected \(2,\)"),
        ({"alive": np.ones((3, 4), bool)}, r"alive has shape \(3, 4\)"),
        ({"time_ns": np.array([0, 5, 5])}, "time_ns does not increase at row 2"),
        ({"time_ns": np.array([2**63 - 1, -(2**63), 0])}, "time_ns does not increase at row 1"),
        ({"time_ns": np.array([0])}, "at least two samples, given 1"),
        ({"state": np.full((3, 2), np.inf), "state_valid": np.ones((3, 2), bool)}, "marked valid is not finite"),
        ({"command": np.full((2, 1), np.nan), "command_valid": np.ones((2, 1), bool)}, "marked valid is not finite"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_wrong_arrays_are_explained(make_episode: MakeEpisode, fields: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        make_episode(steps=2, **fields)


def test_arrays_are_read_only(make_episode: MakeEpisode) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_episode().state[0, 0] = 1


def test_a_window_is_an_episode_of_its_own(make_episode: MakeEpisode) -> None:
    episode = make_episode(steps=10, terminated=True, resets=(2, 5, 7), tags={"a": "b"})
    part = episode.window(3, 7)
    assert part.steps == 4
    assert part.state.tolist() == episode.state[3:8].tolist()
    assert part.command.tolist() == episode.command[3:7].tolist()
    assert (part.resets, part.terminated, part.tags) == ((2,), False, {"a": "b"})
    assert episode.window(8, 10).terminated, "the end of the episode is its end"
    for start, stop in ((-1, 3), (3, 3), (4, 11)):
        with pytest.raises(ContractError, match=f"window {start}:{stop} is not within 0:10"):
            episode.window(start, stop)


def test_rewards_and_termination_by_hand(pendulum_spec: RobotSpec) -> None:
    """Reward cos(angle) - 0.5 motor^2 at angle 0 and pi, motor 1 and 0: 0.5 and -1. Ends above 1 rad/s."""
    task = Task(name="t", reward="cos(arm.angle) - 0.5 * motor ** 2", terminated="abs(arm.rate) > 1", horizon_s=0.5)
    task.check(pendulum_spec)
    state, command = [[0.0, 2.0], [np.pi, -1.0]], [[1.0], [0.0]]
    for xp in (np, torch):
        arrays = xp.asarray(state), xp.asarray(command)
        assert np.asarray(task.reward_of(pendulum_spec, *arrays, xp)).tolist() == pytest.approx([0.5, -1.0])
        assert np.asarray(task.terminated_of(pendulum_spec, *arrays, xp)).tolist() == [True, False]
    assert task.horizon_steps(pendulum_spec) == 50
    constant = Task(name="t", reward="1", horizon_s=0.001)
    assert constant.reward_of(pendulum_spec, np.asarray(state), np.asarray(command), np).tolist() == [1.0, 1.0]
    assert constant.terminated_of(pendulum_spec, np.asarray(state), np.asarray(command), np).tolist() == [False, False]
    assert constant.horizon_steps(pendulum_spec) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give either 'reward'"),
        ({"reward": "1", "reward_channel": "r"}, "give either 'reward'"),
        ({"reward": "1", "terminated": "x > 1", "terminated_channel": "d"}, "not both"),
        ({"reward": "eval(x)"}, "unknown function 'eval'"),
        ({"reward": "1", "horizon_s": 0}, "greater than 0"),
    ],
)
def test_wrong_tasks_are_explained(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Task.model_validate({"name": "t", "horizon_s": 1} | fields)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"reward": "arm.angel"}, UnknownName, "channel in task 't' 'arm.angel'.*Did you mean 'arm.angle'"),
        ({"reward": "wind"}, UnknownName, "unknown channel in task 't' 'wind'"),
        ({"reward": "1", "start": {"motor": (0, 1)}}, UnknownName, "unknown state channel in the start"),
        ({"reward_channel": "score"}, UnknownName, "unknown channel 'score'"),
        ({"reward": "arm.angle[0]"}, ContractError, "'arm.angle' has one component"),
        ({"reward": "tip"}, ContractError, r"'tip' has 2 components; choose one by tip\[0\] to tip\[1\]"),
        ({"reward": "tip[2]"}, ContractError, "'tip' has 2 components"),
    ],
)
def test_tasks_must_fit_the_robot(
    pendulum_spec: RobotSpec, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    more = (
        Channel(name="tip", kind=Kind.DIRECTION, size=2),
        Channel(name="wind", kind=Kind.EFFORT, role=Role.EXOGENOUS),
    )
    spec = pendulum_spec.model_copy(update={"channels": pendulum_spec.channels + more})
    with pytest.raises(error, match=message):
        Task.model_validate({"name": "t", "horizon_s": 1} | fields).check(spec)


def test_the_split_is_a_function_of_the_log_with_the_wanted_shares() -> None:
    splits = [split_of(f"{n:064x}") for n in range(4000)]
    shares = {name: splits.count(name) / 4000 for name in ("test", "validation", "train")}
    assert shares == pytest.approx({"test": 0.2, "validation": 0.1, "train": 0.7}, abs=0.02)
    assert [split_of(f"{n:064x}") for n in range(5)] == splits[:5]
