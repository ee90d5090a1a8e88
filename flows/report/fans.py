"""Trajectory fans: what the simulator predicts of a logged run, sampled, beside what was measured."""

import numpy as np

from flows.report import charts
from simulator.simulator import Simulator
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode

_SAMPLES = 64
_LONGEST_S = 3.0


def fan_of(sim: Simulator, episode: Episode, title: str) -> str:
    """An SVG of the first three seconds after the history that the simulator needs, open loop under the logged commands."""
    samples, start = sim.predict(episode, duration_s=_LONGEST_S, samples=_SAMPLES, seed=0)
    stop = start + samples.shape[1]
    measured = episode.state[start:stop]
    layout = episode.spec.state_layout
    angles = layout.mask([Kind.ANGLE])
    continuous = np.unwrap(np.where(np.isfinite(measured), measured, 0.0), axis=0)
    measured = np.where(angles, continuous, measured)
    # Each sample is unwrapped in time and starts on the same turn as the measurement.
    turns = np.unwrap(samples, axis=1)
    turns = turns - 2 * np.pi * np.round((turns[:, :1] - measured[None, :1]) / (2 * np.pi))
    units = [c.unit for c in layout.channels for _ in range(c.width)]
    return charts.fan(
        episode.time_s[start:stop] - episode.time_s[start], measured, np.where(angles, turns, samples), layout.columns, units, title
    )
