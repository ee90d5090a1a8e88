"""Toy robots with known physics, simulated in numpy, and small networks."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from simulator.config import SimulatorConfig, Stage
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode, Provenance
from storage.contracts.robot import Entity, RobotSpec

RATE_HZ = 50.0


def make_episode(
    spec: RobotSpec, state: np.ndarray, command: np.ndarray, robot: str = "toy", **extra: object
) -> Episode:
    time_ns = (np.arange(len(state)) * round(1e9 / spec.control_rate_hz)).astype(np.int64)
    raw = hashlib.sha256(state.tobytes() + command.tobytes() + robot.encode()).hexdigest()
    return Episode(robot, spec, time_ns, state, command, Provenance(raw_sha256=raw), **extra)  # type: ignore[arg-type]


def mass_spec(mass_kg: float | None = None) -> RobotSpec:
    """A mass on a line, pushed by a force; its maker names a payload."""
    return RobotSpec(
        name="mass", control_rate_hz=RATE_HZ,
        channels=(
            Channel(name="mass.position", kind=Kind.LINEAR, unit="m", entity="mass"),
            Channel(name="mass.velocity", kind=Kind.LINEAR, unit="m/s", entity="mass", derivative_of="mass.position"),
            Channel(name="mass.force", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", entity="mass", limits=(-2, 2)),
        ),
        entities=(Entity(name="mass", type="body", mass_kg=mass_kg),),
    )  # fmt: skip


def oscillate(
    seed: int,
    *,
    mass: float = 1.0,
    delay: int = 0,
    noise: float = 0.0,
    spec: RobotSpec | None = None,
    steps: int = 200,
    robot: str = "toy",
) -> Episode:
    """m x'' = u - 4 x - 0.6 x', exact to a millisecond, forces held 0.1 s; `delay` in steps, measurement `noise`."""
    spec = spec or mass_spec()
    rng = np.random.default_rng(seed)
    command = np.repeat(rng.uniform(-2, 2, (steps // 5 + 1, 1)), 5, axis=0)[:steps]
    x, v = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
    rows = [(x, v)]
    for t in range(steps):
        u = command[t - delay, 0] if t >= delay else 0.0
        for _ in range(20):
            v += (u - 4 * x - 0.6 * v) / mass * (0.02 / 20)
            x += v * (0.02 / 20)
        rows.append((x, v))
    state = np.array(rows) + noise * rng.standard_normal((steps + 1, 2))
    return make_episode(spec, state, command, robot)


SMALL = SimulatorConfig(
    members=2, width=32, messages=8, memory=4, scene=4, updates=160, rows=128, min_batch=16, max_batch=64,
    curriculum=(Stage(steps=4, share=0.5), Stage(steps=16, share=0.5)), groups=4, checkpoint_every=10,
)  # fmt: skip


@pytest.fixture(scope="session")
def small() -> SimulatorConfig:
    return SMALL


@pytest.fixture(scope="session")
def episode_of() -> Callable[..., Episode]:
    return make_episode


@pytest.fixture(scope="session")
def oscillator() -> Callable[..., Episode]:
    return oscillate


@pytest.fixture(scope="session")
def oscillator_spec() -> Callable[..., RobotSpec]:
    return mass_spec


@pytest.fixture(scope="session")
def trained() -> Simulator:
    """A simulator of the noiseless oscillator, 32 s of data."""
    return train_simulator([oscillate(s) for s in range(8)], SMALL)
