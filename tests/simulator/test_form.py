"""The form of a step: linear in what drives, and deaf to entities that are no longer there."""

import pytest
import torch

from simulator import network
from simulator.config import SimulatorConfig
from simulator.network import Conditioning
from simulator.parameters import initialise, unpack
from simulator.structure import Shape

SHAPE = Shape(pairs=1, others=0, inputs=1, categories=0, labels=0, taps=2, knots=4)
CONFIG = SimulatorConfig(members=2, width=16, messages=4, terms=8)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    layout = network.layout(SHAPE, CONFIG)
    return unpack(initialise(layout, 3, range(2)), layout)


def evaluate(weights: dict[str, torch.Tensor], drive: torch.Tensor, alive: torch.Tensor | None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    configuration = torch.randn(2, 3, 5, network.form_inputs(SHAPE), generator=generator)
    bias = torch.zeros(2, 3, 5, CONFIG.width)
    conditioning = Conditioning(bias, bias, bias, bias, bias, bias, bias)
    others = torch.ones(3, 3) - torch.eye(3)
    adjacency = torch.cat([others / 2, torch.zeros(6, 3)])
    return network.form(weights, configuration, drive, conditioning, alive, adjacency)


def test_it_is_linear_in_what_drives(weights: dict[str, torch.Tensor]) -> None:
    a, b = torch.randn(2, 2, 3, 5, network.drive_inputs(SHAPE), generator=torch.Generator().manual_seed(2))
    both = evaluate(weights, 2.0 * a - 3.0 * b, None)
    torch.testing.assert_close(both, 2.0 * evaluate(weights, a, None) - 3.0 * evaluate(weights, b, None))


def test_an_entity_that_is_gone_moves_nobody(weights: dict[str, torch.Tensor]) -> None:
    drive = torch.randn(2, 3, 5, network.drive_inputs(SHAPE), generator=torch.Generator().manual_seed(2))
    other = drive.clone()
    other[:, 2] += 5.0
    alive = torch.ones(2, 3, 5, 1)
    assert not torch.equal(evaluate(weights, drive, alive)[:, :2], evaluate(weights, other, alive)[:, :2])
    alive[:, 2] = 0.0
    assert torch.equal(evaluate(weights, drive, alive)[:, :2], evaluate(weights, other, alive)[:, :2])
