"""Robots that are stepped as one batch are the robots that they are alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.mixture import MixedScene, can_mix
from simulator.prompt import Prompt
from simulator.scene import Scene
from simulator.train import train_simulator
from storage.contracts.episode import Episode

Make = Callable[..., Episode]


@pytest.fixture(scope="module")
def scenes(oscillator: Make, small: SimulatorConfig) -> list[Scene]:
    """Two robots, told by a short log each; the second's latent is open in one direction alone."""
    logs = [oscillator(i, mass=mass, robot=f"r{i}") for i, mass in enumerate((0.5, 2.0))]
    simulator = train_simulator(logs, small)
    first, second = (simulator.ground(Prompt(log.spec, (log,))) for log in logs)
    width = second.mean.shape[1]
    along = torch.ones(2, width, 1) @ torch.ones(2, 1, width)
    factor = torch.linalg.cholesky(along + 1e-4 * torch.eye(width))
    return [first, replace(second, factor=factor)]


def test_hypotheses_spread_as_those_of_each_robot_do(scenes: list[Scene]) -> None:
    """What is open only together stays so: the mixture's latents have each robot's own covariance."""
    assert can_mix(scenes)
    n = 8000
    mixed = MixedScene(tuple(scenes)).sample(n, seed=1)
    robot = MixedScene(tuple(scenes)).robots(n)
    for place, scene in enumerate(scenes):
        for member in range(2):
            z = mixed.z[(robot == place) & (torch.arange(n) % 2 == member)]
            expected = scene.factor[member] @ scene.factor[member].T * scene.model.temperature.scene**2
            size = expected.norm() + (scene.mean[member] ** 2).sum()
            assert (torch.cov(z.T) - expected).norm() < 0.1 * size
            assert (z.mean(0) - scene.mean[member]).norm() < 0.1 * size.sqrt()
    apart = mixed.z[(robot == 1)]
    assert (apart - apart.mean(1, keepdim=True)).std() < 0.5 * apart.std()


def test_fewer_members_see_what_they_saw_among_all(scenes: list[Scene]) -> None:
    whole = MixedScene(tuple(scenes))
    alone = whole.first_members(1)
    assert can_mix(alone.scenes)
    for before, after in zip(whole.scenes, alone.scenes, strict=True):
        assert torch.equal(after.mean, before.mean[:1])
        assert after.model.members == 1
    assert set(alone.robots(4).tolist()) == {0, 1}
