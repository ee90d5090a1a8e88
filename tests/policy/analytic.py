"""Analytic worlds that fit `policy.ports`: a cart-pole with hypotheses, and a point `x' = x + a` with known optima.

They stand for the learned simulator where a test must know the truth. No physics engine and no learned part.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fleet_ingest.standins.tasks import CARTPOLE, CARTPOLE_SWINGUP
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

SWINGUP = CARTPOLE_SWINGUP
GRAVITY = 9.81
SUBSTEPS = 2


class Outcome(NamedTuple):
    reward: Tensor | None = None
    terminated: Tensor | None = None
    hazard: Tensor | None = None


@dataclass
class CartPoleState:
    """x, v, angle, rate [N]; `queue` [N, 1] is the command under way."""

    x: Tensor
    v: Tensor
    angle: Tensor
    rate: Tensor
    queue: Tensor


class CartPoleWorlds:
    """N cart-poles: 50 Hz, +-10 N, one frame of delay, rail +-1.5 m with stiff soft stops, noisy readings."""

    spec = CARTPOLE

    def __init__(self, n: int, seed: int, spread: float = 0.2, noise: float = 1.0) -> None:
        self.n, self.robot = n, torch.zeros(n, dtype=torch.int64)
        draw = torch.Generator().manual_seed(seed)

        def between(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=draw)

        self.cart = between(1 - spread, 1 + spread)
        self.pole = 0.2 * between(1 - spread, 1 + spread)
        self.half = 0.25 * between(1 - spread, 1 + spread)
        self.gain = between(1 - spread / 2, 1 + spread / 2)
        self.damping = between(0.1, 0.1 + 2 * spread)
        self._noise = torch.Generator().manual_seed(seed + 1)
        self._std = noise * torch.tensor([5e-4, 5e-3, 1e-3, 2e-2])

    def reset(self, history: Any = None, task_start: Any = None, seed: int | None = None) -> CartPoleState:
        x, v, angle, rate = history.state[:, -1].unbind(1)
        return CartPoleState(x, v, angle, rate, history.command[:, -1])

    def step(self, state: CartPoleState, command: Tensor) -> tuple[CartPoleState, Outcome, None]:
        force = self.gain * state.queue[:, 0].clamp(-10, 10)
        x, v, angle, rate = state.x, state.v, state.angle, state.rate
        dt = 0.02 / SUBSTEPS
        for _ in range(SUBSTEPS):
            over = x - x.clamp(-1.47, 1.47)
            push = force - self.damping * v - 2000.0 * over - 40.0 * v * (over != 0)
            sin, cos = angle.sin(), angle.cos()
            total = self.cart + self.pole
            # Barto, Sutton and Anderson 1983, uniform pole, angle from upright, positive towards +x.
            lean = (push + self.pole * self.half * rate**2 * sin) / total
            turn = (GRAVITY * sin - cos * lean) / (self.half * (4 / 3 - self.pole * cos**2 / total)) - 0.05 * rate
            go = lean - self.pole * self.half * turn * cos / total
            v, rate = v + dt * go, rate + dt * turn
            x, angle = x + dt * v, angle + dt * rate
        return replace(state, x=x, v=v, angle=angle, rate=rate, queue=command), Outcome(), None

    def observe(self, state: CartPoleState) -> Tensor:
        true = torch.stack([state.x, state.v, state.angle, state.rate], dim=1)
        return true + torch.randn(true.shape, generator=self._noise) * self._std


@dataclass(frozen=True)
class CartPoleScene:
    """One robot: hypotheses around the nominal one; `offset` tells robots of a fleet apart."""

    offset: int = 0
    spread: float = 0.2

    def sample(self, n: int, seed: int, device: Any = "cpu") -> CartPoleWorlds:
        return CartPoleWorlds(n, seed * 1000 + self.offset, self.spread)


POINT = RobotSpec(
    name="point",
    control_rate_hz=10.0,
    channels=(
        Channel(name="x", kind=Kind.LINEAR, unit="m"),
        Channel(name="a", kind=Kind.SCALAR, role=Role.COMMAND, limits=(-1.0, 1.0)),
    ),
)
REACH_ONE = Task(name="reach-one", reward="-square(x - 1)", horizon_s=1.0, start={"x": (-0.5, 2.5)})
"""x' = x + a: the optimum is a = clip(1 - x, -1, 1); from |x - 1| <= 1 every reward is 0."""


class PointState(NamedTuple):
    x: Tensor


class PointWorlds:
    """x' = x + a. With `ends_at`, a run terminates where x' exceeds it; with `logged`, the reward is predicted."""

    def __init__(self, n: int, spec: RobotSpec = POINT, ends_at: float | None = None, logged: bool = False) -> None:
        self.n, self.robot, self.spec = n, torch.zeros(n, dtype=torch.int64), spec
        self._ends_at = ends_at
        self._logged = logged

    def reset(self, history: Any = None, task_start: Any = None, seed: int | None = None) -> PointState:
        return PointState(history.state[:, -1, 0])

    def step(self, state: PointState, command: Tensor) -> tuple[PointState, Outcome, None]:
        x = state.x + command[:, 0]
        ended = None if self._ends_at is None else x.detach() > self._ends_at
        return PointState(x), Outcome(-((x - 1) ** 2) if self._logged else None, ended), None

    def observe(self, state: PointState) -> Tensor:
        return state.x[:, None]


@dataclass(frozen=True)
class PointScene:
    spec: RobotSpec = POINT
    ends_at: float | None = None
    logged: bool = False

    def sample(self, n: int, seed: int, device: Any = "cpu") -> PointWorlds:
        return PointWorlds(n, self.spec, self.ends_at, self.logged)
