"""Any Gymnasium or dm_control environment as a robot: one entity of unnamed scalars, reward and ends logged.

The specification is derived from the spaces; observation and action must be finite boxes of numbers. An environment
draws its start from the seed of the episode; starts by channel are refused. With `ID?repeat=N` a command is held for N
steps of the environment, which make one control period. Nothing here knows a particular environment.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from fleet_ingest.robot.driver import Outcome, RobotDriver
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

_MOST_REPEATS = 64


class Environment:
    """RobotDriver on a virtual clock over `begin(seed)` and `advance(command)`, which the kinds of environment give.

    `environment_steps_per_period`: how many steps of the environment one control period makes. `time_limit_steps`:
    after how many of its steps the environment cuts an episode, None where it never does.
    """

    def __init__(self, spec: RobotSpec, repeat: int, time_limit_steps: int | None) -> None:
        self._spec = spec
        self.environment_steps_per_period = repeat
        self.time_limit_steps = time_limit_steps
        self._state = np.zeros(spec.state_layout.width)
        self._outcome = Outcome()
        self._step = 0

    @property
    def spec(self) -> RobotSpec:
        return self._spec

    def reset(self, start: dict[str, float], seed: int) -> None:
        """Raises InputError for a start by channel: the environment draws its own from `seed`."""
        if start:
            raise InputError(
                f"'{self._spec.name}' draws its own starts from the seed; it cannot set {', '.join(sorted(start))}",
                remedy="Give the task no start ranges.",
            )
        self._state, self._outcome, self._step = self.begin(seed), Outcome(), 0

    def read(self) -> tuple[int, np.ndarray]:
        return round(self._step * 1e9 / self._spec.control_rate_hz), self._state.copy()

    def apply(self, command: np.ndarray) -> None:
        """Holds `command` [C] for one control period, or until the episode ends; rewards are summed."""
        reward = 0.0
        for _ in range(self.environment_steps_per_period):
            self._state, ended = self.advance(command)
            reward += ended.reward
            self._outcome = replace(ended, reward=reward)
            if ended.terminated or ended.truncated:
                break
        self._step += 1

    def exogenous(self) -> np.ndarray:
        return np.zeros(0)

    def outcome(self) -> Outcome:
        return self._outcome

    def stop(self) -> None:
        return

    def begin(self, seed: int) -> np.ndarray:
        raise NotImplementedError

    def advance(self, command: np.ndarray) -> tuple[np.ndarray, Outcome]:
        raise NotImplementedError


class GymnasiumRobot(Environment):
    """`gymnasium:ID`. The wrapper that ends episodes by time stays on; its end is a truncation."""

    def __init__(self, identifier: str, repeat: int = 1) -> None:
        import gymnasium

        try:
            self._env: Any = gymnasium.make(identifier)
        except gymnasium.error.Error as error:
            raise InputError(f"no Gymnasium environment '{identifier}': {error}") from error
        seen: Any = self._env.observation_space
        acted: Any = self._env.action_space
        spaces: tuple[tuple[str, Any], ...] = (("observation", seen), ("action", acted))
        for what, space in spaces:
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise InputError(f"'{identifier}': its {what} space is {space}; only boxes of one dimension are taken")
        inner = self._env.unwrapped
        rate = 1.0 / inner.dt if hasattr(inner, "dt") else float(self._env.metadata.get("render_fps") or 50.0)
        names = [f"observation_{i}" for i in range(seen.shape[0])]
        bounds = (seen.low, seen.high), (acted.low, acted.high)
        limit = self._env.spec.max_episode_steps if self._env.spec is not None else None
        super().__init__(_spec(f"gymnasium:{identifier}", repeat, rate, names, *bounds), repeat, limit)
        self._dtype = acted.dtype

    def begin(self, seed: int) -> np.ndarray:
        return np.asarray(self._env.reset(seed=seed % 2**31)[0], dtype=np.float64)

    def advance(self, command: np.ndarray) -> tuple[np.ndarray, Outcome]:
        state, reward, terminated, truncated, _ = self._env.step(command.astype(self._dtype))
        return np.asarray(state, dtype=np.float64), Outcome(float(reward), bool(terminated), bool(truncated))

    def stop(self) -> None:
        self._env.close()


class DmControlRobot(Environment):
    """`dm_control:domain-task` of the control suite."""

    def __init__(self, name: str, repeat: int = 1) -> None:
        os.environ.setdefault("MUJOCO_GL", "disabled")  # nothing is drawn, and a machine without a display is no error
        suite: Any = import_module("dm_control.suite")
        domain, _, task = name.rpartition("-")
        if (domain, task) not in suite.ALL_TASKS:
            some = ", ".join("-".join(pair) for pair in suite.ALL_TASKS[:8])
            raise InputError(f"no dm_control task '{name}'; give domain-task, for example {some}")
        self._load: Callable[[int], Any] = lambda seed: suite.load(domain, task, task_kwargs={"random": seed})
        self._env: Any = self._load(0)
        acted = self._env.action_spec()
        names = [f"{_word(key)}_{i}" for key, part in self._env.observation_spec().items() for i in range(_size(part))]
        free = np.full(len(names), np.inf)
        period_s = self._env.control_timestep()
        bounds = (-free, free), (acted.minimum, acted.maximum)
        limit = _whole(self._env._step_limit)
        super().__init__(_spec(f"dm_control:{name}", repeat, 1.0 / period_s, names, *bounds), repeat, limit)

    def begin(self, seed: int) -> np.ndarray:
        self._env = self._load(seed % 2**32)
        return _flat(self._env.reset().observation)

    def advance(self, command: np.ndarray) -> tuple[np.ndarray, Outcome]:
        step = self._env.step(command)
        # A discount of 0 at the end means that the task ended; otherwise its time was up.
        terminated = bool(step.last() and step.discount == 0)
        return _flat(step.observation), Outcome(float(step.reward), terminated, bool(step.last()) and not terminated)


def gymnasium(identifier: str, serial: str) -> GymnasiumRobot:
    """The driver `gymnasium:ID`, with options `ID?repeat=N`; every serial is alike."""
    identifier, repeat = _options(identifier)
    return GymnasiumRobot(identifier, repeat)


def dm_control(name: str, serial: str) -> DmControlRobot:
    """The driver `dm_control:domain-task`, with options `domain-task?repeat=N`; every serial is alike."""
    name, repeat = _options(name)
    return DmControlRobot(name, repeat)


def environment_steps_per_period(driver: RobotDriver) -> int:
    """How many steps of an environment one control period of `driver` makes; 1 for robots that are none."""
    return driver.environment_steps_per_period if isinstance(driver, Environment) else 1


def task_of(driver: Environment) -> Task:
    """The environment's own task: the reward that it pays, its ends, and its time limit as horizon.

    It draws its own starts, so the task has no start ranges. Raises InputError for an environment without a time limit.
    """
    spec = driver.spec
    if driver.time_limit_steps is None:
        raise InputError(
            f"'{spec.source_text}' never cuts an episode: its task has no horizon",
            remedy="Register the environment with max_episode_steps.",
        )
    periods = math.ceil(driver.time_limit_steps / driver.environment_steps_per_period)
    return Task(
        name=spec.name, reward_channel="reward", terminated_channel="terminated", horizon_s=periods * spec.period_s
    )


def _options(text: str) -> tuple[str, int]:
    """Name and action repeat of `NAME` or `NAME?repeat=N`. Raises UnknownName or InputError for other options."""
    name, _, query = text.partition("?")
    repeat = 1
    for part in query.split("&") if query else []:
        key, _, value = part.partition("=")
        if key != "repeat":
            raise UnknownName("option of an environment", key, ("repeat",), remedy=f"For example {name}?repeat=2.")
        if not value.isdecimal() or not 1 <= int(value) <= _MOST_REPEATS:
            raise InputError(f"'{text}': repeat is '{value}'; it must be a whole number from 1 to {_MOST_REPEATS}")
        repeat = int(value)
    return name, repeat


def _spec(
    name: str,
    repeat: int,
    rate_hz: float,
    states: list[str],
    seen: tuple[np.ndarray, np.ndarray],
    acted: tuple[np.ndarray, np.ndarray],
) -> RobotSpec:
    low, high = (np.broadcast_to(bound, np.shape(acted[0])) for bound in acted)
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        raise InputError(f"'{name}': actions without limits cannot be clamped: {low} to {high}")
    channels = [
        Channel(name=state, kind=Kind.SCALAR, limits=_limits(a, b)) for state, a, b in zip(states, *seen, strict=True)
    ]
    channels += [
        Channel(name=f"action_{i}", kind=Kind.SCALAR, role=Role.COMMAND, limits=(float(a), float(b)))
        for i, (a, b) in enumerate(zip(low, high, strict=True))
    ]
    channels.append(Channel(name="reward", kind=Kind.SCALAR, role=Role.REWARD))
    channels.append(Channel(name="terminated", kind=Kind.EVENT, role=Role.TERMINATION))
    word, text = (name, name) if repeat == 1 else (f"{name}:repeat-{repeat}", f"{name}?repeat={repeat}")
    return RobotSpec(name=word.lower(), control_rate_hz=rate_hz / repeat, channels=tuple(channels), source_text=text)


def _limits(low: float, high: float) -> tuple[float, float] | None:
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def _flat(observation: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=np.float64)).ravel() for part in observation.values()])


def _size(part: Any) -> int:
    return int(np.prod(part.shape, dtype=int))


def _whole(steps: float) -> int | None:
    return round(steps) if np.isfinite(steps) else None


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
