"""Edits of a specification: quantities changed, entities added, removed, two robots side by side.

A quantity is `<entity>.<length|mass|gear|damping|friction>`, or a named feature such as `payload.mass`: then every
entity that has it, or `<entity>:payload.mass` for one alone. This module knows no weights and no scene.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from simulator.structure import Shape
from storage.contracts.base import Contract, explain
from storage.contracts.channel import Channel
from storage.contracts.errors import ContractError, InputError, UnknownName
from storage.contracts.robot import Entity, RobotSpec

FIELDS = {"length": "length_m", "mass": "mass_kg", "gear": "gear", "damping": "damping", "friction": "friction"}
_EDIT = re.compile(r"^\s*([x*+-]?)\s*([0-9.eE+-]+)\s*$")
_NAME_LENGTH = 80
C = TypeVar("C", bound=Contract)


def edited(spec: RobotSpec, edits: Mapping[str, str], shape: Shape, known: Iterable[RobotSpec] = ()) -> RobotSpec:
    """The specification with quantities changed: `{"payload.mass": "x1.5", "pole.length": "0.4", "cart.friction":
    "+0.1"}`.

    A feature that the specification does not give is set where `known` robots with the same entities have it. A body
    that gets heavier keeps its shape: the inertia that is said of it grows with its mass. Raises UnknownName for a name
    that no entity has, InputError for a relative change of an unknown value or for text that is not a change.
    """
    rows = list(spec.entities)
    known = tuple(known)
    for name, change in edits.items():
        for i, key, named in _find(rows, name, shape, known):
            entity = rows[i]
            old = entity.features.get(key) if named else getattr(entity, key)
            new = _apply(name, old, change)
            rows[i] = _changed(entity, {"features": {**entity.features, key: new}} if named else _set(entity, key, new))
    return _changed(spec, {"entities": tuple(rows)})


def quantities(spec: RobotSpec, shape: Shape) -> dict[str, float | None]:
    """Every quantity that may be edited, with its value; None where the specification does not say."""
    found: dict[str, float | None] = {}
    for row in spec.entities:
        found |= {f"{row.name}.{short}": getattr(row, field) for short, field in FIELDS.items()}
        found |= {name: value for name, value in row.features.items() if name in shape.feature_names}
    return found


def added(spec: RobotSpec, entity: Entity, channels: Sequence[Channel] = ()) -> RobotSpec:
    """The specification with one more entity, the last, and its channels after those there are."""
    if any(row.name == entity.name for row in spec.entities):
        raise InputError(
            f"there is an entity '{entity.name}' already",
            remedy="Edit its quantities, or give the new one another name.",
        )
    for channel in channels:
        if channel.entity != entity.name:
            raise InputError(
                f"channel '{channel.name}' is of entity '{channel.entity}'; channels that come with '{entity.name}' "
                "must be its own"
            )
    update: dict[str, object] = {
        "entities": (*spec.entities, entity),
        "channels": (*spec.channels, *channels),
        "safe_command": None,
    }
    made = _changed(spec, update)
    if spec.safe_command is None:
        return made
    return _changed(made, {"safe_command": (*spec.safe_command, *made.safe[len(spec.safe_command) :].tolist())})


def removed(spec: RobotSpec, name: str) -> RobotSpec:
    """The specification without an entity and its channels. Raises UnknownName, or InputError when others hang
    on it."""
    if not any(row.name == name for row in spec.entities):
        has_quantity = any(key.startswith(f"{name}.") for row in spec.entities for key in row.features)
        remedy = f"'{name}' is a quantity of another entity here: edit it, e.g. to 0." if has_quantity else ""
        raise UnknownName("entity to remove", name, [row.name for row in spec.entities], remedy=remedy)
    children = [row.name for row in spec.entities if row.parent == name]
    if children:
        raise InputError(f"'{name}' carries {', '.join(children)}", remedy="Remove those first.")
    channels = tuple(channel for channel in spec.channels if channel.entity != name)
    safe = None
    if spec.safe_command is not None:
        layout = spec.command_layout
        safe = tuple(
            value
            for channel in layout.channels
            if channel.entity != name
            for value in spec.safe_command[layout[channel.name]]
        )
    rows = tuple(row for row in spec.entities if row.name != name)
    return _changed(spec, {"entities": rows, "channels": channels, "safe_command": safe})


def composed(first: RobotSpec, second: RobotSpec, names: tuple[str, str]) -> RobotSpec:
    """Two robots in one specification, entities and channels of the first in front; all names get a prefix.

    Raises InputError when their control rates differ: a world is stepped at one rate.
    """
    if names[0] == names[1]:
        raise InputError(f"both parts would be called '{names[0]}'; give two names")
    if first.control_rate_hz != second.control_rate_hz:
        raise InputError(
            f"'{first.name}' is controlled at {first.control_rate_hz} Hz and '{second.name}' at "
            f"{second.control_rate_hz} Hz; robots in one world need one rate"
        )
    parts = [_prefixed(spec, name) for spec, name in zip((first, second), names, strict=True)]
    safe = None
    if first.safe_command is not None or second.safe_command is not None:
        safe = (*first.safe.tolist(), *second.safe.tolist())
    return RobotSpec(
        name=f"{first.name}:{second.name}"[:_NAME_LENGTH],
        control_rate_hz=first.control_rate_hz,
        channels=tuple(channel for part in parts for channel in part.channels),
        entities=tuple(row for part in parts for row in part.entities),
        safe_command=safe,
        source_text="\n\n".join(text for text in (first.source_text, second.source_text) if text),
    )


def _changed(value: C, update: Mapping[str, object]) -> C:
    """Raises ContractError that names what the changed value breaks."""
    try:
        return value.model_copy(update=update)
    except ValidationError as error:
        raise ContractError(f"the edit cannot be made: {explain(error)}") from error


def _prefixed(spec: RobotSpec, prefix: str) -> RobotSpec:
    def named(name: str | None) -> str | None:
        return None if name is None else f"{prefix}.{name}"

    channels = [
        channel.model_copy(
            update={
                "name": named(channel.name),
                "entity": named(channel.entity),
                "derivative_of": named(channel.derivative_of),
                "adds_to": named(channel.adds_to),
            }
        )
        for channel in spec.channels
    ]
    rows = [row.model_copy(update={"name": named(row.name), "parent": named(row.parent)}) for row in spec.entities]
    return spec.model_copy(update={"channels": tuple(channels), "entities": tuple(rows)})


def _find(rows: Sequence[Entity], name: str, shape: Shape, known: Sequence[RobotSpec]) -> list[tuple[int, str, bool]]:
    """(row, field or feature, is a named feature) of everything that `name` means."""
    index = {row.name: i for i, row in enumerate(rows)}
    owner, _, feature = name.rpartition(":")
    have = [i for i, row in enumerate(rows) if feature in row.features and owner in ("", row.name)]
    if have and feature not in shape.feature_names:
        raise InputError(
            f"the simulator was trained on no robot that names '{feature}', so it cannot say what changing it does"
        )
    if have:
        return [(i, feature, True) for i in have]
    if feature in shape.feature_names:
        if owner in index:
            return [(index[owner], feature, True)]
        elsewhere = _owners(feature, set(index), known) if not owner else set()
        if elsewhere:
            return [(index[n], feature, True) for n in sorted(elsewhere, key=lambda n: index[n])]
        if not owner:
            raise InputError(
                f"no entity of this robot has '{feature}' yet",
                remedy=f"Say whose it is, e.g. {rows[-1].name}:{feature}. Entities: {', '.join(index)}.",
            )
    for short, field in FIELDS.items():
        for row in rows:
            if name == f"{row.name}.{short}":
                return [(index[row.name], field, False)]
    valid = [f"{row.name}.{short}" for row in rows for short in FIELDS] + list(shape.feature_names)
    raise UnknownName("quantity to edit", name, valid)


def _owners(feature: str, names: set[str], known: Sequence[RobotSpec]) -> set[str]:
    """Entities that have the feature in robots with the very same entities."""
    found: set[str] = set()
    for spec in known:
        if {row.name for row in spec.entities} == names:
            found |= {row.name for row in spec.entities if feature in row.features}
    return found


def _set(entity: Entity, key: str, value: float) -> dict[str, object]:
    """What changes with a field."""
    if key != "mass_kg" or not entity.mass_kg or entity.inertia_kgm2 is None:
        return {key: value}
    factor = value / entity.mass_kg
    return {key: value, "inertia_kgm2": tuple(axis * factor for axis in entity.inertia_kgm2)}


def _apply(name: str, old: float | None, change: str) -> float:
    found = _EDIT.match(change)
    if found is None:
        raise InputError(
            f"edit of '{name}': '{change}' is not a change; write '0.7' (set), 'x1.5' (scale), '+0.1' or '-0.1' (add)"
        )
    operator = found.group(1)
    try:
        number = float(found.group(2))
    except ValueError as error:
        raise InputError(f"edit of '{name}': '{found.group(2)}' is not a number") from error
    if operator == "":
        return number
    if old is None:
        raise InputError(
            f"edit of '{name}': '{change}' is relative, but the specification does not give its value; set it instead"
        )
    return old * number if operator in "x*" else old + (number if operator == "+" else -number)


def value_of(spec: RobotSpec, name: str) -> float | None:
    """What the specification says of a quantity, as `edited` names it; None where it does not."""
    owner, _, feature = name.rpartition(":")
    for row in spec.entities:
        if feature in row.features and owner in ("", row.name):
            return row.features[feature]
        for short, field in FIELDS.items():
            if name == f"{row.name}.{short}":
                value: float | None = getattr(row, field)
                return value
    return None
