import numpy as np
import pytest

from simulator.editing import edited
from simulator.structure import Shape, Structure
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import Entity, RobotSpec


def arm() -> RobotSpec:
    channels = [
        Channel(name="a.rate", kind=Kind.LINEAR, unit="rad/s", entity="a", derivative_of="a.angle"),
        Channel(name="a.angle", kind=Kind.ANGLE, unit="rad", entity="a"),
        Channel(name="b.angle", kind=Kind.ANGLE, unit="rad", entity="b"),
        Channel(name="b.rate", kind=Kind.LINEAR, unit="rad/s", entity="b", derivative_of="b.angle"),
        Channel(name="b.accel", kind=Kind.LINEAR, unit="rad/s^2", entity="b", derivative_of="b.rate"),
        Channel(name="b.heat", kind=Kind.SCALAR, unit="K", entity="b"),
        Channel(name="b.torque", kind=Kind.EFFORT, role=Role.COMMAND, unit="N*m", entity="b"),
        Channel(name="wind", kind=Kind.EFFORT, role=Role.EXOGENOUS, unit="N", entity="a"),
    ]
    rows = (Entity(name="a"), Entity(name="b", parent="a", mass_kg=2.0, features={"payload.mass": 0.5}))
    return RobotSpec(name="arm", control_rate_hz=100, channels=tuple(channels), entities=rows)


def structure() -> Structure:
    return Structure(arm(), Shape.of([arm()], history_s=0.2, delay_s=0.06))


def test_quantities_stand_in_front_of_their_derivatives_in_equal_order() -> None:
    made = structure()
    assert (made.shape.pairs, made.shape.others, made.shape.inputs) == (1, 2, 1)
    names = {place: channel.name for place, (channel, _) in made.channel_at.items()}
    assert names == {
        (0, 0): "a.angle",
        (0, 1): "a.rate",
        (1, 0): "b.angle",
        (1, 1): "b.rate",
        (1, 2): "b.accel",
        (1, 3): "b.heat",
    }
    # columns of the state are a.rate, a.angle, b.angle, b.rate, b.accel, b.heat
    assert made.column_slot.tolist() == [1, 0, 4, 5, 6, 7]
    assert made.input_slot.tolist() == [1, 0]


def test_taps_reach_back_over_the_delay() -> None:
    assert structure().shape.taps == 7  # 60 ms at 100 Hz and the command of now


def test_adjacency_has_others_parent_and_children() -> None:
    assert structure().adjacency.tolist() == [[0, 1], [1, 0], [0, 0], [1, 0], [0, 1], [0, 0]]


def test_structures_differ_in_channels_not_in_physical_features() -> None:
    spec = arm()
    heavier = edited(spec, {"b.mass": "x2"}, structure().shape)
    assert Structure(heavier, structure().shape).key == structure().key
    faster = spec.model_copy(update={"control_rate_hz": 50.0})
    assert Structure(faster, structure().shape).key != structure().key


@pytest.mark.parametrize(("change", "value"), [("x1.5", 0.75), ("0.7", 0.7), ("+0.1", 0.6), ("-0.1", 0.4)])
def test_an_edit_sets_scales_or_adds(change: str, value: float) -> None:
    spec = edited(arm(), {"payload.mass": change}, structure().shape)
    assert spec.entities[1].features["payload.mass"] == pytest.approx(value)
    assert np.isclose(float(spec.entities[1].mass_kg or 0), 2.0)


def test_an_unknown_quantity_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'payload\.mass'"):
        edited(arm(), {"paylod.mass": "x2"}, structure().shape)


def test_a_relative_edit_of_an_unknown_value_and_nonsense_are_refused() -> None:
    with pytest.raises(InputError, match="does not give its value"):
        edited(arm(), {"a.mass": "x2"}, structure().shape)
    with pytest.raises(InputError, match="is not a change"):
        edited(arm(), {"b.mass": "heavy"}, structure().shape)
