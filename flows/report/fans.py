"""Trajectory fans: what the simulator predicts of a logged run, sampled, beside what was measured."""

from collections.abc import Sequence

import numpy as np
import torch

from flows.report import charts
from simulator.history import History
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode

_SAMPLES = 60
_LONGEST_S = 3.0


def fan_of(sim: Simulator, episode: Episode, title: str, prompt: Sequence[Episode] = ()) -> str:
    """An SVG of the first three seconds after the history that the simulator needs, open loop under the logged
    commands.

    `prompt` holds other episodes of the same robot, from which the simulator infers its hidden parameters.
    """
    samples, start = predict(sim, episode, prompt)
    stop = start + samples.shape[1]
    measured = episode.state[start:stop]
    layout = episode.spec.state_layout
    angles = layout.mask([Kind.ANGLE])
    measured = np.where(angles, np.unwrap(np.nan_to_num(measured), axis=0), measured)
    # Each sample is unwrapped in time and begins on the same turn as the measurement.
    turns = np.unwrap(samples, axis=1)
    turns = turns - 2 * np.pi * np.round((turns[:, :1] - measured[None, :1]) / (2 * np.pi))
    units = [c.unit for c in layout.channels for _ in range(c.width)]
    time_s = episode.time_s[start:stop] - episode.time_s[start]
    return charts.fan(time_s, measured, np.where(angles, turns, samples), layout.columns, units, title)


def predict(sim: Simulator, episode: Episode, prompt: Sequence[Episode] = ()) -> tuple[np.ndarray, int]:
    """Samples [W, H+1, S] of the channels from row `start` on, and `start`, the first row with enough history before
    it.
    """
    scene = sim.ground(Prompt(episode.spec, tuple(prompt)))
    rows = scene.frame.history_rows
    steps = min(episode.steps - rows, round(_LONGEST_S * episode.spec.control_rate_hz))
    command = torch.from_numpy(np.nan_to_num(episode.command)).float()
    exogenous = torch.from_numpy(np.nan_to_num(episode.exogenous)).float()
    worlds = scene.sample(_SAMPLES, seed=0)
    with torch.no_grad():
        state = worlds.reset(History.of(episode, np.array([rows]), rows))
        seen = [worlds.observe(state)]
        for k in range(rows, rows + steps):
            acting = command[k].expand(worlds.n, -1)
            state, _, _ = worlds.step(state, acting, exogenous=exogenous[k].expand(worlds.n, -1))
            seen.append(worlds.observe(state))
    return torch.stack(seen, dim=1).double().numpy(), rows
