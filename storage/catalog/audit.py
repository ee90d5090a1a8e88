"""The audit trail: who did what to whom, and whether it was allowed. Rows are only ever added.

`events` tells what happened to the engine's work; this tells who is answerable for it.
"""

from dataclasses import dataclass

from sqlalchemy import insert, select

from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import audit


@dataclass(frozen=True)
class AuditRow:
    """`actor` is `robot:SERIAL`, `operator:NAME`, `installation` or `nobody`; `outcome`: done or refused."""

    id: int
    at_ns: int
    actor: str
    role: str
    action: str
    subject: str
    outcome: str
    detail: str


class Audit(Repository):
    """The audit trail."""

    def record(
        self, actor: str, action: str, subject: str, *, role: str = "", outcome: str = "done", detail: str = ""
    ) -> None:
        values = {
            "at_ns": now_ns(), "actor": _clean(actor), "role": role, "action": action, "subject": _clean(subject),
            "outcome": outcome, "detail": _clean(detail),
        }  # fmt: skip
        self._db.write(lambda connection: connection.execute(insert(audit).values(**values)))

    def list(
        self,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditRow]:
        """Newest first; `before` is the id to go on from."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        for column, value in (("actor", actor), ("action", action), ("subject", subject)):
            if value is not None:
                query = query.where(audit.c[column] == value)
        if before is not None:
            query = query.where(audit.c.id < before)
        return self._db.read(lambda connection: [AuditRow(**row._mapping) for row in connection.execute(query)])


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:500]
