"""Makes episodes of a log: what the mapping names, in SI units, on a uniform grid.

A log is cut into runs (one robot, one trial, a clock that goes forward), runs at pauses into pieces, and each piece
becomes an episode. Measured signals are interpolated, commands and events held; row t of the commands, of the reward
and of known disturbances is what was logged at the beginning of interval t. Missing values are masked, counted in
flags, never invented: masked values are finite and mean nothing. The same log, mapping and converter give the same
episodes.
"""

from dataclasses import dataclass, replace

import numpy as np

from fleet_ingest import clock
from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.mapping import ChannelMap, Mapping
from fleet_ingest.quality import flags_of
from fleet_ingest.resample import Sampled, Track, on_grid
from fleet_ingest.tracks import channel_values, has_column, series_of, table_times, topic_times
from storage.contracts.channel import DISCRETE, Layout, Role
from storage.contracts.episode import Episode, MediaRef, Provenance, QualityFlag
from storage.contracts.errors import ContractError, DataError
from storage.contracts.robot import RobotSpec

CONVERTER = "tables/2"
"""Changed by hand when the same log and mapping would give other episodes; part of the key of every derived episode."""

_HELD = (Role.COMMAND, Role.EXOGENOUS, Role.REWARD, Role.TERMINATION)
_MAX_STEPS = 50_000_000


@dataclass(frozen=True)
class Run:
    """One robot's run: channel name -> track, all within one clock; `base_ns` are the times that pauses are judged
    by.
    """

    robot: str | None
    label: str | None
    tracks: dict[str, Track]
    base_ns: np.ndarray


@dataclass(frozen=True)
class Conversion:
    """The episodes of one log; what was left out or repaired; the rate in Hz; how many pauses split it."""

    episodes: tuple[Episode, ...]
    flags: tuple[QualityFlag, ...]
    rate_hz: float
    gaps: int = 0


def convert(raw: RawLog, mapping: Mapping, robot: str, raw_sha256: str) -> list[Episode]:
    """The episodes of a log of one robot. Raises as `convert_log` does."""
    return list(convert_log(raw, mapping, raw_sha256=raw_sha256, robot=robot).episodes)


def convert_log(
    raw: RawLog, mapping: Mapping, *, raw_sha256: str, path: str = "", robot: str | None = None
) -> Conversion:
    """The episodes of the log `raw`, which was at `path` within its tree. `robot` overrides the mapping's serial name.

    Raises:
        DataError: `missing_column`, `missing_time`, `not_numbers`, `time_unit`, `too_short`, `nothing_measured` ...
        ContractError: the path does not name the robot as the mapping says.
    """
    serial, tags, notes, distrusted = mapping.facts_of(path, robot=robot)
    runs, flags = _runs(raw, mapping, distrusted)
    period_ns = clock.median_period_ns([run.base_ns for run in runs], mapping.time.column or "time")
    if mapping.time.rate_hz is None:
        clock.check_rate(
            period_ns, mapping.time.unit, mapping.time.column or "log_time", mapping.nominal_rate_hz or mapping.rate_hz
        )
    rate_hz = mapping.rate_hz or clock.sensible_rate(period_ns)
    spec = mapping.spec_at(rate_hz)
    gap_ns = _gap_ns(mapping, period_ns)
    episodes: list[Episode] = []
    short = gaps = 0
    for run in runs:
        parts = clock.pieces(run.base_ns, gap_ns)
        gaps += len(parts) - 1
        for part in parts:
            base = run.base_ns[part]
            if base[-1] - base[0] < max(mapping.min_duration_s * 1e9, 0.999e9 / rate_hz):
                short += 1
                continue
            name = safe_serial(robot or run.robot or serial)
            provenance = Provenance(
                raw_sha256=raw_sha256, mapping_sha256=mapping.digest, converter=CONVERTER, part=len(episodes)
            )
            more = {"run": run.label} if run.label is not None else {}
            found = _episode(
                mapping, spec, name, run.tracks, base, provenance, {**tags, **more}, notes, [*raw.salvage, *flags]
            )
            if found is not None:
                episodes.append(replace(found, media=_media(raw, run.label)) if raw.media else found)
    flags += _cut_flags(gaps, gap_ns, short, mapping.min_duration_s)
    if not episodes:
        raise DataError(
            "nothing was left: no piece is long enough and holds a measured state", code="nothing_measured",
            remedy="Check 'gap_s', 'min_duration_s', the time unit, and that the state columns hold numbers.",
        )  # fmt: skip
    return Conversion(tuple(episodes), (*raw.salvage, *flags), rate_hz, gaps)


def _media(raw: RawLog, label: str | None) -> tuple[MediaRef, ...]:
    """The clips of the run called `label`; without labels those of the whole log."""
    return tuple(
        MediaRef(channel=m.name, sha256=m.sha256, media_type=m.media_type, start_ns=m.start_ns, end_ns=m.end_ns)
        for m in raw.media
        if label is None or m.episode is None or str(m.episode) == label
    )


def _cut_flags(gaps: int, gap_ns: float, short: int, least_s: float) -> list[QualityFlag]:
    flags = []
    if gaps:
        flags.append(QualityFlag(code="gap", count=gaps, detail=f"pauses of over {gap_ns * 1e-9:g} s split the log"))
    if short:
        detail = f"pieces shorter than {least_s:g} s were left out"
        flags.append(QualityFlag(code="short_pieces", count=short, detail=detail))
    return flags


def _gap_ns(mapping: Mapping, period_ns: float) -> float:
    """A step beyond which the log paused: what the mapping says, else 10 periods, at least 0.1 s."""
    return mapping.gap_s * 1e9 if mapping.gap_s is not None else max(10 * period_ns, 1e8)


def safe_serial(text: str) -> str:
    """A serial name of letters, digits and `_ . : -`, at most 80: others become `-`.

    Raises ContractError when nothing is left.
    """
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.:-") else "-" for c in text.strip())[:80].lstrip("._:-")
    if not name:
        raise ContractError(
            f"'{text[:80]}' gives no serial name of a robot; letters, digits and _ . : - may stand in it"
        )
    return name


def _runs(raw: RawLog, mapping: Mapping, distrusted: frozenset[str]) -> tuple[list[Run], list[QualityFlag]]:
    sources: dict[str, tuple[np.ndarray, str]] = {}
    flags: list[QualityFlag] = []
    for channel in mapping.channels:
        absent = [name for name in channel.columns if not has_column(raw, name)]
        if channel.name in distrusted or (absent and channel.optional):
            reason = (
                "not to be trusted in this file" if channel.name in distrusted else f"no column '{(absent or [''])[0]}'"
            )
            flags.append(QualityFlag(code="channel_absent", channel=channel.name, detail=reason))
            continue
        for key, columns in ((channel.name, channel.columns), (_requested(channel.name), (channel.requested_column,))):
            if columns[0] is not None and (key == channel.name or has_column(raw, columns[0])):
                values, series, found = channel_values(raw, channel, tuple(str(c) for c in columns))
                flags += found
                sources[key] = (values, series.group)
    if not any(c.role == Role.STATE and c.name in sources for c in mapping.channels):
        raise DataError("the log has none of the mapping's state channels", code="missing_column")
    if not raw.is_table:
        return _topic_runs(raw, mapping, sources, flags)
    return _table_runs(raw, mapping, sources, flags)


def _requested(name: str) -> str:
    return f"{name} requested"


def _table_runs(
    raw: RawLog, mapping: Mapping, sources: dict[str, tuple[np.ndarray, str]], flags: list[QualityFlag]
) -> tuple[list[Run], list[QualityFlag]]:
    time_ns = table_times(raw, mapping)
    robots, robot_of = _groups(raw, mapping.robot_column, len(time_ns))
    labels, label_of = _groups(raw, mapping.episode_column, len(time_ns))
    group = robot_of * len(labels) + label_of
    endings = [values for name, (values, _) in sources.items() if _role(mapping, name) == Role.TERMINATION]
    if endings:
        ended = np.nan_to_num(endings[0][:, 0]) != 0
        after = np.concatenate([[0], np.cumsum(ended)[:-1]]).astype(np.int64)
        group = group * (int(after.max(initial=0)) + 1) + after
    ordered = clock.order(time_ns, group, int(_gap_ns(mapping, clock.usual_step_ns(time_ns))))
    runs = []
    for rows in ordered.rows:
        tracks = {name: Track(time_ns[rows], values[rows]) for name, (values, _) in sources.items()}
        robot = str(robots[robot_of[rows[0]]]) if mapping.robot_column else None
        label = str(labels[label_of[rows[0]]]) if mapping.episode_column else None
        runs.append(Run(robot, label, tracks, time_ns[rows]))
    return runs, [*flags, *ordered.flags]


def _groups(raw: RawLog, column: str | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(values [g], group of each row [n]); groups are numbered by where they first occur."""
    if column is None:
        return np.array([""]), np.zeros(rows, dtype=np.int64)
    values = series_of(raw, column, f"column '{column}'").values
    texts = values.astype(str) if values.dtype == object else values
    found, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return found[np.argsort(first)], rank[inverse.ravel()].astype(np.int64)


def _role(mapping: Mapping, name: str) -> Role | None:
    return next((c.role for c in mapping.channels if c.name == name), None)


def _topic_runs(
    raw: RawLog, mapping: Mapping, sources: dict[str, tuple[np.ndarray, str]], flags: list[QualityFlag]
) -> tuple[list[Run], list[QualityFlag]]:
    """One run: each topic sorted by its own times; from when every state channel has begun to when the first ends."""
    orders: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for _, group in sources.values():
        if group not in orders:
            times = topic_times(raw, mapping, next(s for s in raw.series.values() if s.group == group))
            ordered = clock.order(times, np.zeros(len(times), dtype=np.int64), np.iinfo(np.int64).max)
            flags += ordered.flags
            rows = ordered.rows[0] if ordered.rows else np.zeros(0, dtype=np.int64)
            orders[group] = rows, times[rows]
    tracks = {name: Track(orders[group][1], values[orders[group][0]]) for name, (values, group) in sources.items()}
    states = [
        tracks[c.name]
        for c in mapping.channels
        if c.role == Role.STATE and c.name in tracks and len(tracks[c.name].time_ns)
    ]
    if not states:
        raise DataError("the topics of the state channels hold no messages", code="empty")
    start, end = max(t.time_ns[0] for t in states), min(t.time_ns[-1] for t in states)
    base = max((t.time_ns for t in states), key=len)
    return [Run(None, None, tracks, base[(base >= start) & (base <= end)])], flags


def _episode(
    mapping: Mapping, spec: RobotSpec, robot: str, tracks: dict[str, Track], base_ns: np.ndarray,
    provenance: Provenance,
    tags: dict[str, str], notes: tuple[str, ...], flags: list[QualityFlag],
) -> Episode | None:  # fmt: skip
    """The episode of one piece, or None when no state was measured in it."""
    period = 1e9 / spec.control_rate_hz
    steps = int((base_ns[-1] - base_ns[0]) / period + 1e-6)
    if steps > _MAX_STEPS:
        raise DataError(f"{steps:,} steps at {spec.control_rate_hz:g} Hz; the most is {_MAX_STEPS:,}", code="too_large")
    grid = base_ns[0] + np.rint(np.arange(steps + 1) * period).astype(np.int64)
    near = {name: _within(track, base_ns[0], base_ns[-1]) for name, track in tracks.items()}
    state, state_valid = _columns(mapping, spec.state_layout, near, grid)
    if not state_valid.any():
        return None
    command, command_valid = _columns(mapping, spec.command_layout, near, grid)
    exogenous, _ = _columns(mapping, spec.exogenous_layout, near, grid)
    requested, requested_valid = _columns(mapping, spec.command_layout, near, grid, key=_requested)
    reward, ended = _reward(mapping, near, grid), _ended(mapping, near, grid)
    tags = {**tags, **_context(mapping, near)}
    return Episode(
        robot=robot, spec=spec, time_ns=grid, state=state, state_valid=state_valid, command=command[:-1],
        command_valid=command_valid[:-1], exogenous=exogenous[:-1], provenance=provenance, notes=notes, tags=tags,
        command_requested=np.where(requested_valid, requested, command)[:-1], reward=reward, terminated=ended,
        quality=tuple([*flags, *flags_of(mapping, near, base_ns)]),
    )  # fmt: skip


def _within(track: Track, start: np.int64, end: np.int64) -> Track:
    """The samples from the last before `start` to the first after `end`."""
    first = max(int(np.searchsorted(track.time_ns, start, side="right")) - 1, 0)
    last = int(np.searchsorted(track.time_ns, end, side="left")) + 1
    return Track(track.time_ns[first:last], track.values[first:last])


def _columns(
    mapping: Mapping, layout: Layout, tracks: dict[str, Track], grid: np.ndarray, key: object = None
) -> tuple[np.ndarray, np.ndarray]:
    """float64 [T+1, width] finite and bool [T+1, width] of the channels of `layout`."""
    values, valid = np.zeros((len(grid), layout.width)), np.zeros((len(grid), layout.width), dtype=bool)
    by_name = {c.name: c for c in mapping.channels}
    for channel in layout.channels:
        columns, source = layout[channel.name], by_name[channel.name]
        track = tracks.get(key(channel.name) if callable(key) else channel.name)
        if track is None:
            values[:, columns] = source.default or 0.0
            valid[:, columns] = source.default is not None and channel.role != Role.STATE
            continue
        found = _sampled(source, track, grid)
        values[:, columns], valid[:, columns] = found.values, found.valid[:, None]
    return values, valid


def _sampled(source: ChannelMap, track: Track, grid: np.ndarray) -> Sampled:
    held = source.role in _HELD
    mode = source.resample
    if mode == "auto":
        mode = "hold" if held or source.kind in DISCRETE else "linear"
    if not len(track.time_ns):
        track = Track(grid[:1], np.full((1, track.values.shape[1]), np.nan))
    return on_grid(track, source.kind, mode, grid, fill=source.default or 0.0, held_valid=held)


def _first_of(mapping: Mapping, tracks: dict[str, Track], role: Role) -> tuple[ChannelMap, Track] | None:
    return next(((c, tracks[c.name]) for c in mapping.channels if c.role == role and c.name in tracks), None)


def _reward(mapping: Mapping, tracks: dict[str, Track], grid: np.ndarray) -> np.ndarray:
    """float64 [T], NaN where none was logged."""
    found = _first_of(mapping, tracks, Role.REWARD)
    if found is None:
        return np.full(len(grid) - 1, np.nan)
    sampled = _sampled(*found, grid)
    return np.where(sampled.valid, sampled.values[:, 0], np.nan)[:-1]


def _ended(mapping: Mapping, tracks: dict[str, Track], grid: np.ndarray) -> bool:
    """Did the last interval, or what was logged of it after the last grid time, report a termination."""
    found = _first_of(mapping, tracks, Role.TERMINATION)
    if found is None:
        return False
    track = found[1]
    return bool((np.nan_to_num(track.values[track.time_ns > grid[-2]]) != 0).any())


def _context(mapping: Mapping, tracks: dict[str, Track]) -> dict[str, str]:
    """Channels that are constant within an episode, as tags: their first measured value."""
    tags = {}
    for channel in mapping.channels:
        track = tracks.get(channel.name) if channel.role == Role.CONTEXT else None
        if track is not None and np.isfinite(track.values[:, 0]).any():
            value = float(track.values[np.isfinite(track.values[:, 0]), 0][0])
            labels = channel.labels
            tags[channel.name] = labels[int(value)] if labels and 0 <= value < len(labels) else repr(value)
    return tags
