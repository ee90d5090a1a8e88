"""What the speed of the simulator is held against: a physics engine stepped in Python, and a recurrent world model.

Both are timed by the same clock on the same cores as the simulator, one after the other.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

GYMNASIUM = "InvertedPendulum-v5"
WARM_UP = 3


def rate(step: Callable[[], object], seconds: float) -> float:
    """Calls per second of wall time, after a few that do not count."""
    for _ in range(WARM_UP):
        step()
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds or count < WARM_UP:
        step()
        count += 1
    return count / passed


def gymnasium_rate(seconds: float, frame_skip: int | None = None) -> tuple[float, float]:
    """(steps per second, seconds of robot time per step) of one environment under random commands."""
    options: dict[str, Any] = {} if frame_skip is None else {"frame_skip": frame_skip}
    environment = gymnasium.make(GYMNASIUM, **options)
    environment.reset(seed=0)
    commands = np.random.default_rng(0).uniform(-3, 3, (1000, 1))
    at = 0

    def step() -> None:
        nonlocal at
        at += 1
        _, _, terminated, truncated, _ = environment.step(commands[at % 1000])
        if terminated or truncated:
            environment.reset()

    found = rate(step, seconds)
    period_s = float(environment.unwrapped.dt)  # type: ignore[attr-defined]
    environment.close()
    return found, period_s


def gymnasium_robot_seconds(seconds: float, cores: int, frame_skip: int | None = None) -> float:
    """Robot-seconds per wall-second of one environment on each of `cores`, all at once."""
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(gymnasium_rate, [seconds] * cores, [frame_skip] * cores))
    return sum(steps * period_s for steps, period_s in parts)


class Recurrent(nn.Module):
    """A world model of the size of Robotic World Model's (Li, Krause, Hutter 2025): GRU 2 x 256 that carries its state,
    a linear head for the mean and the log-deviation of the change. Untrained: only its cost is wanted."""

    def __init__(self, states: int, commands: int, width: int = 256) -> None:
        super().__init__()
        self.gru = nn.GRU(states + commands, width, num_layers=2)
        self.head = nn.Linear(width, 2 * states)

    def forward(self, x: Tensor, command: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The next sampled `x` [N, S] and `hidden` [2, N, 256]."""
        out, hidden = self.gru(torch.cat([x, command], 1)[None], hidden)
        mean, deviation = self.head(out[0]).chunk(2, 1)
        return x + 0.01 * (mean + torch.exp(deviation) * torch.randn_like(mean)), hidden


def recurrent_rate(n: int, states: int, commands: int, seconds: float) -> float:
    """Steps per second of `n` worlds at once."""
    torch.manual_seed(0)
    model = Recurrent(states, commands).eval()
    x, hidden, command = torch.zeros(n, states), torch.zeros(2, n, 256), torch.randn(n, commands)

    def step() -> None:
        nonlocal x, hidden
        x, hidden = model(x, command, hidden)

    with torch.no_grad():
        return rate(step, seconds)
