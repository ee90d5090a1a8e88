"""Approvals: questions to a person that a step of a campaign waits for, and their answers. An answer is given once."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.catalog.campaigns import require_campaign
from storage.catalog.repository import Repository, from_text, now_ns, to_text
from storage.catalog.tables import approvals
from storage.contracts.errors import ConflictError, UnknownName


@dataclass(frozen=True)
class ApprovalRow:
    """`state`: asked, granted or refused; `question` is JSON for the page that asks."""

    id: int
    campaign: str
    iteration: int
    step: str
    state: str
    question: dict[str, Any]
    decided_by: str | None
    note: str
    asked_ns: int
    decided_ns: int | None


class Approvals(Repository):
    """Questions and answers."""

    def ask(self, campaign: str, iteration: int, step: str, question: dict[str, Any]) -> ApprovalRow:
        """Asks once per (campaign, iteration, step); asking again returns the row as it stands."""
        values = {"campaign": campaign, "iteration": iteration, "step": step}

        def action(connection: Connection) -> ApprovalRow:
            require_campaign(connection, campaign)
            row = values | {"state": "asked", "question": to_text(question), "note": "", "asked_ns": now_ns()}
            self._db.insert_if_absent(connection, approvals, row)
            mine = [approvals.c[name] == value for name, value in values.items()]
            return _row(connection.execute(select(approvals).where(*mine)).one())

        return self._db.write(action)

    def decide(self, id: int, *, granted: bool, by: str, note: str = "") -> ApprovalRow:
        """Answers. The same answer again is a no-op; ConflictError if it was answered otherwise."""
        state = "granted" if granted else "refused"

        def action(connection: Connection) -> ApprovalRow:
            open_one = (approvals.c.id == id) & (approvals.c.state == "asked")
            answer = {"state": state, "decided_by": by, "note": note, "decided_ns": now_ns()}
            connection.execute(update(approvals).where(open_one).values(**answer))
            row = _get(connection, id)
            if row.state != state:
                raise ConflictError(f"approval {id} was {row.state} by {row.decided_by} already")
            return row

        return self._db.write(action)

    def get(self, id: int) -> ApprovalRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, id))

    def list(self, campaign: str | None = None, state: str | None = None) -> list[ApprovalRow]:
        """Approvals, oldest first."""
        query = select(approvals).order_by(approvals.c.id)
        if campaign is not None:
            query = query.where(approvals.c.campaign == campaign)
        if state is not None:
            query = query.where(approvals.c.state == state)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])


def _get(connection: Connection, id: int) -> ApprovalRow:
    row = connection.execute(select(approvals).where(approvals.c.id == id)).first()
    if row is None:
        raise UnknownName("approval", str(id), None)
    return _row(row)


def _row(row: Row[Any]) -> ApprovalRow:
    return ApprovalRow(**dict(row._mapping) | {"question": from_text(row.question)})
