"""What unnamed channels have to do with each other, found in logs: sine and cosine of one angle, rates of positions.

A specification that says so itself is believed; what it leaves open is looked for. Inside, a simulator then works with
the angle and integrates what has a rate; outside, everything keeps the channels that the robot logs. Nothing here
learns by gradients, and nothing knows a robot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from storage.contracts.base import Contract
from storage.contracts.canonical import digest_of
from storage.contracts.channel import Channel, Kind, Role, wrap_angle
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec

FEWEST, _MOST_ROWS, _MOST_CHANNELS = 50, 20_000, 128
"""Transitions that relations are found from at least, and at most; specifications of more channels are left alone."""
_OFF_CIRCLE, _OFF_RATE, _CLEARLY = 0.1, 0.3, 2.0
"""Deviation that is allowed of a² + b² from 1, relative to the spread of a² and b², and of a change from its rate times
the period, relative to the change; how many times worse the next best rate of a position has to be."""
_GAP = 1.5


class Relations(Contract):
    """`angles`: (cosine, sine) of one angle each; `rates`: (position, velocity), an angle called by its cosine."""

    angles: tuple[tuple[str, str], ...] = ()
    rates: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """One sentence each, for people."""
        sine_of = dict(self.angles)
        angles = [f"{cosine} and {sine} are the cosine and the sine of one angle." for cosine, sine in self.angles]
        rates = [
            f"{velocity} is the rate of {'the angle of ' if position in sine_of else ''}{position}."
            for position, velocity in self.rates
        ]
        return (*angles, *rates)


@dataclass(frozen=True, eq=False)
class View:
    """A robot's columns [..., S] as it logs them, and refined [..., R], with angles in place of their sine and cosine.

    `kept` of the own columns stand in `kept_at` of the refined ones; `cosine`, `sine` become `angle`.
    """

    own: RobotSpec
    refined: RobotSpec
    relations: Relations
    kept: np.ndarray
    kept_at: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    angle: np.ndarray

    @classmethod
    def of(cls, spec: RobotSpec, relations: Relations) -> "View":
        refined = _refined(spec, relations)
        before, after = spec.state_layout, refined.state_layout
        apart = {name for pair in relations.angles for name in pair}
        kept = [c for c in before.channels if c.name not in apart]
        columns = [np.arange(layout[c.name].start, layout[c.name].stop) for layout in (before, after) for c in kept]
        none = np.zeros(0, dtype=np.int64)
        return cls(
            spec,
            refined,
            relations,
            np.concatenate([none, *columns[: len(kept)]]),
            np.concatenate([none, *columns[len(kept) :]]),
            np.array([before[cosine].start for cosine, _ in relations.angles], dtype=np.int64),
            np.array([before[sine].start for _, sine in relations.angles], dtype=np.int64),
            np.array([after[_angle_name(cosine)].start for cosine, _ in relations.angles], dtype=np.int64),
        )

    def refine(self, columns: Tensor) -> Tensor:
        """[..., S] to [..., R]; differentiable."""
        out = columns.new_zeros(*columns.shape[:-1], self.refined.state_layout.width)
        out = out.index_copy(-1, _index(self.kept_at, out), columns[..., self.kept])
        turned = torch.atan2(columns[..., self.sine], columns[..., self.cosine])
        return out.index_copy(-1, _index(self.angle, out), turned)

    def restore(self, columns: Tensor) -> Tensor:
        """[..., R] to [..., S]; differentiable."""
        out = columns.new_zeros(*columns.shape[:-1], self.own.state_layout.width)
        out = out.index_copy(-1, _index(self.kept, out), columns[..., self.kept_at])
        angle = columns[..., self.angle]
        out = out.index_copy(-1, _index(self.cosine, out), torch.cos(angle))
        return out.index_copy(-1, _index(self.sine, out), torch.sin(angle))

    def episode(self, episode: Episode) -> Episode:
        """The episode in refined columns; an angle is valid where its sine and cosine are."""
        refined = _refined_as(self, episode.spec)
        state = np.zeros((len(episode.state), refined.state_layout.width))
        valid = np.zeros(state.shape, dtype=bool)
        state[:, self.kept_at], valid[:, self.kept_at] = episode.state[:, self.kept], episode.state_valid[:, self.kept]
        state[:, self.angle] = np.arctan2(episode.state[:, self.sine], episode.state[:, self.cosine])
        valid[:, self.angle] = episode.state_valid[:, self.sine] & episode.state_valid[:, self.cosine]
        return replace(episode, spec=refined, state=state, state_valid=valid)


def channels_key(spec: RobotSpec) -> str:
    """Equal for robots whose state channels have equal names and kinds: what relations belong to."""
    return digest_of([[c.name, c.kind, c.size, c.entity, c.derivative_of] for c in spec.state_layout.channels])


def find(episodes: Sequence[Episode]) -> Relations:
    """Relations that hold in all of `episodes`, which have equal channels; none where there is too little to tell."""
    spec = episodes[0].spec
    channels = undetermined(spec)
    if not 2 <= len(channels) <= _MOST_CHANNELS:
        return Relations()
    columns = [spec.state_layout[c.name].start for c in channels]
    now, then, dt = _transitions(episodes, columns)
    if len(now) < FEWEST:
        return Relations()
    names = [c.name for c in channels]
    angles = _angles(now)
    taken = {i for pair in angles for i in pair}
    free = [i for i in range(len(names)) if i not in taken]
    positions = {i: (now[:, i], then[:, i] - now[:, i]) for i in free}
    for cosine, sine in angles:
        turned = [np.arctan2(rows[:, sine], rows[:, cosine]) for rows in (now, then)]
        positions[cosine] = (turned[0], wrap_angle(turned[1] - turned[0]))
    found = _rates(positions, free, angles, now, then, dt)
    backwards = {position for position, _, sign in found if sign < 0}
    ordered = [(s, c) if c in backwards else (c, s) for c, s in angles]
    called = {c: ordered[i][0] for i, (c, _) in enumerate(angles)}
    return Relations(
        angles=tuple((names[c], names[s]) for c, s in ordered),
        rates=tuple((names[called.get(p, p)], names[v]) for p, v, _ in found),
    )


def _angles(rows: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of columns of `rows` [n, C] that lie on the unit circle, the closest first, each column once."""
    squares = rows**2
    spread = squares.std(axis=0)
    found = []
    for a in range(rows.shape[1]):
        off = np.sqrt(((squares[:, a : a + 1] + squares - 1.0) ** 2).mean(axis=0))
        for b in range(a + 1, rows.shape[1]):
            varies = min(spread[a], spread[b])
            if varies > 1e-9 and off[b] < _OFF_CIRCLE * varies:
                found.append((float(off[b] / varies), a, b, 1))
    return [(a, b) for _, a, b, _ in _once(found)]


def _rates(
    positions: dict[int, tuple[np.ndarray, np.ndarray]], free: list[int], angles: list[tuple[int, int]],
    now: np.ndarray, then: np.ndarray, dt: np.ndarray,
) -> list[tuple[int, int, int]]:  # fmt: skip
    """(position, velocity, sign): changes that are a velocity times the period, whichever way it was integrated. An
    angle whose sine and cosine were taken the wrong way round turns backwards: sign -1."""
    turning = {cosine for cosine, _ in angles}
    found = []
    for position, (_, change) in positions.items():
        size = float(np.sqrt((change**2).mean()))
        if size < 1e-9:
            continue
        tried = []
        for velocity in free:
            if velocity == position or float(now[:, velocity].std()) < 1e-9:
                continue
            ways = (now[:, velocity], then[:, velocity], 0.5 * (now[:, velocity] + then[:, velocity]))
            for sign in (1, -1) if position in turning else (1,):
                off = min(float(np.sqrt(((change - sign * way * dt) ** 2).mean())) for way in ways) / size
                tried.append((off, position, velocity, sign))
        tried.sort()
        others = [off for off, _, velocity, _ in tried if velocity != tried[0][2]]
        if tried and tried[0][0] < min([_OFF_RATE, *(off / _CLEARLY for off in others)]):
            found.append(tried[0])
    return [(position, velocity, sign) for _, position, velocity, sign in _once(found)]


def _once(found: list[tuple[float, int, int, int]]) -> list[tuple[float, int, int, int]]:
    """(how far off, column, column, sign), the best first, each column in one relation only."""
    taken: set[int] = set()
    kept = []
    for row in sorted(found):
        if row[1] not in taken and row[2] not in taken:
            taken |= {row[1], row[2]}
            kept.append(row)
    return kept


def undetermined(spec: RobotSpec) -> list[Channel]:
    """Single numbers of which the specification says neither that they are a rate nor that they have one."""
    parents = {c.derivative_of for c in spec.channels}
    return [
        c
        for c in spec.state_layout.channels
        if c.kind in (Kind.SCALAR, Kind.LINEAR) and c.size == 1 and c.derivative_of is None and c.name not in parents
    ]


def _transitions(episodes: Sequence[Episode], columns: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [n, C], the rows after them, and the seconds between, where nothing is missing."""
    parts = []
    for episode in episodes:
        state = np.where(episode.state_valid, episode.state, np.nan)[:, columns]
        dt = np.diff(episode.time_ns) * 1e-9
        missing = np.isnan(state).sum(axis=1)
        gone = missing[1:] + missing[:-1]
        gone[list(episode.resets)] = 1
        usable = (gone == 0) & (dt < _GAP * episode.spec.period_s)
        parts.append((state[:-1][usable], state[1:][usable], dt[usable]))
    now, then, dt = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(now) > _MOST_ROWS:
        rows = np.linspace(0, len(now) - 1, _MOST_ROWS).astype(int)
        now, then, dt = now[rows], then[rows], dt[rows]
    return now, then, dt


def _refined(spec: RobotSpec, relations: Relations) -> RobotSpec:
    """`spec` with what was found said in it. Sines go; their cosines become angles."""
    cosines, sines = {c for c, _ in relations.angles}, {s for _, s in relations.angles}
    position_of = {velocity: position for position, velocity in relations.rates}
    channels = []
    for channel in spec.channels:
        if channel.name in sines and channel.role == Role.STATE:
            continue
        if channel.name in cosines:
            told = {"name": _angle_name(channel.name), "kind": Kind.ANGLE, "unit": "rad", "limits": None}
            channel = channel.model_copy(update=told)
        elif channel.name in position_of:
            position = position_of[channel.name]
            parent = _angle_name(position) if position in cosines else position
            channel = channel.model_copy(update={"kind": Kind.LINEAR, "derivative_of": parent})
        channels.append(channel)
    return spec.model_copy(update={"channels": tuple(channels)})


def _refined_as(view: View, spec: RobotSpec) -> RobotSpec:
    """The refined specification of another robot with the same channels: its entities may differ."""
    if spec.digest == view.own.digest:
        return view.refined
    return spec.model_copy(update={"channels": view.refined.channels})


def _angle_name(cosine: str) -> str:
    return f"{cosine}_angle"


def _index(columns: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(columns).to(like.device)
