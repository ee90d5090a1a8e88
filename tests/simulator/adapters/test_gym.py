from collections.abc import Callable

import numpy as np
import pytest

from simulator.adapters.gym import as_vector_env
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.task import Task

TASK = Task(
    name="hold", reward="1 - mass.position ** 2", terminated="mass.position > 0.9", horizon_s=0.2,
    start={"mass.position": (0.4, 0.5)},
)  # fmt: skip


def test_five_tuple_truncation_and_final_observation(trained: Simulator, oscillator: Callable[..., object]) -> None:
    env = as_vector_env(trained.ground(Prompt(trained.specs[0])).sample(6, 0), TASK)
    first, _ = env.reset(seed=5)
    assert first.shape == (6, 2)
    assert env.action_space.shape == (6, 1)
    for t in range(10):
        seen, reward, terminated, truncated, info = env.step(np.zeros((6, 1), dtype=np.float32))
        assert not terminated.any()
        assert truncated.all() == (t == 9)
        inner = info["final_obs"] if t == 9 else seen
        assert np.allclose(reward, 1 - inner[:, 0] ** 2, atol=1e-5)
    assert (seen[:, 0] > 0.3).all()  # same-step autoreset: this is a new start
    assert info["_final_obs"].all()
    again, _ = env.reset(seed=5)
    assert np.array_equal(first, again)
    other, _ = env.reset()
    assert not np.array_equal(first, other)


def test_termination_resets_only_the_world_that_ended(trained: Simulator) -> None:
    task = TASK.model_copy(
        update={"start": {"mass.position": (0.5, 0.9), "mass.velocity": (0.0, 2.0)}, "horizon_s": 9.0}
    )
    env = as_vector_env(trained.ground(Prompt(trained.specs[0])).sample(32, 0), task)
    before, _ = env.reset(seed=1)
    after, _, terminated, truncated, info = env.step(np.full((32, 1), 2.0, dtype=np.float32))
    assert 0 < terminated.sum() < 32
    assert not truncated.any()
    assert (info["final_obs"][terminated, 0] > 0.9).all()
    assert (after[~terminated, 0] <= 0.9).all()
    assert np.abs(after[~terminated] - before[~terminated]).max() < 0.3


def test_a_task_for_another_robot_is_refused(trained: Simulator) -> None:
    worlds = trained.ground(Prompt(trained.specs[0])).sample(2, 0)
    with pytest.raises(UnknownName, match=r"pole\.angle"):
        as_vector_env(worlds, Task(name="up", reward="cos(pole.angle)", horizon_s=1.0))
    with pytest.raises(InputError, match="without one"):
        as_vector_env(worlds, Task(name="up", reward_channel="mass.position", horizon_s=1.0))
