"""Units: conversions by hand, and the closed table's own consistency."""

import pytest

from storage.contracts.errors import UnknownName
from storage.contracts.units import ALIASES, UNITS, is_si, si_unit, unit

BY_HAND = [
    (180.0, "deg", 3.141592653589793, "rad"),
    (1.0, "turn", 6.283185307179586, "rad"),
    (60.0, "rpm", 6.283185307179586, "rad/s"),
    (36.0, "km/h", 10.0, "m/s"),
    (60.0, "mph", 26.8224, "m/s"),
    (12.0, "in", 0.3048, "m"),
    (50.0, "%", 0.5, "1"),
    (25.0, "degC", 298.15, "K"),
    (212.0, "degF", 373.15, "K"),
    (-40.0, "degF", 233.15, "K"),
    (2.0, "gn", 19.6133, "m/s^2"),
    (1.5, "min", 90.0, "s"),
    (250.0, "us", 250e-6, "s"),
    (500.0, "mN*m", 0.5, "N*m"),
    (1.0, "lb", 0.45359237, "kg"),
    (1.0, "Wh", 3600.0, "J"),
    (14.5, "psi", 99973.98, "Pa"),
]


@pytest.mark.parametrize(("value", "name", "expected", "si"), BY_HAND, ids=[row[1] for row in BY_HAND])
def test_conversions_by_hand(value: float, name: str, expected: float, si: str) -> None:
    found = unit(name)
    assert value * found.scale + found.offset == pytest.approx(expected, rel=1e-6)
    assert si_unit(name) == si


def test_each_dimension_has_one_si_unit_that_converts_to_itself() -> None:
    for name in UNITS:
        standard = unit(si_unit(name))
        assert (standard.scale, standard.offset) == (1.0, 0.0)
        assert standard.dimension == unit(name).dimension
        assert is_si(si_unit(name))


def test_aliases_lead_to_units() -> None:
    assert set(ALIASES.values()) <= set(UNITS)
    assert all(alias == alias.lower() and alias not in UNITS for alias in ALIASES)
    assert unit(" Degrees ") == unit("deg")
    assert unit("Nm") == unit("N*m")


def test_wrong_units_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown unit 'm/s2'; .*Did you mean 'm/s\^2'"):
        unit("m/s2")
    assert not is_si("deg")
    assert not is_si("metre"), "an alias is not a unit to keep"
