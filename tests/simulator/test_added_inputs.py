"""Inputs that act in addition to a command: a force injected at the motor is a force of the motor."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.history import History
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec

Make = Callable[..., Episode]


def disturbed(spec: RobotSpec, **told: object) -> RobotSpec:
    command = spec.by_role(Role.COMMAND)[0]
    fields = {"name": "injected", "kind": Kind.EFFORT, "role": Role.EXOGENOUS, "unit": command.unit,
              "entity": command.entity, "adds_to": command.name, **told}  # fmt: skip
    return RobotSpec.model_validate({**spec.model_dump(), "channels": [*spec.channels, Channel.model_validate(fields)]})


@pytest.fixture(scope="module")
def trained_without(oscillator: Make, small: SimulatorConfig) -> Simulator:
    """Nothing was ever injected in what it learned from."""
    episodes = [oscillator(i) for i in range(4)]
    spec = disturbed(episodes[0].spec)
    silent = [replace(e, spec=spec, exogenous=np.zeros((e.steps, 1))) for e in episodes]
    return train_simulator(silent, small.model_copy(update={"updates": 40}))


def test_an_injected_force_acts_as_the_commanded_one(trained_without: Simulator) -> None:
    worlds = trained_without.ground(Prompt(trained_without.specs[0])).sample(10, seed=0)
    start = worlds.reset(History(torch.zeros(1, 1, 2), torch.zeros(1, 0, 1)))
    zero, force = torch.zeros(10, 1), torch.full((10, 1), 0.5)
    commanded, injected, both = (
        worlds.observe(worlds.step(start, c, exogenous=x)[0])
        for c, x in ((force, zero), (zero, force), (0.4 * force, 0.6 * force))
    )
    assert torch.equal(commanded, injected)
    torch.testing.assert_close(commanded, both)
    assert not torch.equal(commanded, worlds.observe(worlds.step(start, zero)[0]))


def test_training_sees_the_sum(oscillator: Make, small: SimulatorConfig) -> None:
    episode = oscillator(0)
    spec, config = disturbed(episode.spec), small.model_copy(update={"updates": 20})
    sent = episode.command
    shares = [replace(episode, spec=spec, command=s * sent, exogenous=(1 - s) * sent) for s in (1.0, 0.5)]
    thetas = [train_simulator([e], config).model.theta for e in shares]
    assert torch.equal(*thetas)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"adds_to": "nothing"}, "adds_to in channel 'injected'"),
        ({"unit": "N*m"}, "need equal size and unit"),
        ({"role": Role.STATE}, "'adds_to' is for exogenous channels"),
    ],
)
def test_what_cannot_be_added_is_refused(oscillator: Make, told: dict[str, object], message: str) -> None:
    with pytest.raises((ContractError, ValueError), match=message):
        disturbed(oscillator(0).spec, **told)


def test_specifications_without_it_keep_their_digests(oscillator: Make) -> None:
    assert "adds_to" not in oscillator(0).spec.model_dump(mode="json")["channels"][0]
