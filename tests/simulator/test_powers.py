"""Coefficients of mechanics are multiplied by exponentials of what is said and of the latent, each its own."""

import math

import pytest
import torch
from torch import Tensor

from simulator import network
from simulator.config import SimulatorConfig
from simulator.model import Model, Traits, model_layout
from simulator.network import RESISTING, Conditioning
from simulator.parameters import initialise
from simulator.structure import Shape
from tests.simulator.test_kinetics import CART


@pytest.fixture(scope="module")
def model() -> Model:
    """Of a cart with a pole, weights as they are drawn."""
    config = SimulatorConfig(members=2, width=16, messages=4, memory=2, scene=3)
    shape = Shape.of([CART], history_s=config.history_s, delay_s=config.delay_s)
    theta = initialise(model_layout(shape, config), 0, range(config.members))
    return Model(config, shape, Traits(), theta, {})


def conditioned(model: Model, column: int | None) -> Conditioning:
    """Of the prior's mean, with all powers 0 but the logarithm of 2 in one column."""
    w, frame = dict(model.weights()), model.frame(CART)
    for name in ("power.static.small", "power.scene.small", "power.b"):
        w[name] = torch.zeros_like(w[name])
    if column is not None:
        w["power.b"][..., column] = 3.0 * math.atanh(math.log(2.0) / 3.0)  # they are bent at 3
    z = torch.zeros(model.members, len(CART.entities), 1, model.config.scene)
    return network.condition(w, frame.static[None, :, None], z, frame.adjacency, frame.ties)


def ratio(changed: Tensor | None, before: Tensor | None) -> Tensor:
    assert changed is not None
    assert before is not None
    return changed / before


def test_each_power_doubles_its_own_coefficients_and_no_others(model: Model) -> None:
    """A joint's columns are points, potential, own inertia, what resists (damping and dry friction), what drives."""
    before = conditioned(model, None)
    for column in range(2 + 1 + RESISTING + 1):
        changed = conditioned(model, column)
        joints = ratio(changed.joints, before.joints)
        expected = torch.ones_like(joints)
        if 3 <= column < 3 + RESISTING:
            expected[..., column - 3] = 2.0
        elif column == 3 + RESISTING:
            expected[..., RESISTING:] = 2.0
        torch.testing.assert_close(joints, expected)
        assert changed.inertia is not None
        assert before.inertia is not None
        for now, then in zip(changed.inertia[:2], before.inertia[:2], strict=True):
            kept = then.abs() > 1e-12
            factor = torch.where(kept, now / then, torch.ones_like(now))
            points, potential = factor[:-1][kept[:-1]], factor[-1:][kept[-1:]]
            torch.testing.assert_close(points, torch.full_like(points, 2.0 if column == 0 else 1.0))
            torch.testing.assert_close(potential, torch.full_like(potential, 2.0 if column == 1 else 1.0))
        heavier = bool((changed.inertia.own > before.inertia.own * 1.01).all())
        assert heavier == (column == 2)
