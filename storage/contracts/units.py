"""The units that channels may carry, and their conversion to SI.

A closed table on purpose: a unit that is not here is refused with the nearest name instead of being carried along.
At rest every channel is in the SI unit of its dimension; conversion happens once, at the edge, when a log is read.
This module does not do unit algebra.
"""

import math
from typing import NamedTuple

from storage.contracts.errors import UnknownName


class Unit(NamedTuple):
    """`si = value * scale + offset`."""

    dimension: str
    scale: float = 1.0
    offset: float = 0.0


_DEG = math.pi / 180.0
_TURN = 2.0 * math.pi

UNITS: dict[str, Unit] = {
    "1": Unit("dimensionless"), "%": Unit("dimensionless", 0.01), "count": Unit("dimensionless"),
    "m": Unit("length"), "cm": Unit("length", 1e-2), "mm": Unit("length", 1e-3), "in": Unit("length", 0.0254),
    "ft": Unit("length", 0.3048), "km": Unit("length", 1e3),
    "m/s": Unit("velocity"), "cm/s": Unit("velocity", 1e-2), "mm/s": Unit("velocity", 1e-3),
    "km/h": Unit("velocity", 1 / 3.6), "mph": Unit("velocity", 0.44704),
    "m/s^2": Unit("acceleration"), "gn": Unit("acceleration", 9.80665),
    "rad": Unit("angle"), "deg": Unit("angle", _DEG), "turn": Unit("angle", _TURN),
    "rad/s": Unit("angular velocity"), "deg/s": Unit("angular velocity", _DEG), "rpm": Unit("angular velocity",
    _TURN / 60),
    "rad/s^2": Unit("angular acceleration"), "deg/s^2": Unit("angular acceleration", _DEG),
    "N": Unit("force"), "kN": Unit("force", 1e3), "lbf": Unit("force", 4.4482216152605),
    "N*m": Unit("torque"), "mN*m": Unit("torque", 1e-3),
    "kg": Unit("mass"), "g": Unit("mass", 1e-3), "lb": Unit("mass", 0.45359237), "kg*m^2": Unit("inertia"),
    "V": Unit("voltage"), "mV": Unit("voltage", 1e-3), "A": Unit("current"), "mA": Unit("current", 1e-3),
    "W": Unit("power"), "J": Unit("energy"), "Wh": Unit("energy", 3600.0), "Ohm": Unit("resistance"),
    "s": Unit("time"), "ms": Unit("time", 1e-3), "us": Unit("time", 1e-6), "ns": Unit("time", 1e-9),
    "min": Unit("time", 60.0),
    "Hz": Unit("frequency"), "K": Unit("temperature"), "degC": Unit("temperature", 1.0, 273.15),
    "degF": Unit("temperature", 5 / 9, 459.67 * 5 / 9),
    "Pa": Unit("pressure"), "kPa": Unit("pressure", 1e3), "bar": Unit("pressure", 1e5), "psi": Unit("pressure",
    6894.757293168),
    "T": Unit("magnetic field"), "G": Unit("magnetic field", 1e-4), "lx": Unit("illuminance"),
}  # fmt: skip

ALIASES: dict[str, str] = {
    "": "1", "-": "1", "none": "1", "unitless": "1", "nm": "N*m", "n*m": "N*m", "n.m": "N*m", "radian": "rad",
    "radians": "rad",
    "degree": "deg", "degrees": "deg", "°": "deg", "meter": "m", "meters": "m", "metre": "m", "sec": "s",
    "seconds": "s",
    "newton": "N", "volt": "V", "volts": "V", "amp": "A", "celsius": "degC", "kelvin": "K", "rad/sec": "rad/s",
    "percent": "%",
}  # fmt: skip


def unit(name: str) -> Unit:
    """The unit called `name` (or an alias). Raises UnknownName with the nearest one."""
    resolved = name if name in UNITS else ALIASES.get(name.strip().lower(), name)
    if resolved not in UNITS:
        raise UnknownName("unit", name, UNITS)
    return UNITS[resolved]


def si_unit(name: str) -> str:
    """The SI unit of the dimension of `name`, e.g. 'deg/s' -> 'rad/s'."""
    dimension = unit(name).dimension
    return next(key for key, value in UNITS.items() if value.dimension == dimension)


def is_si(name: str) -> bool:
    return name in UNITS and si_unit(name) == name
