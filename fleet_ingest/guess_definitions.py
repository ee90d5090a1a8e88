"""Channels that a file itself defines: by the types of its messages, or by the names of a list's entries.

This module guesses nothing from values, except whether four numbers are a unit quaternion.
"""

import json

import numpy as np

from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.guess_words import COMMAND, MEASURED, Guess, clean_name, left_out, set_role
from fleet_ingest.known_messages import Known, known_field, quaternion_of

MANY = 64


def topic_of(raw: RawLog, guess: Guess) -> str:
    series = raw.series.get(guess.columns[0])
    return "" if series is None else series.group


def brief_topics(raw: RawLog) -> set[str]:
    """Topics that span less than half of the log: as states they would cut every episode down to their span."""
    spans = {
        s.group: int(s.time_ns[-1] - s.time_ns[0]) if len(s.time_ns) > 1 else 0
        for s in raw.series.values()
        if s.time_ns is not None
    }
    return {topic for topic, span in spans.items() if 2 * span < max(spans.values())}


def by_definition(raw: RawLog, columns: dict[str, np.ndarray]) -> list[Guess]:
    """Channels of topics whose message type fixes what their fields are; fields that never change are left out."""
    types = {topic.name: topic.type for topic in raw.topics}
    found: list[Guess] = []
    for name, values in columns.items():
        topic = raw.series[name].group
        field_name = name[len(topic) + 1 :]
        if not topic or (quaternion := quaternion_of(field_name)) is None:
            known = known_field(types.get(topic, ""), field_name) if topic else None
            if known is not None and not left_out(name, values):
                found.append(_known_guess(name, topic, values, known))
            continue
        parts = tuple(f"{topic}.{part}" for part in quaternion)
        lengths = sum(columns[p].astype(np.float64) ** 2 for p in parts) if all(p in columns for p in parts) else None
        if lengths is not None and np.nanmedian(np.abs(lengths - 1)) < 0.02:
            fields = {"column": list(parts), "name": clean_name(name.rpartition(".")[0]), "kind": "orientation"}
            found.append(Guess(fields, parts))
    names = {guess.columns[0]: guess.fields["name"] for guess in found}
    for guess in found:
        parent = guess.fields.pop("derivative_column", None)
        if parent in names:
            guess.fields["derivative_of"] = names[parent]
    return found


def _known_guess(name: str, topic: str, values: np.ndarray, known: Known) -> Guess:
    guess = Guess({"column": name, "name": clean_name(name), "kind": known.kind, "unit": known.unit}, (name,))
    if values.ndim == 2:
        guess.fields["size"] = int(values.shape[1])
    if known.role is not None:
        guess.fields["role"] = known.role
    elif COMMAND.search(topic) and not MEASURED.search(topic):
        guess.fields["role"] = "command"
    if known.derivative is not None:
        guess.fields["derivative_column"] = f"{topic}.{known.derivative}"
    return guess


def named_parts(raw: RawLog, name: str, values: np.ndarray) -> list[Guess]:
    """One channel an entry of a list whose entries the file names (LeRobot: the motors)."""
    try:
        names = json.loads(raw.metadata.get(f"names:{name}", "[]"))
    except ValueError:
        return []
    if values.ndim != 2 or len(names) != values.shape[1] or len(names) > MANY:
        return []
    guesses = []
    for index, part in enumerate(names):
        column = f"{name}[{index}]"
        guess = Guess({"column": column, "name": clean_name(f"{name}.{part}"), "kind": "linear"}, (column,))
        guess.doubts.append(f"'{column}' ({part}) has no unit: for a joint in radians set 'kind: angle, unit: rad'")
        set_role(guess, name, values[:, index])
        guesses.append(guess)
    return guesses
