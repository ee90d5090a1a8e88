"""The commands that no policy makes: coloured noise and held random values, seeded; and the clamp before the actuator.

All streams depend on (seed, specification) only, so that an episode that is run again has the same bits.
"""

import math

import numpy as np

from fleet_ingest.robot.plan import Noise
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

RANDOM_HOLD_S = 0.1


class Wander:
    """Ornstein-Uhlenbeck noise [C] with the stationary standard deviation `noise.std` times the half range."""

    def __init__(self, spec: RobotSpec, noise: Noise, seed: int) -> None:
        self._rng = _stream(seed)
        self._scale = noise.std * half_range(spec)
        self._keep = math.exp(-spec.period_s / noise.time_constant_s)
        self._value = self._rng.standard_normal(len(self._scale))

    def next(self) -> np.ndarray:
        """[C] the noise of the next period, zero mean."""
        value = self._value * self._scale
        # x' = a x + sqrt(1 - a^2) n keeps unit variance: the exact discretisation of the process.
        fresh = self._rng.standard_normal(len(self._scale))
        self._value = self._keep * self._value + math.sqrt(1 - self._keep**2) * fresh
        return np.asarray(value)


class RandomHold:
    """Uniform commands [C] within the limits, each held for `RANDOM_HOLD_S`."""

    def __init__(self, spec: RobotSpec, seed: int) -> None:
        self._rng = _stream(seed)
        self._limits = spec.command_limits
        self._half = half_range(spec)
        self._every = max(1, round(RANDOM_HOLD_S * spec.control_rate_hz))
        self._step = 0
        self._value = np.zeros(len(self._limits))

    def next(self) -> np.ndarray:
        if self._step % self._every == 0:
            self._value = self._limits[:, 0] + 2 * self._half * self._rng.random(len(self._half))
        self._step += 1
        return self._value.copy()


def half_range(spec: RobotSpec) -> np.ndarray:
    """[C] half of each command's range. Raises InputError where a command has no limits."""
    limits = spec.command_limits
    if not np.isfinite(limits).all():
        names = [c.name for c in spec.command_layout.channels if c.limits is None]
        raise InputError(
            f"commands without limits cannot be excited: {', '.join(names)}; state their limits in the spec"
        )
    return np.asarray((limits[:, 1] - limits[:, 0]) / 2)


def clamp(requested: np.ndarray, spec: RobotSpec) -> tuple[np.ndarray, bool, bool]:
    """(command [C] fit for the actuators, whether it was not finite, whether it was outside the limits).

    One value that is not finite makes the whole command the safe one: half a command is nobody's intention.
    """
    if requested.shape != spec.safe.shape or not np.isfinite(requested).all():
        return spec.safe.copy(), True, False
    limits = spec.command_limits
    applied = np.clip(requested, limits[:, 0], limits[:, 1])
    return applied, False, bool((applied != requested).any())


def _stream(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, 1]))
