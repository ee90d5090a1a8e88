"""Assignments: what a robot is to run next, under a key that makes asking twice harmless."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.catalog.campaigns import require_campaign
from storage.catalog.repository import Repository, from_text, now_ns, to_text
from storage.catalog.robots import require_robot
from storage.catalog.tables import artefacts, assignments
from storage.contracts.errors import ConflictError, UnknownName


@dataclass(frozen=True)
class AssignmentRow:
    """`plan` is JSON for the robot; `policy` the digest of a policy artefact, None when the plan needs none.

    `logs` are the digests of the raw logs that the robot brought home, in the order of the plan (none while it is
    open).
    """

    id: int
    key: str
    robot: str
    plan: dict[str, Any]
    policy: str | None
    campaign: str | None
    iteration: int | None
    state: str
    logs: tuple[str, ...]
    created_ns: int
    completed_ns: int | None


class Assignments(Repository):
    """What robots were told to do."""

    def assign(
        self,
        key: str,
        robot: str,
        plan: dict[str, Any],
        policy: str | None,
        campaign: str | None = None,
        iteration: int | None = None,
    ) -> AssignmentRow:
        """Adds an assignment; the same again returns it.

        Raises ConflictError if the key stands for another one, UnknownName for an unknown robot or policy.
        """
        values = {
            "key": key,
            "robot": robot,
            "plan": to_text(plan),
            "policy": policy,
            "campaign": campaign,
            "iteration": iteration,
        }

        def action(connection: Connection) -> AssignmentRow:
            require_robot(connection, robot)
            require_policy(connection, policy)
            require_campaign(connection, campaign)
            self._db.insert_if_absent(connection, assignments, values | {"state": "open", "created_ns": now_ns()})
            found = connection.execute(select(assignments).where(assignments.c.key == key)).one()
            for name in ("robot", "plan", "policy"):
                if found._mapping[name] != values[name]:
                    raise ConflictError(f"assignment '{key}' exists with another {name}")
            return _row(found)

        return self._db.write(action)

    def next_for(self, robot: str) -> AssignmentRow | None:
        """The oldest unfinished assignment of a robot. Raises UnknownName for an unknown robot."""

        def action(connection: Connection) -> AssignmentRow | None:
            mine = select(assignments).where(assignments.c.robot == robot, assignments.c.state == "open")
            row = connection.execute(mine.order_by(assignments.c.id).limit(1)).first()
            if row is None:
                require_robot(connection, robot)
                return None
            return _row(row)

        return self._db.read(action)

    def complete(self, id: int, logs: Sequence[str] = ()) -> AssignmentRow:
        """Marks an assignment as done by the logs with these digests; again is a no-op."""

        def action(connection: Connection) -> AssignmentRow:
            still_open = (assignments.c.id == id) & (assignments.c.state == "open")
            values = {"state": "done", "logs": to_text(list(logs)), "completed_ns": now_ns()}
            connection.execute(update(assignments).where(still_open).values(**values))
            return _get(connection, id)

        return self._db.write(action)

    def get(self, id: int) -> AssignmentRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, id))

    def list(
        self,
        robot: str | None = None,
        campaign: str | None = None,
        iteration: int | None = None,
        state: str | None = None,
    ) -> list[AssignmentRow]:
        """Assignments, oldest first."""
        query = select(assignments).order_by(assignments.c.id)
        wanted = {"robot": robot, "campaign": campaign, "iteration": iteration, "state": state}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(assignments.c[name] == value)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])


def require_policy(connection: Connection, digest: str | None) -> None:
    if digest is None:
        return
    kind = connection.execute(select(artefacts.c.kind).where(artefacts.c.digest == digest)).scalar()
    if kind != "policy":
        raise UnknownName("policy", digest, None, remedy="Add the policy as an artefact before it is assigned.")


def _get(connection: Connection, id: int) -> AssignmentRow:
    row = connection.execute(select(assignments).where(assignments.c.id == id)).first()
    if row is None:
        raise UnknownName("assignment", str(id), None)
    return _row(row)


def _row(row: Row[Any]) -> AssignmentRow:
    values = {"plan": from_text(row.plan), "logs": tuple(from_text(row.logs) or ())}
    return AssignmentRow(**dict(row._mapping) | values)
