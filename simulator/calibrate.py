"""Recalibration: factors on the sampled noise and on the scene's deviation, fitted on runs that training did not see.

An ensemble fitted to few logs is too sure of itself on others. The factors act in the trajectories that `step`
samples, which is what policies train on; reports are never rescaled. The runs must be neither those of the training
nor those that a score is reported on. It trains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from simulator.model import Temperature
from simulator.prompt import Prompt, clips_of
from simulator.score import ScoreOptions, scenes_of, score_scenes
from simulator.simulator import Simulator
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError

FACTORS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
HORIZONS_S = (0.1, 0.5, 1.0)
_LEVELS = (50, 90)


def calibrated(
    simulator: Simulator,
    episodes: Sequence[Episode],
    *,
    prompts: Mapping[str, Prompt] | None = None,
    max_windows: int = 200,
    seed: int = 0,
) -> Simulator:
    """The simulator with the factors under which central intervals cover best on `episodes`, over all horizons.

    First the noise of steps, then the scene's deviation. Raises InputError without episodes.
    """
    if not episodes:
        raise InputError("no runs to calibrate on", remedy="hold out some runs, neither for training nor for the score")

    options = ScoreOptions(HORIZONS_S, prompts=prompts, split="validation", max_windows=max_windows, seed=seed)
    scenes = scenes_of(simulator, episodes, prompts or {})

    def miss(temperature: Temperature) -> float:
        tried = {key: replace(s, model=replace(s.model, temperature=temperature)) for key, s in scenes.items()}
        card = score_scenes(tried, episodes, options, simulator.digest)
        covered = [(card.value(f"coverage_{level}", h), level) for level in _LEVELS for h in HORIZONS_S]
        off = [abs(share - level / 100) for share, level in covered if share is not None]
        return float(np.mean(off))

    best = min((Temperature(process=factor) for factor in FACTORS), key=miss)
    others = [Temperature(process=best.process, scene=factor) for factor in FACTORS]
    return with_temperature(simulator, min([best, *others], key=miss))


def prompts_of(episodes: Sequence[Episode]) -> dict[str, Prompt]:
    """Robot -> a prompt of its episodes: what a score of a known robot is given."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        found.setdefault(episode.robot, []).append(episode)
    return {robot: Prompt(own[0].spec, tuple(clips_of(own))) for robot, own in found.items()}


def with_temperature(simulator: Simulator, temperature: Temperature) -> Simulator:
    return Simulator(replace(simulator.model, temperature=temperature), simulator.specs)
