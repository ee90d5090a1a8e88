"""Gradient steps on a scene's latent: nearer to the robot, weights untouched, repeatable."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.prompt import Prompt, clips_of
from simulator.refine import Progress, Refinement, refined
from simulator.scene import Scene
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.episode import Episode

Make = Callable[..., Episode]
HOW = Refinement(updates=30, rows=256)


@pytest.fixture(scope="module")
def simulator(oscillator: Make, small: SimulatorConfig) -> Simulator:
    """Of oscillators between half and one and a half of the usual mass; encoders had little time to learn."""
    fleet = [oscillator(i, mass=m, robot=f"r{i}") for i, m in enumerate((0.5, 0.7, 0.9, 1.1, 1.3, 1.5))]
    return train_simulator(fleet, small.model_copy(update={"updates": 250, "rows": 256}))


class Settled(Simulator):
    """Grounds every prompt in one scene."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.model, (scene.spec,))
        self.scene = scene

    def ground(
        self, prompt: Prompt, refinement: Refinement | None = None, progress: Progress | None = None
    ) -> Scene:  # fmt: skip
        return self.scene


def error(simulator: Simulator, prompt: Prompt, logs: list[Episode], how: Refinement | None) -> float:
    found = Settled(simulator.ground(prompt, how)).score(logs, (0.3,), split="test").value("nrmse", 0.3)
    assert found is not None
    return found


def test_refined_scenes_predict_robots_never_seen_better(simulator: Simulator, oscillator: Make) -> None:
    """Means over two robots: a fleet of six has not taught the weights what every latent would mean."""
    errors = []
    for mass in (0.6, 1.4):
        clip, *logs = [oscillator(90 + i, mass=mass, robot="new") for i in range(4)]
        prompt = Prompt(clip.spec, (clip,))
        errors.append([error(simulator, prompt, logs, how) for how in (None, HOW)])
    read, fitted = np.mean(errors, axis=0)
    assert fitted < 0.9 * read


def test_refining_is_repeatable_and_leaves_the_simulator_as_it_was(simulator: Simulator, oscillator: Make) -> None:
    clip, before = oscillator(90, mass=0.6, robot="new"), simulator.model.theta.clone()
    first, again = (simulator.ground(Prompt(clip.spec, (clip,)), HOW) for _ in range(2))
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.deviation, again.deviation)
    assert torch.equal(simulator.model.theta, before)
    read = simulator.ground(Prompt(clip.spec, (clip,)))
    assert not torch.equal(first.mean, read.mean)
    assert (first.deviation > 0).all()


def test_a_prompt_without_logs_is_left_as_it_was_read(simulator: Simulator, oscillator: Make) -> None:
    spec = oscillator(0).spec
    read = simulator.ground(Prompt(spec))
    assert refined(read, ()) is read
    torn = replace(oscillator(90), resets=tuple(range(200)))  # no two rows that belong together
    assert refined(read, (torn,)) is read
    told: list[float] = []
    clip = oscillator(90)
    refined(
        simulator.ground(Prompt(spec, (clip,))), (clip,), Refinement(updates=4), lambda share, _: told.append(share)
    )
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_clips_are_spread_over_all_and_hold_the_last() -> None:
    assert clips_of(list(range(5)), 8) == [0, 1, 2, 3, 4]
    assert clips_of(list(range(10)), 4) == [1, 4, 6, 9]
    assert clips_of([], 4) == []
