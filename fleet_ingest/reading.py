"""From the path of a log to its episodes, in one call: what the capped child process runs.

This module trusts its memory limits to be set by others; it stores nothing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fleet_ingest import convert, convert_robot_log
from fleet_ingest.formats.rawlog import Limits, RawLog
from fleet_ingest.formats.read import detect_format, read_log
from fleet_ingest.mapping import Mapping
from fleet_ingest.tracks import columns_to_read
from storage.contracts.episode import Episode, QualityFlag
from storage.contracts.errors import DataError, InputError

BROKEN = frozenset({"truncated", "corrupt"})
"""Salvage codes that mean a broken file, whose readable part is used only where the mapping says so."""


@dataclass(frozen=True)
class Reading:
    """The episodes of one log, what was left out or repaired, the rate in Hz, the number of pauses that split it."""

    episodes: tuple[Episode, ...]
    flags: tuple[QualityFlag, ...]
    rate_hz: float
    gaps: int = 0

    @property
    def salvaged(self) -> bool:
        """Was part of the file unreadable."""
        return any(flag.code in BROKEN | {"ragged_rows", "bad_messages"} for flag in self.flags)


def converter_of(mapping: Mapping | None) -> str:
    """The version of the code that would convert: part of every derived episode's key."""
    return convert_robot_log.CONVERTER if mapping is None else convert.CONVERTER


def read_episodes(
    path: Path,
    mapping: Mapping | None,
    *,
    raw_sha256: str,
    logical_path: str = "",
    robot: str | None = None,
    limits: Limits | None = None,
) -> Reading:
    """The episodes of the log at `path`, which stands at `logical_path` in its tree.

    Without a mapping only logs of our own robots can be read.
    `robot` overrides the serial name that the mapping would give; our robots' logs must be of that robot.
    Raises DataError with a code, InputError when there is no mapping and the log needs one.
    """
    if mapping is None:
        return _own_log(path, raw_sha256, robot, limits or Limits())
    raw = read_log(path, mapping.format, columns=columns_to_read(mapping), csv=mapping.csv, limits=limits)
    _refuse_broken(raw, mapping.salvage)
    found = convert.convert_log(raw, mapping, raw_sha256=raw_sha256, path=logical_path, robot=robot)
    return Reading(found.episodes, found.flags, found.rate_hz, found.gaps)


def _own_log(path: Path, raw_sha256: str, robot: str | None, limits: Limits) -> Reading:
    format = detect_format(path, limits)
    if format != "mcap":
        raise InputError(
            f"'{path.name}' is {format}: it needs a mapping", remedy="Draft one with 'sim2real import --propose FILE'."
        )
    raw = read_log(path, format, limits=limits)
    if not convert_robot_log.is_robot_log(raw):
        _refuse_broken(raw, False)
        raise InputError(
            f"'{path.name}' is not a log of our own robots: it needs a mapping",
            remedy="Draft one with 'sim2real import --propose FILE'.",
        )
    episode = convert_robot_log.robot_log_to_episode(raw, raw_sha256)
    _check_names(episode)
    if robot is not None and episode.robot != robot:
        raise DataError(f"the log is of robot '{episode.robot}', it was sent by '{robot}'", code="wrong_robot")
    return Reading((episode,), episode.quality, episode.spec.control_rate_hz)


def _check_names(episode: Episode) -> None:
    """What a log says of itself goes into the catalog: it must be short and plain."""
    serial = convert.safe_serial(episode.robot)
    if serial != episode.robot:
        raise DataError(
            f"'{episode.robot[:80]}' is no serial name of a robot; '{serial}' would be one", code="bad_name"
        )
    for key, value in episode.tags.items():
        if not key or "\0" in key + value or len(key.encode()) + len(value.encode()) > 1000:
            raise DataError(
                f"the log's tag {key[:40]!r} is empty, longer than 1000 bytes or holds NUL", code="bad_name"
            )


def _refuse_broken(raw: RawLog, salvage: bool) -> None:
    for flag in raw.salvage:
        if flag.code in BROKEN and not salvage:
            raise DataError(
                flag.detail,
                code=flag.code,
                remedy="Copy the whole file again, or set 'salvage: true' to use what can be read.",
            )


def merged_flags(reading: Reading) -> tuple[QualityFlag, ...]:
    """The flags of the log and of all its episodes, counts of equal (code, channel) added up."""
    counts: Counter[tuple[str, str | None]] = Counter()
    first: dict[tuple[str, str | None], QualityFlag] = {}
    shared = {flag.digest for flag in reading.flags}
    for flag in [*reading.flags, *(f for e in reading.episodes for f in e.quality if f.digest not in shared)]:
        key = (flag.code, flag.channel)
        counts[key] += flag.count
        first.setdefault(key, flag)
    return tuple(
        QualityFlag(code=code, channel=channel, count=count, detail=first[code, channel].detail)
        for (code, channel), count in counts.items()
    )
