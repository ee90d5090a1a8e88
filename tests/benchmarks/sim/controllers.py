"""Hand-written controllers of cart-poles with gains that spread their returns: policies to rank, and to run for long.

A policy is a row of gains; batches of policies act on batches of states alike, in numpy. State order: cart position,
cart velocity, angle (0 upright), rate. They read no physics: only what the maker says (length, limits, travel).
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from fleet_ingest.standins.bodies import GRAVITY, Body
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

HORIZON_S = 5.0


@dataclass(frozen=True, eq=False)
class Gains:
    """Arrays [P]. Commands are shares of the limit: `pump` with the motion while the pole is down; near the top `kp`,
    `kd` on the pole; `x`, `v` on the cart always; `noise` uniform on top; all times `power`."""

    pump: np.ndarray
    kp: np.ndarray
    kd: np.ndarray
    x: np.ndarray
    v: np.ndarray
    near: np.ndarray
    noise: np.ndarray
    power: np.ndarray

    def pick(self, index: np.ndarray) -> "Gains":
        return Gains(*(getattr(self, f.name)[index] for f in fields(self)))


def draw_gains(n: int, seed: int) -> Gains:
    """Good, poor and hopeless ones."""
    rng = np.random.default_rng(seed)

    def about(center: float, factor: float) -> np.ndarray:
        return np.asarray(center * np.exp(rng.uniform(-math.log(factor), math.log(factor), n)))

    return Gains(
        pump=about(0.6, 2.5), kp=about(3.5, 2.0), kd=about(3.0, 2.0), x=about(0.3, 3.0), v=about(2.0, 3.0),
        near=rng.uniform(0.3, 1.0, n), noise=rng.uniform(0, 0.8, n) * (rng.random(n) < 0.4),
        power=np.where(rng.random(n) < 0.6, 1.0, rng.uniform(0.1, 1.0, n)),
    )  # fmt: skip


@dataclass(frozen=True)
class CartPole:
    """What the maker says of one."""

    limit: float
    travel: float
    natural: float

    @classmethod
    def of(cls, spec: RobotSpec) -> "CartPole":
        length = next(e.length_m for e in spec.entities if e.length_m)
        travel = next(e.limits for e in spec.entities if e.limits)
        return cls(float(spec.command_limits[0, 1]), travel[1], math.sqrt(1.5 * GRAVITY / length))

    def act(self, gains: Gains, state: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Command [P, 1] in `state` [P, 4]; `uniform` [P] in [-1, 1]."""
        x, v, angle, rate = state.T
        x, v, rate = x / self.travel, v / (self.travel * self.natural), rate / self.natural
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        cosine = np.cos(angle)
        # Energy of the pole over that of standing still, in units of m g l: pumps until it suffices.
        lack = 1.0 - cosine - 0.5 * rate**2
        swing = -gains.pump * np.sign(rate * cosine) * np.clip(3.0 * lack, -1, 1) - gains.x * x
        stand = gains.kp * angle + gains.kd * rate + gains.x * x + gains.v * v
        u = np.where(np.abs(angle) < gains.near, stand, swing) + gains.noise * uniform
        return np.asarray((self.limit * np.clip(gains.power * u, -1, 1))[:, None])


def swing_up(body: Body) -> Task:
    """The stand-in cart-pole's task for one of the family: each factor lies in (0, 1], so does the reward."""
    limit, travel = float(body.joints[0].command_limit or 1.0), float(body.joints[0].stop_m or 1.0)
    return Task(
        name="cartpole-family-swingup",
        reward=(
            "square(0.5 * (1 + cos(link1.angle)))"
            " * (0.5 + 0.5 * exp(-square(link1.rate / 6)))"
            f" * (0.3 + 0.7 * exp(-square(cart.position / {0.5 * travel:.6f})))"
            f" * (1 - 0.1 * square(cart.force / {limit:.6f}))"
        ),
        horizon_s=HORIZON_S,
        start={"link1.angle": (math.pi - 0.1, math.pi + 0.1), "cart.position": (-0.1 * travel, 0.1 * travel)},
    )
