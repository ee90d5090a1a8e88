import numpy as np
import pytest

from simulator.prompt import Prompt
from simulator.simulator import Simulator
from storage.contracts.task import Task

sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is in the extra 'bench'")

TASK = Task(name="hold", reward="1 - mass.position ** 2", horizon_s=0.2, start={"mass.position": (0.4, 0.5)})


def test_dones_keep_the_last_observation_and_say_that_time_ran_out(trained: Simulator) -> None:
    from simulator.adapters.sb3 import as_sb3

    env = as_sb3(trained.ground(Prompt(trained.specs[0])).sample(4, 0), TASK)
    env.seed(3)
    first = env.reset()
    for _ in range(10):
        seen, reward, done, infos = env.step(np.zeros((4, 1), dtype=np.float32))
    assert done.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    last = np.stack([info["terminal_observation"] for info in infos])
    assert np.allclose(reward, 1 - last[:, 0] ** 2, atol=1e-5)
    assert not np.allclose(seen, last)
    env.seed(3)
    assert np.array_equal(env.reset(), first)


def test_ppo_learns_in_it_unchanged(trained: Simulator) -> None:
    from simulator.adapters.sb3 import as_sb3

    env = as_sb3(trained.ground(Prompt(trained.specs[0])).sample(16, 0), TASK)
    model = sb3.PPO("MlpPolicy", env, n_steps=20, batch_size=80, n_epochs=2, seed=0, device="cpu")
    model.learn(640)
    assert model.num_timesteps == 640
    action, _ = model.predict(env.reset())
    assert action.shape == (16, 1)
