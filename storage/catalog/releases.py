"""Releases: which policy runs on a kind of robot, from staged over canary to released, or rolled back.

The row is the wish; whoever deploys compares it with what the robots run. This module deploys nothing.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.catalog.assignments import require_policy
from storage.catalog.campaigns import require_campaign
from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import releases
from storage.contracts.errors import ConflictError, UnknownName

_NEXT = {
    "staged": frozenset({"canary", "released", "rolled_back"}),
    "canary": frozenset({"released", "rolled_back"}),
    "released": frozenset({"rolled_back"}),
    "rolled_back": frozenset[str](),
}


@dataclass(frozen=True)
class ReleaseRow:
    """One policy on its way to the robots with specification `spec_name`."""

    id: int
    key: str
    spec_name: str
    policy: str
    state: str
    campaign: str | None
    detail: str
    version: int
    created_ns: int
    updated_ns: int


class Releases(Repository):
    """Policies on their way to the robots."""

    def stage(self, key: str, spec_name: str, policy: str, campaign: str | None = None) -> ReleaseRow:
        """Stages a policy under a key; the same again returns the row. Raises UnknownName for an unknown policy."""
        values = {"key": key, "spec_name": spec_name, "policy": policy, "campaign": campaign}

        def action(connection: Connection) -> ReleaseRow:
            require_policy(connection, policy)
            require_campaign(connection, campaign)
            now = now_ns()
            row = values | {"state": "staged", "detail": "", "version": 1, "created_ns": now, "updated_ns": now}
            self._db.insert_if_absent(connection, releases, row)
            found = _row(connection.execute(select(releases).where(releases.c.key == key)).one())
            if (found.spec_name, found.policy) != (spec_name, policy):
                raise ConflictError(f"release '{key}' exists with policy {found.policy} for '{found.spec_name}'")
            return found

        return self._db.write(action)

    def move(self, id: int, state: str, detail: str = "") -> ReleaseRow:
        """Moves a release on: staged, canary, released, rolled_back; never back. The same state again is a no-op."""

        def action(connection: Connection) -> ReleaseRow:
            row = _get(connection, id)
            if row.state == state:
                return row
            if state not in _NEXT[row.state]:
                allowed = ", ".join(sorted(_NEXT[row.state])) or "nothing else"
                raise ConflictError(f"release {id} is {row.state}; it can become {allowed}, not {state}")
            values = {"state": state, "detail": detail, "version": row.version + 1, "updated_ns": now_ns()}
            mine = (releases.c.id == id) & (releases.c.version == row.version)
            if connection.execute(update(releases).where(mine).values(**values)).rowcount != 1:
                raise ConflictError(f"release {id} was changed by somebody else")
            return _get(connection, id)

        return self._db.write(action)

    def current(self, spec_name: str) -> ReleaseRow | None:
        """The latest release in state `released` for this kind of robot."""
        query = select(releases).where(releases.c.spec_name == spec_name, releases.c.state == "released")

        def action(connection: Connection) -> ReleaseRow | None:
            row = connection.execute(query.order_by(releases.c.id.desc()).limit(1)).first()
            return None if row is None else _row(row)

        return self._db.read(action)

    def list(self, spec_name: str | None = None) -> list[ReleaseRow]:
        """Releases, oldest first."""
        query = select(releases).order_by(releases.c.id)
        if spec_name is not None:
            query = query.where(releases.c.spec_name == spec_name)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])


def _get(connection: Connection, id: int) -> ReleaseRow:
    row = connection.execute(select(releases).where(releases.c.id == id)).first()
    if row is None:
        raise UnknownName("release", str(id), None)
    return _row(row)


def _row(row: Row[Any]) -> ReleaseRow:
    return ReleaseRow(**row._mapping)
