"""Sampled forecasts of a simulator on windows of real runs, every 0.1 s after 0.2 s of history, with known inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from simulator.history import History
from simulator.scene import Scene
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode
from tests.benchmarks.real import statistic

HORIZONS_S = (0.1, 0.5, 1.0)
HISTORY_S = 0.2
STRIDE_S = 0.1


@dataclass(frozen=True)
class Forecast:
    """By horizon: `errors` [W] of the median forecast, `hold_errors` [W] of the last state, energy `scores` [W]; of all
    angles of the robot, or of its scaled positions where it has none."""

    errors: dict[float, np.ndarray]
    hold_errors: dict[float, np.ndarray]
    scores: dict[float, np.ndarray]


def forecasts(scene: Scene, episodes: Sequence[Episode], samples: int, seed: int) -> list[Forecast]:
    """One per episode that is long enough."""
    spec = scene.spec
    last = round(max(HORIZONS_S) * spec.control_rate_hz)
    return [_one(scene, e, samples, seed) for e in episodes if len(rows_of(e, scene.frame.history_rows, last))]


def rows_of(episode: Episode, history_rows: int, ahead: int) -> np.ndarray:
    rate = episode.spec.control_rate_hz
    rows = np.arange(round(HISTORY_S * rate), episode.steps - ahead + 1, round(STRIDE_S * rate))
    return rows[rows >= history_rows]


def _one(scene: Scene, episode: Episode, samples: int, seed: int) -> Forecast:
    spec = episode.spec
    steps = {h: round(h * spec.control_rate_hz) for h in HORIZONS_S}
    rows = rows_of(episode, scene.frame.history_rows, max(steps.values()))
    at = np.repeat(rows, samples)
    worlds = scene.sample(len(at), seed)
    state = worlds.reset(History.of(episode, at, scene.frame.history_rows))
    command = torch.from_numpy(np.nan_to_num(episode.command)).float()
    extra = torch.from_numpy(np.nan_to_num(episode.exogenous)).float()
    angle = np.flatnonzero(spec.state_layout.mask([Kind.ANGLE]))
    index = torch.from_numpy(at)
    found = Forecast({}, {}, {})
    with torch.no_grad():
        for k in range(1, max(steps.values()) + 1):
            state, _, _ = worlds.step(state, command[index + k - 1], exogenous=extra[index + k - 1])
            for h in (h for h, step in steps.items() if step == k):
                sampled = worlds.observe(state).double().numpy()[:, angle].reshape(len(rows), samples, -1)
                measured = episode.state[rows + k][:, angle]
                found.errors[h] = statistic.window_errors(statistic.circular_median(sampled), measured)
                found.hold_errors[h] = statistic.window_errors(episode.state[rows][:, angle], measured)
                found.scores[h] = statistic.energy_scores(sampled, measured)
    return found
