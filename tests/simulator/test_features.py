"""What a network is told of a specification: values of hand-made entities, by column."""

import numpy as np
import pytest

from simulator.features import COLUMNS, physical_columns, physical_fields, static_features
from simulator.scales import scales_of
from simulator.structure import Shape, Structure
from storage.contracts.channel import Channel, Kind
from storage.contracts.robot import Entity, RobotSpec


def told(**entity: object) -> dict[str, list[float]]:
    """Columns of each physical quantity of a robot of one entity."""
    spec = RobotSpec(
        name="one",
        control_rate_hz=50,
        channels=(Channel(name="x", kind=Kind.SCALAR, entity="rod"),),
        entities=(Entity.model_validate({"name": "rod", **entity}),),
    )
    shape = Shape.of([spec], history_s=0.2, delay_s=0.06)
    structure = Structure(spec, shape)
    slots, inputs = np.zeros((0, *structure.present.shape)), np.zeros((0, *structure.input_present.shape))
    nothing = np.zeros(slots.shape, dtype=bool)
    scales = scales_of(structure, slots, nothing, inputs, slots, nothing)
    row = static_features(structure, scales)[0, physical_columns(shape)]
    return dict(zip(physical_fields(shape), row.reshape(-1, COLUMNS).tolist(), strict=True))


def test_a_quantity_is_its_logarithm_and_whether_it_is_known() -> None:
    rod = told(mass_kg=0.5)
    assert rod["mass"] == pytest.approx([np.log(51.0) / 2, np.log(5001.0) / 2 - 3.0, 1.0])
    assert rod["damping"] == [0.0, 0.0, 0.0]


def test_a_body_of_twice_the_mass_and_inertia_has_the_same_gyration() -> None:
    """A rod of 0.6 m: 0.03 m² across."""
    light, heavy = told(mass_kg=0.5, inertia_kgm2=(0.015, 0.015, 0)), told(mass_kg=1.0, inertia_kgm2=(0.03, 0.03, 0))
    for axis in ("gyration.0", "gyration.1", "gyration.2"):
        assert light[axis] == pytest.approx(heavy[axis])
    assert light["gyration.0"] == pytest.approx([np.log(4.0) / 2, np.log(301.0) / 2 - 3.0, 1.0], rel=1e-5)
    assert light["mass"] != pytest.approx(heavy["mass"])


def test_of_an_inertia_without_a_mass_nothing_is_told() -> None:
    for mass in (None, 0.0):
        assert told(mass_kg=mass, inertia_kgm2=(0.015, 0.015, 0))["gyration.0"] == [0.0, 0.0, 0.0]
