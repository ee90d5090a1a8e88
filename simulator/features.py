"""Static features of each entity: the specification's table, nullable, with scales.

Every physical quantity is a pair (compressed value, known or not). This is all the network sees of a specification; it
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


def width(shape: Shape) -> int:
    """Features per entity."""
    named = len(shape.feature_names)
    return (
        5
        + 6
        + 1
        + 4
        + 2 * (len(_FIELDS) + 5 + named)
        + _SLOT_FEATURES * shape.slots
        + _INPUT_FEATURES * shape.inputs
        + 1
    )


_FIXED = 5 + 6 + 1 + 4


def physical_fields(shape: Shape) -> tuple[str, ...]:
    """Names of the physical quantities of an entity; quantity i stands in columns `_FIXED + 2 i` (value) and the next
    (known or not)."""
    return (*_FIELDS, "inertia.0", "inertia.1", "inertia.2", "limits.low", "limits.high", *shape.feature_names)


def physical_columns(shape: Shape) -> slice:
    return slice(_FIXED, _FIXED + 2 * len(physical_fields(shape)))


def said_columns(shape: Shape) -> slice:
    """Of those, the ones that tell whether a quantity is known."""
    columns = physical_columns(shape)
    return slice(columns.start + 1, columns.stop, 2)


def scale_columns(shape: Shape) -> tuple[slice, slice, slice]:
    """Where the logarithms of the scales, rates [K] and input scales [J] stand."""
    slots = _FIXED + 2 * len(physical_fields(shape))
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
    physical += [*(entity.inertia_kgm2 or (None,) * 3), *(entity.limits or (None,) * 2)]
    physical += [entity.features.get(name) for name in shape.feature_names]
    for value in physical:
        values += [0.0, 0.0] if value is None else [_compress(value), 1.0]
    return np.array(values)


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


def _compress(value: float) -> float:
    return float(np.sign(value) * np.log1p(abs(value) / 0.01) / 2.0)
