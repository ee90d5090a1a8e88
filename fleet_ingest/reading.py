"""From the path of a log to its episodes and its raw contents, in one call: what the capped child process runs.

This module trusts its memory limits to be set by others; it stores nothing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fleet_ingest import convert, convert_robot_log
from fleet_ingest.alignment import lag_of
from fleet_ingest.card import Lag
from fleet_ingest.formats.rawlog import Limits, RawLog
from fleet_ingest.formats.read import detect_format, read_log
from fleet_ingest.mapping import Mapping
from fleet_ingest.raw_quality import raw_flags
from fleet_ingest.tracks import columns_to_read
from storage.contracts.episode import Episode, QualityFlag
from storage.contracts.errors import DataError, InputError

BROKEN = frozenset({"truncated", "corrupt", "too_large"})
"""Flags that mean a broken file, whose readable part is used only where the mapping does not forbid it."""

LOST = BROKEN | {"ragged_rows", "bad_messages", "count_mismatch"}
"""Flags that mean that something of the file was lost: it is salvaged, not accepted."""

_WHOLE_BYTES = 256 << 20
_LATE_PERIODS = 2.0


@dataclass(frozen=True)
class Reading:
    """The episodes of one log, what was left out or repaired, the rate in Hz, the number of pauses that split it."""

    episodes: tuple[Episode, ...]
    flags: tuple[QualityFlag, ...]
    rate_hz: float
    gaps: int = 0
    lag: Lag | None = None

    @property
    def salvaged(self) -> bool:
        """Was part of the file unreadable."""
        return any(flag.code in LOST for flag in self.flags)


def converter_of(mapping: Mapping | None) -> str:
    """The version of the code that would convert: part of every derived episode's key."""
    return convert_robot_log.CONVERTER if mapping is None else convert.CONVERTER


def read_raw(path: Path, mapping: Mapping | None, limits: Limits) -> RawLog:
    """The whole log at `path`, or of a table that is too large as a whole the columns that `mapping` uses."""
    format, csv = (None, None) if mapping is None else (mapping.format, mapping.csv)
    if mapping is None or path.is_dir() or path.stat().st_size <= _WHOLE_BYTES:
        try:
            return read_log(path, format, csv=csv, limits=limits)
        except DataError as error:
            if mapping is None or error.code != "too_large":
                raise
    return read_log(path, format, columns=columns_to_read(mapping), csv=csv, limits=limits)


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
    limits = limits or Limits()
    if mapping is None and (format := detect_format(path, limits)) != "mcap":
        raise _needs_mapping(f"'{path.name}' is {format}")
    raw = read_raw(path, mapping, limits)
    return episodes_of(raw, mapping, raw_sha256=raw_sha256, logical_path=logical_path or path.name, robot=robot)


def episodes_of(
    raw: RawLog,
    mapping: Mapping | None,
    *,
    raw_sha256: str,
    logical_path: str = "",
    robot: str | None = None,
    release: bool = False,
) -> Reading:
    """The episodes of a log that was read. `release`: a person said that what is readable of it is to be used."""
    if mapping is None:
        return _own_log(raw, Path(logical_path).name, raw_sha256, robot, release)
    _refuse_broken(raw, mapping.salvage or release)
    found = convert.convert_log(raw, mapping, raw_sha256=raw_sha256, path=logical_path, robot=robot)
    lag = lag_of(found.episodes)
    flags = (*found.flags, *_new(raw_flags(raw), found.flags), *_lag_flags(lag, found.rate_hz))
    return Reading(found.episodes, flags, found.rate_hz, found.gaps, lag)


def _new(flags: tuple[QualityFlag, ...], held: tuple[QualityFlag, ...]) -> list[QualityFlag]:
    known = {(flag.code, flag.channel) for flag in held}
    return [flag for flag in flags if (flag.code, flag.channel) not in known]


def _lag_flags(lag: Lag | None, rate_hz: float) -> tuple[QualityFlag, ...]:
    if lag is None or lag.confidence < 0.5 or lag.seconds * rate_hz < _LATE_PERIODS:
        return ()
    detail = f"'{lag.state}' answers '{lag.command}' {lag.seconds * 1e3:.0f} ms late (confidence {lag.confidence:.2f})"
    return (QualityFlag(code="lag", channel=lag.state, detail=detail),)


def _needs_mapping(what: str) -> InputError:
    return InputError(f"{what}: it needs a mapping", remedy="Draft one with 'sim2real import --propose FILE'.")


def _own_log(raw: RawLog, name: str, raw_sha256: str, robot: str | None, release: bool) -> Reading:
    if raw.format != "mcap":
        raise _needs_mapping(f"'{name}' is {raw.format}")
    if not convert_robot_log.is_robot_log(raw):
        raise _needs_mapping(f"'{name}' is not a log of our own robots")
    episode = convert_robot_log.robot_log_to_episode(raw, raw_sha256, salvage=release)
    _check_names(episode)
    if robot is not None and episode.robot != robot:
        raise DataError(f"the log is of robot '{episode.robot}', it was sent by '{robot}'", code="wrong_robot")
    return Reading((episode,), episode.quality, episode.spec.control_rate_hz, lag=lag_of((episode,)))


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
