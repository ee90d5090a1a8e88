"""Trajectory fans: what the simulator predicts of a logged run, sampled, beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flows.report import charts
from simulator.history import History
from simulator.prompt import Prompt
from simulator.scene import Scene
from simulator.simulator import Simulator
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode

_SAMPLES = 60
_LONGEST_S = 3.0


@dataclass(frozen=True, eq=False)
class Predicted:
    """A stretch of a log and what was predicted of it: `time_s` [H + 1], `measured` [H + 1, S], `samples` [W, H + 1,
    S], `command` [H, C]. Angles are continuous in time and begin on one turn."""

    time_s: np.ndarray
    measured: np.ndarray
    samples: np.ndarray
    command: np.ndarray
    columns: tuple[str, ...]
    units: tuple[str, ...]


def fan_of(sim: Simulator, episode: Episode, title: str, prompt: Sequence[Episode] = ()) -> str:
    """An SVG of the first three seconds after the history that the simulator needs, open loop under the logged
    commands.

    `prompt` holds other episodes of the same robot, from which the simulator infers its hidden parameters.
    """
    return fan(predicted(sim.ground(Prompt(episode.spec, tuple(prompt))), episode), title)


def fan(found: Predicted, title: str) -> str:
    """The SVG of a prediction."""
    return charts.fan(found.time_s, found.measured, found.samples, found.columns, found.units, title)


def predicted(scene: Scene, episode: Episode, longest_s: float = _LONGEST_S, samples: int = _SAMPLES) -> Predicted:
    """From the first row with enough history before it, for at most `longest_s`."""
    rows = scene.frame.history_rows
    steps = min(episode.steps - rows, round(longest_s * episode.spec.control_rate_hz))
    drawn = _sampled(scene, episode, rows, steps, samples)
    measured = episode.state[rows : rows + steps + 1]
    layout = episode.spec.state_layout
    angles = layout.mask([Kind.ANGLE])
    measured = np.where(angles, np.unwrap(np.nan_to_num(measured), axis=0), measured)
    # Each sample is unwrapped in time and begins on the same turn as the measurement.
    turns = np.unwrap(drawn, axis=1)
    turns = turns - 2 * np.pi * np.round((turns[:, :1] - measured[None, :1]) / (2 * np.pi))
    return Predicted(
        time_s=episode.time_s[rows : rows + steps + 1] - episode.time_s[rows],
        measured=measured,
        samples=np.where(angles, turns, drawn),
        command=episode.command[rows : rows + steps],
        columns=layout.columns,
        units=tuple(c.unit for c in layout.channels for _ in range(c.width)),
    )


def _sampled(scene: Scene, episode: Episode, row: int, steps: int, samples: int) -> np.ndarray:
    """float64 [W, H + 1, S], what sensors would have shown from `row` on."""
    command = torch.from_numpy(np.nan_to_num(episode.command)).float()
    exogenous = torch.from_numpy(np.nan_to_num(episode.exogenous)).float()
    worlds = scene.sample(samples, seed=0)
    with torch.no_grad():
        state = worlds.reset(History.of(episode, np.array([row]), row))
        seen = [worlds.observe(state)]
        for k in range(row, row + steps):
            acting = command[k].expand(worlds.n, -1)
            state, _, _ = worlds.step(state, acting, exogenous=exogenous[k].expand(worlds.n, -1))
            seen.append(worlds.observe(state))
    found: np.ndarray = torch.stack(seen, dim=1).double().numpy()
    return found
