"""The logs that our own robots write (MCAP, profile `sim2real`) as episodes; `fleet_ingest.robot.log` is the writer.

Such a log says itself what it holds, so it needs no mapping. One that breaks off is not made into an episode: the robot
still has the whole one. This module reads no files.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from fleet_ingest.formats.rawlog import RawLog, Series
from storage.contracts.canonical import canonical_json
from storage.contracts.episode import Episode, Provenance, QualityFlag
from storage.contracts.errors import ContractError, DataError
from storage.contracts.robot import RobotSpec

PROFILE = "sim2real"
CONVERTER = "sim2real-log/1"
_KEY = f"{PROFILE}:"
_TOPICS = ("/state", "/command", "/command_requested", "/exogenous", "/reward")


def is_robot_log(raw: RawLog) -> bool:
    return raw.format == "mcap" and raw.metadata.get("profile") == PROFILE and f"{_KEY}spec" in raw.metadata


def robot_log_to_episode(raw: RawLog, raw_sha256: str, *, salvage: bool = False) -> Episode:
    """The episode of one robot log; with `salvage` of the part of it that is there.

    Raises DataError: `truncated`, `corrupt` (the file), `not_a_robot_log` (metadata), `bad_shape` (topics do not fit
    the specification or each other).
    """
    if not is_robot_log(raw):
        raise DataError("not a log of one of our robots: its metadata record 'sim2real' is missing",
                        code="not_a_robot_log",
                        remedy="Give a mapping.")  # fmt: skip
    broken = [flag for flag in raw.salvage if flag.code != "no_statistics"]
    if broken and not salvage:
        raise DataError(broken[0].detail, code=broken[0].code)
    raw = _common_part(raw) if broken else raw
    facts = {key: _fact(raw, key) for key in ("robot", "spec", "policy", "tags", "terminated", "truncated")}
    try:
        spec = RobotSpec.from_json(canonical_json(facts["spec"]))
    except ContractError as error:
        raise DataError(f"the log's specification: {error}", code="not_a_robot_log") from error
    time_ns, state = _topic(raw, "/state", spec.state_layout.width)
    steps = len(time_ns) - 1
    if steps < 1:
        raise DataError(f"the log has {steps + 1} states; an episode needs two or more", code="too_short")
    command = _inputs(raw, "/command", spec.command_layout.width, time_ns)
    requested = _inputs(raw, "/command_requested", spec.command_layout.width, time_ns)
    tags = {str(key): str(value) for key, value in dict(facts["tags"] or {}).items()}
    has_reward = "/reward.v" in raw.series
    return Episode(
        robot=str(facts["robot"]), spec=spec, time_ns=time_ns, state=np.nan_to_num(state, posinf=0.0, neginf=0.0),
        state_valid=np.isfinite(state), command=np.nan_to_num(command, posinf=0.0, neginf=0.0),
        command_valid=np.isfinite(command), command_requested=requested,
        exogenous=np.nan_to_num(_inputs(raw, "/exogenous", spec.exogenous_layout.width, time_ns)),
        reward=_inputs(raw, "/reward", 1, time_ns)[:, 0] if has_reward else np.full(steps, np.nan),
        terminated=facts["terminated"] is True, truncated=facts["truncated"] is True,
        provenance=Provenance(raw_sha256=raw_sha256, converter=CONVERTER), tags=tags,
        policy=None if facts["policy"] is None else str(facts["policy"]),
        quality=(*broken, *_flags(state, command, requested)),
    )  # fmt: skip


def _common_part(raw: RawLog) -> RawLog:
    """The log cut where the first of its topics ends, so that states and commands fit again."""
    lengths = {name: len(raw.series[f"{name}.t"].values) for name in _TOPICS if f"{name}.t" in raw.series}
    steps = min((n - (name == "/state") for name, n in lengths.items()), default=0)
    series = {
        name: Series(s.values[: steps + (s.group == "/state")], None, s.group)
        for name, s in raw.series.items()
        if s.group in _TOPICS
    }
    return replace(raw, series=series)


def _fact(raw: RawLog, key: str) -> Any:
    text = raw.metadata.get(_KEY + key)
    if text is None:
        raise DataError(f"the log's metadata record 'sim2real' has no '{key}'", code="not_a_robot_log")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"the log's metadata '{key}' is not JSON: {text[:60]!r}", code="not_a_robot_log") from error


def _topic(raw: RawLog, topic: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 ns [n], float64 [n, width]) of a topic's messages {"t": ns, "v": [...]}."""
    values, times = raw.series.get(f"{topic}.v"), raw.series.get(f"{topic}.t")
    if values is None or times is None or times.values.dtype != np.int64:
        raise DataError(f"topic '{topic}' with messages {{t, v}} is missing", code="bad_shape")
    if values.values.ndim != 2 or values.values.shape[1] != width:
        raise DataError(
            f"topic '{topic}' has values of shape {values.values.shape}, the specification says width {width}",
            code="bad_shape",
        )
    if not np.all(np.diff(times.values) > 0):
        raise DataError(f"the times of topic '{topic}' do not increase", code="time_disordered")
    return times.values, values.values.astype(np.float64)


def _inputs(raw: RawLog, topic: str, width: int, time_ns: np.ndarray) -> np.ndarray:
    """float64 [T, width] of what acted in each interval; its times are those of the states but the last."""
    if width == 0:
        return np.zeros((len(time_ns) - 1, 0))
    times, values = _topic(raw, topic, width)
    if not np.array_equal(times, time_ns[:-1]):
        raise DataError(
            f"topic '{topic}' has {len(times)} messages, the states ask for {len(time_ns) - 1}, at the times of "
            "all states but the last",
            code="bad_shape",
        )
    return values


def _flags(state: np.ndarray, command: np.ndarray, requested: np.ndarray) -> tuple[QualityFlag, ...]:
    flags = []
    if missing := int((~np.isfinite(state)).any(axis=1).sum()):
        flags.append(QualityFlag(code="not_a_number", count=missing, detail="states with a value that is no number"))
    if clamped := int((requested != command).any(axis=1).sum()):
        flags.append(
            QualityFlag(code="clamped", count=clamped, detail="commands that the robot changed before applying them")
        )
    return tuple(flags)
