"""Pages of episodes by robot, time, policy, outcome, tags and coverage, newest recording first, and their totals.

Every page is a range of one index (keyset pagination: a page begins after the last row of the one before), so that the
thousandth page of a million episodes costs what the first one does. Totals come from counters kept with each insertion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from storage.catalog.episodes import EpisodeRow, episode_row
from storage.catalog.repository import Repository
from storage.catalog.tables import episode_counts, episode_tags, episodes

Cursor = tuple[int, str]
"""(start_ns, sha256) of the last row of a page."""


@dataclass(frozen=True)
class EpisodeFilter:
    """None means any. `start_ns` is half-open, by the robots' clocks; coverage limits are inclusive, 0 to 1."""

    robot: str | None = None
    spec_name: str | None = None
    policy: str | None = None
    outcome: str | None = None
    split: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    coverage_min: float | None = None
    coverage_max: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeTotal:
    """`duration_s` is summed over the episodes."""

    robot: str
    spec_name: str
    outcome: str
    episodes: int
    duration_s: float


class EpisodePages(Repository):
    """Queries for people and pages; flows use `Episodes.find`."""

    def page(self, wanted: EpisodeFilter, *, after: Cursor | None = None, limit: int = 50) -> list[EpisodeRow]:
        """At most `limit` episodes after the cursor, newest recording first."""
        query = _query(wanted, after).limit(limit)
        return self._db.read(lambda connection: [episode_row(row) for row in connection.execute(query)])

    def totals(self, robot: str | None = None) -> list[EpisodeTotal]:
        """Counts by robot, specification and outcome, from the counters."""
        query = select(episode_counts).order_by(episode_counts.c.robot, episode_counts.c.outcome)
        if robot is not None:
            query = query.where(episode_counts.c.robot == robot)
        return self._db.read(lambda connection: [EpisodeTotal(**row._mapping) for row in connection.execute(query)])

    def grand_total(self) -> tuple[int, float]:
        """(episodes, seconds) of all robots."""
        query = select(func.coalesce(func.sum(episode_counts.c.episodes), 0), func.sum(episode_counts.c.duration_s))
        number, seconds = self._db.read(lambda connection: tuple(connection.execute(query).one()))
        return int(number), float(seconds or 0.0)


def _query(wanted: EpisodeFilter, after: Cursor | None) -> Select[Any]:
    table = episodes
    tags = sorted(wanted.tags.items())
    query = select(table)
    time, digest = table.c.start_ns, table.c.sha256
    if tags:  # the first tag leads: its index holds the order too
        (key, value), *tags = tags
        query = query.join(episode_tags, episode_tags.c.episode == table.c.sha256)
        query = query.where(episode_tags.c.key == key, episode_tags.c.value == value)
        time, digest = episode_tags.c.start_ns, episode_tags.c.episode
    for key, value in tags:
        tagged = select(episode_tags.c.episode).where(episode_tags.c.key == key, episode_tags.c.value == value)
        query = query.where(table.c.sha256.in_(tagged))
    for name in ("robot", "spec_name", "policy", "outcome", "split"):
        if getattr(wanted, name) is not None:
            query = query.where(table.c[name] == getattr(wanted, name))
    if wanted.from_ns is not None:
        query = query.where(time >= wanted.from_ns)
    if wanted.to_ns is not None:
        query = query.where(time < wanted.to_ns)
    if wanted.coverage_min is not None:
        query = query.where(table.c.coverage >= wanted.coverage_min)
    if wanted.coverage_max is not None:
        query = query.where(table.c.coverage <= wanted.coverage_max)
    if after is not None:
        # `start_ns <=` lets the index range begin at the cursor; the rest settles equal times.
        query = query.where(time <= after[0], or_(time < after[0], and_(time == after[0], digest < after[1])))
    return query.order_by(time.desc(), digest.desc())
