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


def conditioned(model: Model, column: int | None, second: float = 0.0) -> Conditioning:
    """Of the prior's mean, with all powers 0 but the logarithm of 2 in one column; `second` is the second summand
    there, relative to the first that is 1 elsewhere."""
    w, frame = dict(model.weights()), model.frame(CART)
    for name in ("power.static.small", "power.scene.small", "power.b"):
        w[name] = torch.zeros_like(w[name])
    half = w["power.b"].shape[-1] // 2
    w["power.b"][..., half:] = -1e9  # of two summands the first alone
    if column is not None:
        w["power.b"][..., column] = _raw(2.0 if not second else 1.0)
        if second:
            w["power.b"][..., half + column] = math.log(math.exp(_raw(1.0 + second)) - 1.0) + 2.0  # begins e^-2 smaller
    z = torch.zeros(model.members, len(CART.entities), 1, model.config.scene)
    return network.condition(w, frame.static[None, :, None], z, frame.adjacency, frame.ties)


def _raw(factor: float) -> float:
    """The logarithm of a factor before it is bent at 6."""
    return 6.0 * math.atanh(math.log(factor) / 6.0)


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


def test_a_coefficient_is_a_sum_of_two_powers(model: Model) -> None:
    """A body and what it carries: 1 + 3 times the inertia, each with its own logarithm."""
    before, changed = conditioned(model, None), conditioned(model, 1, second=3.0)
    assert changed.inertia is not None
    assert before.inertia is not None
    potential = ratio(changed.inertia.sine[-1], before.inertia.sine[-1])
    told = before.inertia.sine[-1].abs() > 1e-12
    torch.testing.assert_close(potential[told], torch.full_like(potential[told], 4.0))
