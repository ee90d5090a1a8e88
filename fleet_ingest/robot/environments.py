"""Any Gymnasium or dm_control environment as a robot: one entity of unnamed scalars, reward and ends logged.

The specification is derived from the spaces; observation and action must be finite boxes of numbers. An environment
draws its start from the seed of the episode; starts by channel are refused. Nothing here
knows a particular environment.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from fleet_ingest.robot.driver import Outcome
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec


class Environment:
    """RobotDriver on a virtual clock over `begin(seed)` and `advance(command)`, which the kinds of environment give."""

    def __init__(self, spec: RobotSpec) -> None:
        self._spec = spec
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
        self._state, self._outcome = self.advance(command)
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

    def __init__(self, identifier: str) -> None:
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
        super().__init__(_spec(f"gymnasium:{identifier}", rate, names, (seen.low, seen.high), (acted.low, acted.high)))
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

    def __init__(self, name: str) -> None:
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
        rate = 1.0 / self._env.control_timestep()
        super().__init__(_spec(f"dm_control:{name}", rate, names, (-free, free), (acted.minimum, acted.maximum)))

    def begin(self, seed: int) -> np.ndarray:
        self._env = self._load(seed % 2**32)
        return _flat(self._env.reset().observation)

    def advance(self, command: np.ndarray) -> tuple[np.ndarray, Outcome]:
        step = self._env.step(command)
        # A discount of 0 at the end means that the task ended; otherwise its time was up.
        terminated = bool(step.last() and step.discount == 0)
        return _flat(step.observation), Outcome(float(step.reward), terminated, bool(step.last()) and not terminated)


def gymnasium(identifier: str, serial: str) -> GymnasiumRobot:
    """The driver `gymnasium:ID`; every serial is alike."""
    return GymnasiumRobot(identifier)


def dm_control(name: str, serial: str) -> DmControlRobot:
    """The driver `dm_control:domain-task`; every serial is alike."""
    return DmControlRobot(name)


def _spec(
    name: str,
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
    return RobotSpec(name=name.lower(), control_rate_hz=rate_hz, channels=tuple(channels), source_text=name)


def _limits(low: float, high: float) -> tuple[float, float] | None:
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def _flat(observation: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=np.float64)).ravel() for part in observation.values()])


def _size(part: Any) -> int:
    return int(np.prod(part.shape, dtype=int))


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
