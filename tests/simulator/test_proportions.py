"""What a specification says of a joint is in proportion to its coefficients before anything is learned."""

import math

import numpy as np
import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.features import static_features
from simulator.model import initial_weights, model_layout, recording_scales
from simulator.network import power_columns, power_width
from simulator.parameters import initialise, unpack
from simulator.proportions import proportions
from simulator.structure import Shape, Structure
from storage.contracts.channel import Kind
from storage.contracts.robot import Entity
from tests.simulator.test_kinetics import joint, robot

SAID = {"mass_kg": 0.5, "damping": 0.02, "friction": 0.3, "gear": 2.0}


def powers(**said: float) -> dict[str, list[float]]:
    """Logarithms of the coefficients of a joint of which this is said, and nothing is learned."""
    spec = robot(Entity.model_validate(joint("a").model_dump() | said), kinds=(Kind.ANGLE,))
    shape = Shape.of([spec], history_s=0.2, delay_s=0.0)
    structure = Structure(spec, shape)
    found = (static_features(structure, recording_scales(structure, None)) @ proportions(shape))[0]
    at = power_columns(shape)
    assert len(found) == 2 * power_width(shape)
    assert not found[power_width(shape) :].any()
    (own,) = at.joints
    parts = {"points": [at.points], "potential": [at.potential], "own": list(at.own), "damping": [own.damping]}
    parts |= {"friction": list(range(own.friction, own.drive)), "drive": [own.drive]}
    return {name: found[columns].tolist() for name, columns in parts.items()}


@pytest.mark.parametrize(
    ("quantity", "follows"),
    [
        ("mass_kg", {"points": 0.5, "potential": 1.0}),
        ("damping", {"damping": 1.0}),
        ("friction", {"friction": 1.0}),
        ("gear", {"drive": 1.0}),
    ],
)
def test_twice_as_much_is_twice_the_coefficient(quantity: str, follows: dict[str, float]) -> None:
    """Points to the root: inertia is made of their squares."""
    before, after = powers(**SAID), powers(**(SAID | {quantity: 2 * SAID[quantity]}))
    for name, values in before.items():
        change = np.array(after[name]) - np.array(values)
        expected = follows.get(name, 0.0) * math.log(2.0)
        assert change == pytest.approx(np.full(len(change), expected), abs=4e-3)


def test_of_what_is_not_said_nothing_follows() -> None:
    assert all(value == 0.0 for values in powers().values() for value in values)
    assert powers(gear=1.0)["drive"] == pytest.approx([0.0], abs=1e-6)


def test_trainings_begin_there() -> None:
    spec = robot(joint("a"), kinds=(Kind.ANGLE,))
    config = SimulatorConfig(members=2, width=16, messages=4, memory=2, scene=3)
    shape = Shape.of([spec], history_s=config.history_s, delay_s=config.delay_s)
    layout = model_layout(shape, config)
    random = unpack(initialise(layout, config.seed, range(2)), layout)
    begun = unpack(initial_weights(shape, config, range(2)), layout)
    for name, weight in begun.items():
        added = proportions(shape) if name == "power.static.small" else np.zeros(1, dtype=np.float32)
        torch.testing.assert_close(weight, random[name] + torch.from_numpy(added))
