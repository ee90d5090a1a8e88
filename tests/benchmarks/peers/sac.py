"""The peer and the oracle: SAC of stable-baselines3 trained directly on robots behind our driver port.

With few steps it is the baseline at equal real steps, with many the oracle. Robots are stepped one after another; each
step of a robot counts as one, also those before learning starts. Starts of training come from the task (else from the
environment) by seeds that evaluation does not use. It never sees the learned simulator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from fleet_ingest.robot.driver import RobotDriver
from storage.contracts.channel import Kind
from storage.contracts.robot import RobotSpec
from storage.contracts.starts import evaluation_starts, return_of
from storage.contracts.task import Task

_SMALLEST = 0.1  # channels of smaller values are not blown up beyond this


@dataclass(frozen=True)
class SacSettings:
    """`history` rows of states and commands are observed; `gradient_steps` are made per step of a robot."""

    history: int = 1
    gradient_steps: int = 1
    learning_starts: int = 1000
    learning_rate: float = 7e-4
    batch_size: int = 256
    gamma: float = 0.98
    tau: float = 0.01
    buffer_size: int = 400_000
    net_arch: tuple[int, ...] = (128, 128)
    keep_best: bool = False
    """The snapshot of the best evaluation is returned instead of the last one."""


class Point(NamedTuple):
    """`steps` steps of robots were made when `evaluate` gave `value`."""

    steps: int
    value: float


class Window:
    """The last `history` rows of (state features, command): angles as cosine and sine, commands in [-1, 1]."""

    def __init__(self, spec: RobotSpec, history: int) -> None:
        self._angle = np.array(spec.state_layout.mask([Kind.ANGLE]), dtype=bool)
        self._limits = spec.command_limits
        self._known = np.concatenate([_known_scales(spec), np.ones(2 * self._angle.sum() + len(self._limits))])
        self.rows = np.zeros((history, len(self._known)))

    @property
    def known(self) -> np.ndarray:
        """[history x F] the scale of each feature as the specification gives it; NaN where it gives none."""
        return np.tile(self._known, len(self.rows))

    def begin(self, state: np.ndarray, command: np.ndarray) -> np.ndarray:
        self.rows[:] = self._row(state, command)
        return self.flat

    def push(self, state: np.ndarray, command: np.ndarray) -> np.ndarray:
        self.rows[:-1] = self.rows[1:]
        self.rows[-1] = self._row(state, command)
        return self.flat

    @property
    def flat(self) -> np.ndarray:
        return self.rows.ravel().astype(np.float32)

    def to_command(self, action: np.ndarray) -> np.ndarray:
        """Physical units [C] of `action` [C] in [-1, 1]."""
        low, high = self._limits[:, 0], self._limits[:, 1]
        share = 0.5 * (np.clip(np.asarray(action, dtype=np.float64), -1, 1) + 1)
        return np.asarray(low + share * (high - low))

    def _row(self, state: np.ndarray, command: np.ndarray) -> np.ndarray:
        low, high = self._limits[:, 0], self._limits[:, 1]
        turned = state[self._angle]
        asked = 2 * (command - low) / (high - low) - 1
        return np.concatenate([state[~self._angle], np.cos(turned), np.sin(turned), asked])


def _known_scales(spec: RobotSpec) -> np.ndarray:
    """The largest magnitude within the limits of each state column that is no angle; NaN without limits."""
    found = [
        np.nan if channel.limits is None else max(map(abs, channel.limits))
        for channel in spec.state_layout.channels
        if channel.kind != Kind.ANGLE
        for _ in range(channel.width)
    ]
    return np.array(found, dtype=np.float64)


class Scale(BaseFeaturesExtractor):  # type: ignore[misc]
    """Divides the observation by `scale`: the specification's limits, else the largest magnitude before learning."""

    scale: torch.Tensor

    def __init__(self, observation_space: gymnasium.Space[Any], known: np.ndarray) -> None:
        super().__init__(observation_space, len(known))
        self._known = known
        self.register_buffer("scale", torch.ones(len(known)))

    def fit(self, observations: np.ndarray) -> None:
        seen = np.maximum(np.abs(observations).max(axis=0), _SMALLEST)
        scale = np.where(np.isfinite(self._known), np.maximum(self._known, _SMALLEST), seen)
        self.scale.copy_(torch.as_tensor(scale, dtype=torch.float32))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations / self.scale


class RobotEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One robot and its task. An end that the task or the robot calls one terminates; the horizon truncates."""

    def __init__(self, robot: RobotDriver, task: Task, history: int, seed: int) -> None:
        self.robot, self.task = robot, task
        self.window = Window(robot.spec, history)
        self._rng = np.random.default_rng(seed)
        self._horizon = task.horizon_steps(robot.spec)
        width = robot.spec.command_layout.width
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, self.window.flat.shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (width,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        start = evaluation_starts(self.task, 1, int(self._rng.integers(2**40)))[0]
        self.robot.reset(start, int(self._rng.integers(2**31)))
        self._count = 0
        return self.window.begin(self.robot.read()[1], self.robot.spec.safe), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        command = self.window.to_command(action)
        state, reward, terminated, truncated = advance(self.robot, self.task, command)
        self._count += 1
        over = not terminated and (truncated or self._count >= self._horizon)
        return self.window.push(state, command), reward, terminated, over, {}


def advance(robot: RobotDriver, task: Task, command: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
    """State [S], reward, terminated and truncated after one period under `command` [C]."""
    robot.apply(command)
    state, outcome = robot.read()[1], robot.outcome()
    logged = task.reward is None
    reward = outcome.reward if logged else float(task.reward_of(robot.spec, state, command, np))
    ended = outcome.terminated or bool(task.terminated_of(robot.spec, state, command, np))
    return state, reward, ended, outcome.truncated and not ended


@dataclass
class Predictor:
    """The policy with the face of `PolicyRunner`: `reset(state)`, then `act(state, last command)` in each period."""

    model: SAC
    spec: RobotSpec
    history: int
    _window: Window = field(init=False)
    _first: bool = field(init=False, default=True)

    def reset(self, first_state: np.ndarray) -> None:
        self._window = Window(self.spec, self.history)
        self._window.begin(first_state, self.spec.safe)
        self._first = True

    def act(self, state: np.ndarray, last_command: np.ndarray | None = None) -> np.ndarray:
        """[C] the command for `state` [S]; `last_command` acted in the period that ended in it."""
        if not self._first:
            self._window.push(state, self.spec.safe if last_command is None else last_command)
        self._first = False
        return self._window.to_command(self.model.predict(self._window.flat, deterministic=True)[0])


Evaluate = Callable[[Predictor], float]


def episode_return(
    robot: RobotDriver, task: Task, act: Callable[[np.ndarray, np.ndarray], np.ndarray], start: dict[str, float],
    seed: int,
) -> tuple[float, int]:  # fmt: skip
    """(undiscounted sum of rewards, steps) of one episode of `act(state, last command)`, until an end or the horizon.

    Commands are clamped to the limits.
    """
    spec = robot.spec
    low, high = spec.command_limits.T
    robot.reset(start, seed)
    rows, commands, rewards = [robot.read()[1]], [spec.safe], []
    for _ in range(task.horizon_steps(spec)):
        commands.append(np.clip(act(rows[-1], commands[-1]), low, high))
        state, reward, terminated, truncated = advance(robot, task, commands[-1])
        rows.append(state)
        rewards.append(reward)
        if terminated or truncated:
            break
    total = return_of(spec, task, np.array(rows), np.array(commands[1:]), np.array(rewards))
    return total, len(rewards)


def predictor_return(
    robot: RobotDriver, task: Task, predictor: Predictor, start: dict[str, float], seed: int
) -> tuple[float, int]:
    """(return, steps) of one episode of `predictor`."""
    fresh = True

    def act(state: np.ndarray, last: np.ndarray) -> np.ndarray:
        nonlocal fresh
        if fresh:
            predictor.reset(state)
        fresh = False
        return predictor.act(state, last)

    return episode_return(robot, task, act, start, seed)


class _Fit(BaseCallback):  # type: ignore[misc]
    """Fixes the scales once, from what was seen before learning starts."""

    def __init__(self, starts: int) -> None:
        super().__init__()
        self._starts, self._done = starts, False

    def _on_step(self) -> bool:
        if not self._done and self.num_timesteps >= self._starts:
            self._done = True
            buffer = self.model.replay_buffer
            # The rows of this very step are not in the buffer yet; at least one earlier step is.
            seen = buffer.observations[: max(1, buffer.pos)]
            for module in self.model.policy.modules():
                if isinstance(module, Scale):
                    module.fit(seen.reshape(-1, seen.shape[-1]))
        return True


def train_sac(
    robots: Sequence[RobotDriver],
    task: Task,
    *,
    steps: int,
    seed: int,
    evaluate: Evaluate | None = None,
    every: int | None = None,
    settings: SacSettings = SacSettings(),
) -> tuple[Predictor, list[Point]]:
    """One policy for all `robots` (of one specification) after `steps` steps, over all robots together.

    `evaluate` is asked after each `every` steps and at the end; it runs its episodes on robots of its own, which are
    not counted. Equal arguments give an equal policy on the same build. Raises ValueError without robots, for commands
    without limits, or when learning would start on nothing.
    """
    if not robots or not np.isfinite(robots[0].spec.command_limits).all():
        raise ValueError("SAC needs robots whose commands have limits")
    if settings.learning_starts < 2 * len(robots):
        raise ValueError(f"{settings.learning_starts} steps before learning: each robot has to make two at least")
    model = _model(robots, task, seed, settings)
    predictor = Predictor(model, robots[0].spec, settings.history)
    curve: list[Point] = []
    best: dict[str, torch.Tensor] = {}
    fit = _Fit(settings.learning_starts)
    while model.num_timesteps < steps:
        model.learn(min(every or steps, steps - model.num_timesteps), callback=fit, reset_num_timesteps=False)
        if evaluate is not None:
            curve.append(Point(model.num_timesteps, evaluate(predictor)))
            if settings.keep_best and curve[-1].value == max(point.value for point in curve):
                best = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    if best:
        model.policy.load_state_dict(best)
    return predictor, curve


def _model(robots: Sequence[RobotDriver], task: Task, seed: int, settings: SacSettings) -> SAC:
    def make(index: int) -> Callable[[], RobotEnv]:
        return lambda: RobotEnv(robots[index], task, settings.history, seed * 1000 + index)

    return SAC(
        "MlpPolicy", DummyVecEnv([make(i) for i in range(len(robots))]), seed=seed, device="cpu",
        learning_rate=settings.learning_rate, batch_size=settings.batch_size, gamma=settings.gamma, tau=settings.tau,
        learning_starts=settings.learning_starts, train_freq=1, buffer_size=settings.buffer_size,
        gradient_steps=settings.gradient_steps * len(robots),
        policy_kwargs={
            "net_arch": list(settings.net_arch), "features_extractor_class": Scale,
            "features_extractor_kwargs": {"known": Window(robots[0].spec, settings.history).known},
        },
    )  # fmt: skip
