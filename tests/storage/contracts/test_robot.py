"""Channels and robots: what they refuse, and in which words; where columns stand."""

import time

import numpy as np
import pytest
from pydantic import ValidationError

from storage.contracts.channel import Channel, Kind, Layout, Role, wrap_angle
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.robot import Entity, RobotSpec

ANGLE = Channel(name="a", kind=Kind.ANGLE, unit="rad")


def spec(*channels: Channel, **fields: object) -> RobotSpec:
    return RobotSpec(name="r", control_rate_hz=10, channels=channels, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "torque"}, "unknown channel kind 'torque'"),
        ({"kind": "efort"}, "Did you mean 'effort'"),
        ({"unit": "deg"}, "'deg' is not SI; channels are kept in 'rad'"),
        ({"unit": "furlong"}, "unknown unit 'furlong'"),
        ({"limits": (1, 1)}, r"must be \(low, high\) with low < high"),
        ({"limits": (0, float("inf"))}, "finite number"),
        ({"kind": "category"}, "a category needs at least two labels"),
        ({"kind": "orientation", "size": 3}, "wxyz quaternion of size 4, given 3"),
        ({"kind": "direction"}, "unit vector of size 2 or more, given 1"),
        ({"role": "reward", "size": 2}, "reward has size 1, given 2"),
        ({"role": "comand"}, "'state', 'command'"),
        ({"name": "a b"}, "should match pattern"),
        ({"name": "__class__.x[0]"}, "should match pattern"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_wrong_channels_are_explained(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Channel.model_validate({"name": "a", "kind": "linear"} | fields)


@pytest.mark.parametrize(
    ("channels", "fields", "message"),
    [
        ((ANGLE, ANGLE), {}, "channel names occur twice: a"),
        ((ANGLE.model_copy(update={"role": Role.COMMAND}),), {}, "no channel has role 'state'"),
        ((ANGLE,), {"safe_command": (0.0,)}, "safe_command has 1 values, commands have 0"),
        ((ANGLE, Channel(name="b", kind=Kind.LINEAR, derivative_of="aa")), {}, "Did you mean 'a'"),
        ((ANGLE, Channel(name="b", kind=Kind.LINEAR, derivative_of="a", size=2)), {}, "given 2/robot and 1/robot"),
        ((ANGLE,), {"entities": (Entity(name="e"), Entity(name="e"))}, "entity names occur twice: e"),
        ((ANGLE,), {"entities": (Entity(name="e", parent="f"),)}, "unknown parent of entity 'e' 'f'"),
        ((ANGLE,), {"name": "Robot One"}, "should match pattern"),
        ((ANGLE,), {"control_rate_hz": 0}, "greater than 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_robots_are_explained(channels: tuple[Channel, ...], fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RobotSpec.model_validate({"name": "r", "control_rate_hz": 10, "channels": channels} | fields)


def test_from_json_names_the_field_and_the_value() -> None:
    with pytest.raises(
        ContractError,
        match=r"not a valid RobotSpec: channels\.0\.kind: .*unknown channel kind 'torque'.*given 'torque'",
    ):
        RobotSpec.from_json(b'{"name": "r", "control_rate_hz": 1, "channels": [{"name": "a", "kind": "torque"}]}')
    for odd in (b"", b"{", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(ContractError, match="not a valid RobotSpec"):
            RobotSpec.from_json(odd)


def test_columns_stand_in_the_order_of_channels_and_media_has_none() -> None:
    robot = spec(
        Channel(name="tip", kind=Kind.DIRECTION, size=3),
        Channel(name="camera", kind=Kind.IMAGE),
        Channel(name="force", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", size=2, limits=(-1, 2)),
        ANGLE,
    )
    layout = robot.state_layout
    assert (layout.width, layout["tip"], layout["a"]) == (4, slice(0, 3), slice(3, 4))
    assert layout.columns == ("tip[0]", "tip[1]", "tip[2]", "a")
    assert layout.mask([Kind.ANGLE]).tolist() == [False, False, False, True]
    assert "camera" not in layout
    with pytest.raises(UnknownName, match="unknown channel 'tipp'"):
        layout["tipp"]
    assert robot.command_limits.tolist() == [[-1, 2], [-1, 2]]
    assert robot.period_s == 0.1
    assert Layout(()).width == 0


def test_the_safe_command_is_zero_within_the_limits() -> None:
    brake = Channel(name="b", kind=Kind.EFFORT, role=Role.COMMAND, limits=(1, 2))
    free = Channel(name="f", kind=Kind.EFFORT, role=Role.COMMAND)
    assert spec(ANGLE, brake, free).safe.tolist() == [1.0, 0.0]
    assert spec(ANGLE, brake, free, safe_command=(1.5, -3.0)).safe.tolist() == [1.5, -3.0]
    assert spec(ANGLE, free).command_limits.tolist() == [[-np.inf, np.inf]]


def test_entities_that_only_channels_name_get_a_row() -> None:
    lamp = Channel(name="lamp.on", kind=Kind.CATEGORY, labels=("off", "on"), entity="lamp")
    robot = spec(ANGLE, lamp, entities=(Entity(name="base", mass_kg=2.0),))
    assert [entity.name for entity in robot.entities] == ["base", "robot", "lamp"]
    assert RobotSpec.from_json(robot.to_json()) == robot


def test_a_rope_of_many_nodes_is_checked_quickly() -> None:
    nodes = range(1500)
    positions = [Channel(name=f"n{i}.p", kind=Kind.LINEAR, size=3, entity=f"n{i}") for i in nodes]
    rates = [Channel(name=f"n{i}.v", kind=Kind.LINEAR, size=3, entity=f"n{i}", derivative_of=f"n{i}.p") for i in nodes]
    start = time.process_time()
    assert spec(*positions, *rates).state_layout.width == 9000
    assert time.process_time() - start < 2


def test_angles_wrap_to_the_half_open_turn() -> None:
    turns = np.array([0.0, np.pi, -np.pi, 3 * np.pi, 7.0, -7.0])
    assert wrap_angle(turns).tolist() == pytest.approx([0, -np.pi, -np.pi, -np.pi, 7 - 2 * np.pi, 2 * np.pi - 7])
