"""Logs as prompts: the latent that would have hit them, as sure as they allow."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator import network
from simulator.config import SimulatorConfig
from simulator.fleet import make_groups
from simulator.inference import inferred
from simulator.prompt import Prompt, clips_of
from simulator.rollout import rolled
from simulator.scene import Scene
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.episode import Episode

Make = Callable[..., Episode]


@pytest.fixture(scope="module")
def simulator(oscillator: Make, small: SimulatorConfig) -> Simulator:
    """Of oscillators between half and one and a half of the usual mass."""
    fleet = [oscillator(i, mass=m, robot=f"r{i}") for i, m in enumerate((0.5, 0.7, 0.9, 1.1, 1.3, 1.5))]
    return train_simulator(fleet, small.model_copy(update={"updates": 400, "rows": 256}))


class Settled(Simulator):
    """Grounds every prompt in one scene."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.model, (scene.spec,))
        self.scene = scene

    def ground(self, prompt: Prompt) -> Scene:
        return self.scene


def error(scene: Scene, logs: list[Episode]) -> float:
    found = Settled(scene).score(logs, (0.3,), split="test").value("nrmse", 0.3)
    assert found is not None
    return found


def test_a_log_makes_predictions_of_a_robot_never_seen_better(simulator: Simulator, oscillator: Make) -> None:
    errors = []
    for mass in (0.6, 1.4):
        clip, *logs = [oscillator(90 + i, mass=mass, robot="new") for i in range(4)]
        errors.append([error(simulator.ground(p), logs) for p in (Prompt(clip.spec), Prompt(clip.spec, (clip,)))])
    open_, told = np.mean(errors, axis=0)
    assert told < 0.8 * open_


def test_inference_finds_the_latent_that_made_a_log(simulator: Simulator, oscillator: Make) -> None:
    """A log that is one member's own mean rollout under a known latent, so that the truth is what rollouts say."""
    clip = oscillator(90, mass=0.9)
    model = simulator.model.with_theta(simulator.model.theta[:1])
    only = Simulator(model, simulator.specs)
    true = torch.tensor([[0.7, -0.5, 0.4, -0.8]])
    (group,) = make_groups([clip], model, 4)
    frame, weights = group.frame, model.weights()
    state = clip.state.copy()
    with torch.no_grad():
        made = network.condition(weights, frame.static[None, :, None], true[:, None, None], frame.adjacency, frame.ties)
        rows = torch.tensor([[20]])
        steps = rolled(weights, group, frame, made, rows, torch.full_like(rows, frame.history_rows), 180)
        state[21:] = torch.stack([moved.core.x[0, 0, 0, :2] for moved in steps]).numpy()
    log = replace(clip, state=state)
    found = only.ground(Prompt(clip.spec, (log,)))
    settled = replace(found, mean=true, factor=torch.zeros_like(found.factor))
    assert error(found, [log]) < 1.5 * error(settled, [log])
    assert error(found, [log]) < 0.25 * error(only.ground(Prompt(clip.spec)), [log])


def test_more_of_a_log_leaves_less_open(simulator: Simulator, oscillator: Make) -> None:
    clip = oscillator(90, mass=0.6)
    parts = [Prompt(clip.spec, (clip.window(0, steps),) if steps else ()) for steps in (0, 20, 60, 200)]
    widths = [float(simulator.ground(prompt).deviation.log().mean()) for prompt in parts]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] - 0.2


def test_grounding_is_repeatable_and_leaves_the_simulator_as_it_was(simulator: Simulator, oscillator: Make) -> None:
    clip, before = oscillator(90, mass=0.6, robot="new"), simulator.model.theta.clone()
    first, again = (simulator.ground(Prompt(clip.spec, (clip,))) for _ in range(2))
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.factor, again.factor)
    assert torch.equal(simulator.model.theta, before)
    assert (first.deviation > 0).all()


def test_logs_that_show_nothing_change_nothing(simulator: Simulator, oscillator: Make) -> None:
    clip = oscillator(90)
    torn = replace(clip, resets=tuple(range(200)))  # no two rows that belong together
    unseen = replace(clip, state_valid=np.zeros_like(clip.state, dtype=bool))
    mean, deviation = torch.full((2, 4), 0.3), torch.full((2, 4), 0.5)
    for logs in ((), (torn,), (unseen,)):
        found = inferred(simulator.model, clip.spec, logs, mean, deviation)
        torch.testing.assert_close(found, (mean, torch.diag_embed(deviation)))


def test_clips_are_spread_over_all_and_hold_the_last() -> None:
    assert clips_of(list(range(5)), 8) == [0, 1, 2, 3, 4]
    assert clips_of(list(range(10)), 4) == [1, 4, 6, 9]
    assert clips_of([], 4) == []


def test_what_is_drawn_of_a_scene_has_its_covariance(simulator: Simulator, oscillator: Make) -> None:
    """Of either member, with 20,000 draws each; and entities that go leave those that stay as open as they were."""
    clip = oscillator(90, mass=0.6)
    scene = simulator.ground(Prompt(clip.spec, (clip.window(0, 30),)))
    drawn = scene.sample(40_000, seed=3).z
    for member in (0, 1):
        own, factor = drawn[member::2], scene.factor[member]
        apart = torch.linalg.solve_triangular(factor, (own - scene.mean[member]).T, upper=False)
        torch.testing.assert_close(torch.cov(apart), torch.eye(4), atol=0.04, rtol=0)
        assert float(apart.mean(1).abs().max()) < 0.04
    covariance = scene.factor @ scene.factor.transpose(1, 2)
    assert float((covariance - torch.diag_embed(torch.diagonal(covariance, dim1=1, dim2=2))).abs().max()) > 0.02
    torch.testing.assert_close(scene.independent, torch.diagonal(covariance.inverse(), dim1=1, dim2=2).rsqrt())
    torch.testing.assert_close(drawn[:10], scene.sample(10, seed=3).z, atol=0, rtol=0)
