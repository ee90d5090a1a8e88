"""Static features of each entity: the specification's table, nullable, with scales; and edits of that table.

Every physical quantity is a pair (compressed value, known or not). This is all the network sees of a specification; it
knows no robot.
"""

import re

import numpy as np

from simulator.scales import Scales
from simulator.structure import Shape, Structure
from storage.contracts.channel import Role
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import Entity, RobotSpec

_TYPES = ("joint", "body", "particle", "appliance", "other")
_JOINTS = (None, "revolute", "prismatic", "ball", "free", "fixed")
_FIELDS = {"length": "length_m", "mass": "mass_kg", "gear": "gear", "damping": "damping", "friction": "friction"}
_EDIT = re.compile(r"^\s*([x*+-]?)\s*([0-9.eE+-]+)\s*$")
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
    return float(np.sign(value) * np.log1p(abs(value) / 0.01) / 5.0)


def edited(spec: RobotSpec, edits: dict[str, str], shape: Shape) -> RobotSpec:
    """The specification with quantities changed: `{"payload.mass": "x1.5", "pole.length": "0.4", "cart.friction":
    "+0.1"}`.

    A name is `<entity>.<length|mass|gear|damping|friction>` or a named feature of an entity. Raises UnknownName for
    a name that no entity has, InputError for a relative change of an unknown value or for text that is not a
    change.
    """
    rows = list(spec.entities)
    for name, change in edits.items():
        i, key, named = _find(rows, name, shape)
        entity = rows[i]
        old = entity.features.get(key) if named else getattr(entity, key)
        new = _apply(name, old, change)
        update = {"features": {**entity.features, key: new}} if named else {key: new}
        rows[i] = Entity.model_validate({**entity.model_dump(), **update})
    return RobotSpec.model_validate({**spec.model_dump(), "entities": [row.model_dump() for row in rows]})


def _find(rows: list[Entity], name: str, shape: Shape) -> tuple[int, str, bool]:
    valid = [f"{row.name}.{short}" for row in rows for short in _FIELDS] + [n for row in rows for n in row.features]
    for i, row in enumerate(rows):
        if name in row.features:
            if name not in shape.feature_names:
                raise InputError(
                    f"the simulator was trained on no robot that names '{name}', so it cannot say what changing it does"
                )
            return i, name, True
        for short, field in _FIELDS.items():
            if name == f"{row.name}.{short}":
                return i, field, False
    raise UnknownName("quantity to edit", name, valid)


def _apply(name: str, old: float | None, change: str) -> float:
    found = _EDIT.match(change)
    if found is None:
        raise InputError(
            f"edit of '{name}': '{change}' is not a change; write '0.7' (set), 'x1.5' (scale), '+0.1' or '-0.1' (add)"
        )
    operator, number = found.group(1), float(found.group(2))
    if operator == "":
        return number
    if old is None:
        raise InputError(
            f"edit of '{name}': '{change}' is relative, but the specification does not give its value; set it instead"
        )
    return old * number if operator in "x*" else old + (number if operator == "+" else -number)
