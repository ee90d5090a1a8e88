"""Worlds as a stable-baselines3 `VecEnv`, which rejects Gymnasium's vector environments.

A thin translation of `adapters.gym`: same steps, same resets. stable-baselines3 is needed by this module only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from simulator.adapters.gym import WorldsVectorEnv, as_vector_env
from simulator.worlds import Worlds
from storage.contracts.errors import InputError
from storage.contracts.task import Task


def as_sb3(worlds: Worlds, task: Task, horizon_steps: int | None = None) -> "WorldsVecEnv":
    """For `PPO("MlpPolicy", as_sb3(worlds, task))`.

    Command channels without limits are refused: PPO needs a bounded box.
    """
    if not np.isfinite(worlds.spec.command_limits).all():
        raise InputError(f"robot '{worlds.spec.name}' has command channels without limits; give them limits")
    return WorldsVecEnv(as_vector_env(worlds, task, horizon_steps))


class WorldsVecEnv(VecEnv):  # type: ignore[misc]
    """`step_wait` gives (observations [N, S], rewards [N], dones [N], infos); the last observation of an episode is in
    `infos[i]["terminal_observation"]`, and `infos[i]["TimeLimit.truncated"]` tells a time-out from a termination."""

    def __init__(self, env: WorldsVectorEnv) -> None:
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._env = env
        self._actions = np.zeros((env.num_envs, env.worlds.spec.command_layout.width), dtype=np.float32)
        self._next_seed: int | None = None

    def reset(self) -> np.ndarray:
        observed, _ = self._env.reset(seed=self._next_seed)
        self._next_seed = None
        return observed

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observed, reward, terminated, truncated, info = self._env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(truncated[i])}
        return observed, reward.astype(np.float32), done, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        self._next_seed = seed
        return [seed for _ in range(self.num_envs)]

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise InputError(f"worlds are one batch; '{attr_name}' cannot be set for some of them")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise InputError(f"worlds are one batch; '{method_name}' cannot be called on some of them")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
