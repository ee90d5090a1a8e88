"""Writes one episode as one MCAP file whose bytes depend on its content alone: no wall time, no library version.

Profile `sim2real`; one metadata record `sim2real` of JSON strings; topics /state (T+1 messages), /command,
/command_requested and, where there are any, /exogenous and /reward (T each). A message is {"t": ns, "v": [floats]} with
log_time = publish_time = t; a value that is not finite is null. Reading is `fleet_ingest.formats`' part.
"""

import json
import math
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from mcap.writer import CompressionType, Writer

from storage.contracts.canonical import canonical_json
from storage.contracts.robot import RobotSpec

PROFILE, LIBRARY, METADATA = "sim2real", "sim2real-robot", "sim2real"
_SCHEMA = {
    "type": "object",
    "properties": {"t": {"type": "integer"}, "v": {"type": "array", "items": {"type": ["number", "null"]}}},
}


@dataclass
class Recording:
    """One episode as it was lived. Lists of T+1 times and states [S]; T of everything else."""

    robot: str
    spec: RobotSpec
    policy: str | None
    tags: dict[str, str]
    time_ns: list[int] = field(default_factory=list)
    state: list[np.ndarray] = field(default_factory=list)
    command: list[np.ndarray] = field(default_factory=list)
    requested: list[np.ndarray] = field(default_factory=list)
    exogenous: list[np.ndarray] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False


def write_log(recording: Recording) -> bytes:
    """The MCAP file. Equal recordings give equal bytes."""
    target = BytesIO()
    writer = Writer(target, compression=CompressionType.NONE)
    writer.start(profile=PROFILE, library=LIBRARY)
    writer.add_metadata(METADATA, _metadata(recording))
    schema = writer.register_schema(name="sim2real.Vector", encoding="jsonschema", data=canonical_json(_SCHEMA))
    series = _series(recording)
    topics = {name: writer.register_channel(topic=name, message_encoding="json", schema_id=schema) for name in series}
    for row, time_ns in enumerate(recording.time_ns):
        for name, values in series.items():
            if row < len(values):
                data = _message(time_ns, values[row])
                writer.add_message(topics[name], log_time=time_ns, publish_time=time_ns, data=data, sequence=row)
    writer.finish()
    return target.getvalue()


def _series(recording: Recording) -> dict[str, list[np.ndarray]]:
    series = {"/state": recording.state, "/command": recording.command, "/command_requested": recording.requested}
    if recording.spec.exogenous_layout.width:
        series["/exogenous"] = recording.exogenous
    if any(math.isfinite(value) for value in recording.reward):
        series["/reward"] = [np.array([value]) for value in recording.reward]
    return series


def _metadata(recording: Recording) -> dict[str, str]:
    values = {
        "robot": recording.robot,
        "spec": recording.spec,
        "policy": recording.policy,
        "tags": recording.tags,
        "terminated": recording.terminated,
        "truncated": recording.truncated,
    }
    return {name: canonical_json(value).decode() for name, value in values.items()}


def _message(time_ns: int, values: np.ndarray) -> bytes:
    numbers = [value if math.isfinite(value) else None for value in values.tolist()]
    return json.dumps({"t": time_ns, "v": numbers}, separators=(",", ":")).encode()
