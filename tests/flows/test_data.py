import numpy as np
import pytest

from flows.data import channel_scales
from storage.contracts.episode import Episode, Provenance
from storage.contracts.robot import RobotSpec

SPEC = RobotSpec.model_validate(
    {
        "name": "pair",
        "control_rate_hz": 10,
        "channels": [
            {"name": "a", "kind": "angle", "unit": "rad"},
            {"name": "x", "kind": "linear", "unit": "m"},
            {"name": "u", "kind": "effort", "unit": "N", "role": "command"},
        ],
    }
)


def episode(angle: np.ndarray, x: np.ndarray) -> Episode:
    n = len(angle)
    return Episode(
        robot="pair-1", spec=SPEC, time_ns=np.arange(n) * 100_000_000, state=np.stack([angle, x], axis=1),
        command=np.zeros((n - 1, 1)), provenance=Provenance(raw_sha256="0" * 64),
    )  # fmt: skip


def test_angles_that_straddle_the_wrap_have_a_small_scale() -> None:
    rng = np.random.default_rng(0)
    angle = np.pi + rng.normal(0.0, 0.1, 20_000)
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    scales = channel_scales([episode(wrapped, rng.normal(3.0, 0.5, 20_000))])
    assert scales["a"] == pytest.approx(0.1, rel=0.03)  # wrapped normal: sqrt(-2 ln R) is its sigma
    assert scales["x"] == pytest.approx(0.5, rel=0.03)


def test_a_full_turn_has_at_most_pi_and_a_constant_has_one() -> None:
    scales = channel_scales([episode(np.linspace(-np.pi, np.pi, 1000, endpoint=False), np.full(1000, 7.0))])
    assert scales["a"] == pytest.approx(np.pi)
    assert scales["x"] == 1.0


def test_values_that_were_not_measured_do_not_count() -> None:
    x = np.array([0.0, 2.0] * 50 + [np.nan] * 10)
    assert channel_scales([episode(np.zeros(110), x)])["x"] == pytest.approx(1.0)
