"""Scenarios say what they cannot be; Wilson's interval by hand."""

import math

import pytest

from storage.contracts.errors import ContractError
from storage.contracts.proportion import wilson
from storage.contracts.robot import RobotSpec
from storage.contracts.scenario import Scenario

CHECK = {"expression": "abs(arm.rate) < 2"}


def scenario(spec: RobotSpec, **fields: object) -> Scenario:
    values = {"name": "calm", "prompt": {"robot": spec}, "checks": [CHECK], "duration_s": 1.0}
    return Scenario.model_validate(values | fields)


def test_wilson_by_hand() -> None:
    """8 of 10 at z = 1.959964: middle (0.8 + 3.84146 / 20) / 1.384146 = 0.716741, half 0.226575."""
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(0, 10)[1] == pytest.approx(0.277533, abs=1e-5)  # z² / (n + z²)
    assert wilson(10, 10) == pytest.approx((1 - 0.277533, 1.0), abs=1e-5)
    assert all(math.isfinite(x) for x in wilson(1, 1, level=0.5))
    for held, n in ((11, 10), (-1, 10), (0, 0)):
        with pytest.raises(ContractError):
            wilson(held, n)


def test_a_scenario_reads_back_as_it_was_written(pendulum_spec: RobotSpec) -> None:
    made = scenario(pendulum_spec, start={"arm.angle": 0.3}, commands=((0.1,), (0.2,)), edits={"arm.mass": "x2"})
    assert Scenario.from_json(made.to_json()) == made
    assert made.digest != scenario(pendulum_spec).digest


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start": {"arm.angel": 1.0}}, "Did you mean 'arm.angle'"),
        ({"checks": [{"expression": "arm.rat < 1"}]}, "Did you mean 'arm.rate'"),
        ({"checks": [CHECK | {"from_s": 2.0}]}, "after the scenario's 1.0 s"),
        ({"checks": [CHECK | {"from_s": 0.5, "to_s": 0.2}]}, "ends at 0.2 s"),
        ({"checks": []}, "at least 1"),
        ({"commands": ((0.1, 0.2),)}, "should have 1 values"),
        ({"past": {"state": ((0.0, 0.0),), "command": ((0.0,),)}}, "one command acts between two"),
        ({"past": {"state": ((0.0,),), "command": ()}}, "past.state should have 2 values"),
        ({"past": {"state": ((0.0, 0.0),), "command": ()}, "start": {"arm.angle": 0.0}}, "not both"),
        ({"disturbances": [{"channel": "arm.angle", "value": 1.0}]}, "channel to disturb"),
    ],
)
def test_wrong_scenarios_name_what_is_wrong(pendulum_spec: RobotSpec, fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        scenario(pendulum_spec, **fields)
