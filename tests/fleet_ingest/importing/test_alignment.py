"""The lag of a state that follows its command by a known delay, in closed form; none where there is no relation."""

import numpy as np
import pytest

from fleet_ingest.alignment import lag_of
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode, Provenance
from storage.contracts.robot import RobotSpec

RATE = 100.0
SPEC = RobotSpec(
    name="cart", control_rate_hz=RATE,
    channels=(Channel(name="x", kind=Kind.LINEAR, unit="m"),
              Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND, unit="N")),
)  # fmt: skip


def episode(command: np.ndarray, state: np.ndarray) -> Episode:
    time_ns = (np.arange(len(state)) * 1e9 / RATE).astype(np.int64)
    return Episode(
        robot="cart-1", spec=SPEC, time_ns=time_ns, state=state[:, None], command=command[:, None],
        provenance=Provenance(raw_sha256="0" * 64),
    )  # fmt: skip


def held_noise(n: int, seed: int) -> np.ndarray:
    """A random command, new every 0.1 s."""
    return np.repeat(np.random.default_rng(seed).normal(size=n // 10 + 1), 10)[:n]


@pytest.mark.parametrize("delay", [0, 1, 4, 12, 30])
@pytest.mark.parametrize("order", ["speed", "force", "position"])
def test_a_known_delay_is_found(delay: int, order: str) -> None:
    """x[t + 1] = x[t] + u[t - delay] / rate, the same once more integrated, and x[t + 1] = u[t - delay]."""
    n = 2000
    command = held_noise(n, seed=delay)
    late = np.concatenate([np.zeros(delay), command[: n - delay]])
    speed = np.concatenate([[0.0], np.cumsum(late) / RATE])
    state = {
        "speed": speed,
        "force": np.concatenate([[0.0, 0.0], np.cumsum(np.cumsum(late) / RATE) / RATE])[: n + 1],
        "position": np.concatenate([[0.0], late]),
    }[order]
    lag = lag_of([episode(command, state)])
    assert lag is not None
    assert lag.seconds * RATE == pytest.approx(delay, abs=0.6)
    assert lag.confidence > 0.5
    assert (lag.command, lag.state) == ("u", "x")


def test_no_relation_gives_no_confidence() -> None:
    found = [
        lag_of([episode(held_noise(2000, seed), np.cumsum(np.random.default_rng(seed + 100).normal(size=2001)))])
        for seed in range(10)
    ]
    assert max((lag.confidence for lag in found if lag is not None), default=0.0) < 0.3


def test_a_command_that_never_moves_has_no_lag() -> None:
    assert lag_of([episode(np.ones(500), np.sin(np.arange(501) / 10))]) is None
    assert lag_of([]) is None
