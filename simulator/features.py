"""Static features of each entity: the specification's table, nullable, with scales.

Every physical quantity is three numbers: its size among those of machines one can carry, its size on a scale fine
enough for frictions and delays, and whether it is known. This is all the network sees of a specification; it
knows no robot.
"""

import numpy as np

from simulator.scales import Scales
from simulator.structure import Shape, Structure
from storage.contracts.channel import Role
from storage.contracts.robot import Entity

_TYPES = ("joint", "body", "particle", "appliance", "other")
_JOINTS = (None, "revolute", "prismatic", "ball", "free", "fixed")
_FIELDS = {"length": "length_m", "mass": "mass_kg", "gear": "gear", "damping": "damping", "friction": "friction"}
_SLOT_FEATURES = 6
_INPUT_FEATURES = 4
COLUMNS = 3
"""Features per physical quantity."""
_COARSE, _FINE = 1e-2, 1e-4
"""SI units below which features hardly tell sizes apart."""
_FINE_CENTER = 3.0


def width(shape: Shape) -> int:
    """Features per entity."""
    named = len(shape.feature_names)
    return (
        5
        + 6
        + 1
        + 4
        + COLUMNS * (len(_FIELDS) + 5 + named)
        + _SLOT_FEATURES * shape.slots
        + _INPUT_FEATURES * shape.inputs
        + 1
    )


_FIXED = 5 + 6 + 1 + 4


def physical_fields(shape: Shape) -> tuple[str, ...]:
    """Names of the physical quantities of an entity; quantity i stands in `COLUMNS` columns from `_FIXED + COLUMNS * i`
    on, the last of which tells whether it is known."""
    return (*_FIELDS, "gyration.0", "gyration.1", "gyration.2", "limits.low", "limits.high", *shape.feature_names)


def physical_columns(shape: Shape) -> slice:
    return slice(_FIXED, _FIXED + COLUMNS * len(physical_fields(shape)))


PER_LOGARITHM = 2.0
"""Change of a quantity's logarithm per change of its features, where they tell sizes apart."""


def size_and_known(shape: Shape, name: str) -> tuple[int, int]:
    """The columns that tell the size of the quantity `name` on the fine scale, and whether it is known."""
    first = physical_columns(shape).start + COLUMNS * physical_fields(shape).index(name)
    return first + 1, first + COLUMNS - 1


def said_columns(shape: Shape) -> slice:
    """Of those, the ones that tell whether a quantity is known."""
    columns = physical_columns(shape)
    return slice(columns.start + COLUMNS - 1, columns.stop, COLUMNS)


def scale_columns(shape: Shape) -> tuple[slice, slice, slice]:
    """Where the logarithms of the scales, rates [K] and input scales [J] stand."""
    slots = _FIXED + COLUMNS * len(physical_fields(shape))
    inputs = slots + _SLOT_FEATURES * shape.slots
    k, j = shape.slots, shape.inputs
    return (
        slice(slots + 3 * k, slots + 4 * k),
        slice(slots + 4 * k, slots + 5 * k),
        slice(inputs + 2 * j, inputs + 3 * j),
    )


def static_features(structure: Structure, scales: Scales) -> np.ndarray:
    """float32 [E, F]."""
    rows = [
        np.concatenate([_entity(entity, structure.shape), _slots(structure, scales, e), _inputs(structure, scales, e)])
        for e, entity in enumerate(structure.spec.entities)
    ]
    period = np.full((len(rows), 1), np.log(50.0 * structure.spec.period_s))
    return np.concatenate([np.stack(rows), period], axis=1).astype(np.float32)


def _entity(entity: Entity, shape: Shape) -> np.ndarray:
    values: list[float] = [float(entity.type == t) for t in _TYPES] + [float(entity.joint_type == t) for t in _JOINTS]
    values += [float(entity.parent is not None), *(entity.axis or (0.0, 0.0, 0.0)), float(entity.axis is not None)]
    physical = [getattr(entity, name) for name in _FIELDS.values()]
    physical += [*_gyration(entity), *(entity.limits or (None,) * 2)]
    physical += [entity.features.get(name) for name in shape.feature_names]
    for value in physical:
        values += _numbers(value)
    return np.array(values)


def _gyration(entity: Entity) -> tuple[float | None, ...]:
    """Inertia per mass, m², about each axis. Told so, and not as inertia, a heavier body of unsaid inertia has more of
    it, as bodies of one shape do; of an inertia without a mass nothing is told."""
    if entity.inertia_kgm2 is None or not entity.mass_kg:
        return (None,) * 3
    return tuple(value / entity.mass_kg for value in entity.inertia_kgm2)


def _slots(structure: Structure, scales: Scales, e: int) -> np.ndarray:
    present = structure.present[e].astype(float)
    columns = [
        present, structure.angle[e], structure.unit_group[e] >= 0, present * np.log(scales.scale[e]),
        present * np.log(scales.rate[e]), present * np.tanh(scales.center[e] / scales.scale[e]),
    ]  # fmt: skip
    return np.concatenate(columns)


def _inputs(structure: Structure, scales: Scales, e: int) -> np.ndarray:
    present = structure.input_present[e].astype(float)
    exogenous = np.array(
        [
            (e, j) in structure.input_at and structure.input_at[e, j][0].role == Role.EXOGENOUS
            for j in range(len(present))
        ]
    )
    center = present * np.tanh(scales.input_center[e] / scales.input_scale[e])
    return np.concatenate([present, exogenous, present * np.log(scales.input_scale[e]), center])


def _numbers(value: float | None) -> list[float]:
    """Logarithms, because coefficients of mechanics are products of powers of what a specification says."""
    if value is None:
        return [0.0] * COLUMNS
    return [_logarithm(value, _COARSE), fine(value), 1.0]


def fine(value: float) -> float:
    """What tells small sizes apart."""
    return _logarithm(value, _FINE) - _FINE_CENTER


def _logarithm(value: float, unit: float) -> float:
    return float(np.sign(value) * np.log1p(abs(value) / unit) / PER_LOGARITHM)
