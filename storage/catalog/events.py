"""Events: what happened, in order, for people and dashboards. No decision rests on them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from storage.catalog.repository import Repository, from_text, now_ns, to_text
from storage.catalog.tables import events


@dataclass(frozen=True)
class EventRow:
    """`kind` is a stable word, `subject` the name of what it happened to, `data` JSON."""

    id: int
    at_ns: int
    kind: str
    subject: str
    data: dict[str, Any]


class Events(Repository):
    """The log of the engine."""

    def record(self, kind: str, subject: str, data: dict[str, Any] | None = None) -> int:
        """Appends an event and returns its id."""
        values = {"at_ns": now_ns(), "kind": kind, "subject": subject, "data": to_text(data or {})}

        def action(connection: Connection) -> int:
            return int(connection.execute(insert(events).values(**values).returning(events.c.id)).scalar_one())

        return self._db.write(action)

    def list(
        self, kind: str | None = None, subject: str | None = None, limit: int = 100, after_id: int | None = None
    ) -> list[EventRow]:
        """The last `limit` events, oldest first; with `after_id`, the first `limit` after it."""
        query = select(events).limit(limit)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        query = (
            query.order_by(events.c.id.desc())
            if after_id is None
            else query.where(events.c.id > after_id).order_by(events.c.id)
        )

        def action(connection: Connection) -> list[EventRow]:
            rows = [EventRow(**dict(row._mapping) | {"data": from_text(row.data)}) for row in connection.execute(query)]
            return sorted(rows, key=lambda row: row.id)

        return self._db.read(action)
