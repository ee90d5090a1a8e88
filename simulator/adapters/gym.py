"""Worlds as a Gymnasium vector environment: numpy in and out, Gymnasium's 5-tuple.

Autoreset mode is SAME_STEP: a world that ends is reset within the same step, and its last observation and info are
kept in `info["final_obs"]` and `info["final_info"]`. `terminated` and `truncated` are never merged. No rendering.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from simulator.state import WorldState
from simulator.worlds import Worlds
from storage.contracts.errors import InputError
from storage.contracts.task import Task


def as_vector_env(worlds: Worlds, task: Task, horizon_steps: int | None = None) -> "WorldsVectorEnv":
    """`horizon_steps` defaults to the task's horizon. Raises UnknownName when the task names channels the robot
    lacks."""
    task.check(worlds.spec)
    if task.reward is None and not worlds.model.traits.rewarded:
        raise InputError(
            f"task '{task.name}' wants a logged reward, but this simulator was trained on logs without one"
        )
    return WorldsVectorEnv(worlds, task, horizon_steps or task.horizon_steps(worlds.spec))


class WorldsVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Observations [N, S] and actions [N, C] are float32 in physical units; actions outside the limits are clamped."""

    render_mode: str | None = None
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, worlds: Worlds, task: Task, horizon_steps: int) -> None:
        self.worlds, self.task, self.horizon_steps = worlds, task, horizon_steps
        self.num_envs = worlds.n
        width = worlds.spec.state_layout.width
        limits = worlds.spec.command_limits.astype(np.float32)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(limits[:, 0], limits[:, 1], dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._episode = 0
        self._seed = worlds.seed
        self._state: WorldState | None = None
        self._elapsed = torch.zeros(self.num_envs, dtype=torch.int64)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new start of every world; with `seed` the same starts and noise again."""
        del options
        self._seed, self._episode = (self._seed, self._episode + 1) if seed is None else (seed, 0)
        self._state = self._fresh()
        self._elapsed = torch.zeros_like(self._elapsed)
        return self._observed(self._state), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self._state is None:
            raise InputError("step() before reset()")
        command = (
            torch.as_tensor(np.asarray(actions), dtype=torch.float32).view(self.num_envs, -1).to(self.worlds.device)
        )
        with torch.no_grad():
            state, outcome, _ = self.worlds.step(self._state, command)
            observed = self.worlds.observe(state)
            reward, terminated = outcome.reward, outcome.terminated
            if self.task.reward is not None or reward is None:
                reward = self.task.reward_of(self.worlds.spec, observed, command, torch)
            if self.task.terminated is not None:
                terminated = self.task.terminated_of(self.worlds.spec, observed, command, torch)
        self._elapsed += 1
        truncated = (self._elapsed >= self.horizon_steps).to(terminated.device) & ~terminated
        done = terminated | truncated
        info: dict[str, Any] = {}
        final = observed.cpu().numpy()
        if bool(done.any()):
            mask = done.cpu().numpy()
            info = {"final_obs": final.copy(), "_final_obs": mask, "final_info": {}, "_final_info": mask}
            self._episode += 1
            state = state.where(~done, self._fresh())
            self._elapsed[done.cpu()] = 0
            final = self._observed(state)
        self._state = state
        return final, reward.cpu().numpy(), terminated.cpu().numpy(), truncated.cpu().numpy(), info

    def _fresh(self) -> WorldState:
        return self.worlds.reset(task_start=self.task.start or None, seed=self._seed + 7919 * self._episode)

    def _observed(self, state: WorldState) -> np.ndarray:
        with torch.no_grad():
            observed: np.ndarray = self.worlds.observe(state).cpu().numpy()
        return observed
