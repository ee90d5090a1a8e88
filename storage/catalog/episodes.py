"""Episodes: facts of each stored episode, for queries. The arrays are in the object store under `sha256`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, select, update

from storage.catalog.repository import Repository, batches, from_text, now_ns, to_text
from storage.catalog.robots import add_spec, require_robot
from storage.catalog.tables import artefacts, episode_counts, episode_tags, episodes
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, UnknownName

_MAX_TAG_BYTES = 1000
UNKNOWN = "unknown"


@dataclass(frozen=True)
class EpisodeRow:
    """`start_ns` and `end_ns` are the robot's own clock.

    `policy` is what the log says; `upload` and `assignment` are ids.
    """

    sha256: str
    robot: str
    spec_digest: str
    spec_name: str
    upload: int | None
    assignment: int | None
    raw_sha256: str
    mapping_sha256: str | None
    converter: str
    part: int
    policy: str | None
    policy_artefact: str | None
    start_ns: int
    end_ns: int
    steps: int
    duration_s: float
    split: str | None
    tags: dict[str, str]
    added_ns: int
    outcome: str = UNKNOWN
    """The tag `outcome` if there is one, else `terminated`, `truncated` or `unknown`."""
    coverage: float | None = None
    """Share of the state's values that were measured, 0 to 1; None for rows of before it was kept."""


class Episodes(Repository):
    """The stored episodes."""

    def add(
        self,
        sha256: str,
        episode: Episode,
        upload_id: int | None = None,
        split: str | None = None,
        assignment: int | None = None,
    ) -> EpisodeRow:
        """Notes an episode whose bytes are stored already.

        The first row of a digest stays; adding it again returns it.
        """
        return self.add_many([(sha256, episode)], upload_id=upload_id, split=split, assignment=assignment)[0]

    def add_many(
        self,
        found: Iterable[tuple[str, Episode]],
        *,
        upload_id: int | None = None,
        split: str | None = None,
        assignment: int | None = None,
    ) -> list[EpisodeRow]:
        """`add` for several at once, all or none.

        Raises UnknownName for an unknown robot, ContractError for odd tags.
        """
        pairs = list(found)
        for _, episode in pairs:
            _check_tags(episode.tags)

        def action(connection: Connection) -> list[EpisodeRow]:
            added: list[dict[str, Any]] = []
            for sha256, episode in pairs:
                require_robot(connection, episode.robot)
                add_spec(self._db, connection, episode.spec)
                values = _values(connection, sha256, episode) | {
                    "upload": upload_id,
                    "split": split,
                    "assignment": assignment,
                }
                if self._db.insert_if_absent(connection, episodes, values):
                    _tag(connection, sha256, episode.tags, values["start_ns"])
                    added.append(values)
            self._count(connection, added)
            return _fetch(connection, [sha256 for sha256, _ in pairs])

        return self._db.write(action)

    def get(self, sha256: str) -> EpisodeRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _fetch(connection, [sha256])[0])

    def get_many(self, digests: Sequence[str]) -> list[EpisodeRow]:
        """Rows in the order of `digests`. Raises UnknownName for the first that is not there."""
        return self._db.read(lambda connection: _fetch(connection, list(digests)))

    def find(
        self,
        robots: Iterable[str] | None = None,
        spec_name: str | None = None,
        policy: str | None = None,
        tags: Mapping[str, str] | None = None,
        assignment: int | None = None,
        upload_ids: Iterable[int] | None = None,
        start_ns: tuple[int, int] | None = None,
        split: str | None = None,
        raw_logs: Iterable[str] | None = None,
    ) -> list[EpisodeRow]:
        """Episodes that meet all conditions, ordered by robot, start, raw file, part and digest.

        None means any; an empty `robots`, `upload_ids` or `raw_logs` (digests of raw files) finds nothing. `start_ns`
        is a half-open range.
        """
        query = select(episodes)
        equal = {"spec_name": spec_name, "policy": policy, "assignment": assignment, "split": split}
        for name, value in equal.items():
            if value is not None:
                query = query.where(episodes.c[name] == value)
        for key, value in sorted((tags or {}).items()):
            tagged = select(episode_tags.c.episode).where(episode_tags.c.key == key, episode_tags.c.value == value)
            query = query.where(episodes.c.sha256.in_(tagged))
        if start_ns is not None:
            query = query.where(episodes.c.start_ns >= start_ns[0], episodes.c.start_ns < start_ns[1])
        queries = _split(_split([query], "robot", robots), "upload", upload_ids)
        queries = _split(queries, "raw_sha256", raw_logs)

        def action(connection: Connection) -> list[EpisodeRow]:
            return sorted((episode_row(row) for one in queries for row in connection.execute(one)), key=_order)

        return self._db.read(action)

    def _count(self, connection: Connection, added: list[dict[str, Any]]) -> None:
        """Keeps the totals by robot, specification and outcome, so that no page has to count rows."""
        table, sums = episode_counts, dict[tuple[str, str, str], tuple[int, float]]()
        for row in added:
            key = (row["robot"], row["spec_name"], row["outcome"])
            number, seconds = sums.get(key, (0, 0.0))
            sums[key] = (number + 1, seconds + row["duration_s"])
        for (robot, spec_name, outcome), (number, seconds) in sorted(sums.items()):  # one order: no deadlock
            values = {"robot": robot, "spec_name": spec_name, "outcome": outcome, "episodes": 0, "duration_s": 0.0}
            self._db.insert_if_absent(connection, table, values)
            where = (table.c.robot == robot, table.c.spec_name == spec_name, table.c.outcome == outcome)
            change = {"episodes": table.c.episodes + number, "duration_s": table.c.duration_s + seconds}
            connection.execute(update(table).where(*where).values(**change))


def _tag(connection: Connection, sha256: str, tags: Mapping[str, str], start_ns: int) -> None:
    rows = [{"episode": sha256, "key": k, "value": v, "start_ns": start_ns} for k, v in sorted(tags.items())]
    if rows:
        connection.execute(episode_tags.insert(), rows)


def _outcome(episode: Episode) -> str:
    ended = "terminated" if episode.terminated else "truncated" if episode.truncated else UNKNOWN
    return episode.tags.get("outcome", ended)[:80]


def _split(queries: list[Select[Any]], column: str, values: Iterable[Any] | None) -> list[Select[Any]]:
    if values is None:
        return queries
    wanted = sorted(set(values))
    return [query.where(episodes.c[column].in_(part)) for query in queries for part in batches(wanted)]


def _order(row: EpisodeRow) -> tuple[str, int, str, int, str]:
    return (row.robot, row.start_ns, row.raw_sha256, row.part, row.sha256)


def _values(connection: Connection, sha256: str, episode: Episode) -> dict[str, Any]:
    known = None
    if episode.policy is not None:
        known = connection.execute(select(artefacts.c.digest).where(artefacts.c.digest == episode.policy)).scalar()
    return {
        "sha256": sha256,
        "robot": episode.robot,
        "spec_digest": episode.spec.digest,
        "spec_name": episode.spec.name,
        "raw_sha256": episode.provenance.raw_sha256,
        "mapping_sha256": episode.provenance.mapping_sha256,
        "converter": episode.provenance.converter,
        "part": episode.provenance.part,
        "policy": episode.policy,
        "policy_artefact": known,
        "start_ns": int(episode.time_ns[0]),
        "end_ns": int(episode.time_ns[-1]),
        "steps": episode.steps,
        "duration_s": episode.duration_s,
        "tags": to_text(episode.tags),
        "added_ns": now_ns(),
        "outcome": _outcome(episode),
        "coverage": float(np.mean(episode.state_valid)) if episode.state_valid.size else None,
    }


def _check_tags(tags: Mapping[str, str]) -> None:
    """Tags are indexed: short, and free of what one of the databases cannot hold."""
    for pair in tags.items():
        for text in pair:
            if not isinstance(text, str) or "\0" in text or len(text.encode(errors="replace")) > _MAX_TAG_BYTES:
                raise ContractError(
                    f"tag {str(pair)[:80]} cannot be kept; both are text of at most {_MAX_TAG_BYTES} bytes, no NUL"
                )


def _fetch(connection: Connection, digests: list[str]) -> list[EpisodeRow]:
    rows: dict[str, EpisodeRow] = {}
    for part in batches(digests):
        rows |= {
            row.sha256: episode_row(row)
            for row in connection.execute(select(episodes).where(episodes.c.sha256.in_(part)))
        }
    for digest in digests:
        if digest not in rows:
            raise UnknownName("episode", digest, None)
    return [rows[digest] for digest in digests]


def episode_row(row: Row[Any]) -> EpisodeRow:
    """A row of the table as a value."""
    values = dict(row._mapping)
    return EpisodeRow(**values | {"tags": from_text(values["tags"])})
