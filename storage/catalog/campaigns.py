"""Campaigns and their iterations: what was asked for, how far it is, what came out.

Campaigns with equal arguments but for `iterations` are a family; the id of a campaign is its family and its place in
it, so that equal commands on two machines give equal ids. This module runs nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update

from storage.catalog.repository import Repository, from_text, now_ns, to_text
from storage.catalog.tables import campaigns, iterations
from storage.contracts.canonical import digest_of
from storage.contracts.errors import ConflictError, ContractError, InputError, UnknownName

Outcome = Literal["created", "resumed", "finished", "extended"]


@dataclass(frozen=True)
class CampaignRow:
    """`asked_iterations` is what it was opened with, `iterations` what it has been extended to.

    `code`: who ran it, recorded only.
    """

    id: str
    number: int
    family: str
    arguments: dict[str, Any]
    asked_iterations: int
    iterations: int
    more: int | None
    state: str
    result: dict[str, Any] | None
    code: str
    created_ns: int
    updated_ns: int


@dataclass(frozen=True)
class IterationRow:
    campaign: str
    index: int
    values: dict[str, Any]
    recorded_ns: int


class Campaigns(Repository):
    """The campaigns; their iterations are under `iterations`."""

    def open(
        self, arguments: dict[str, Any], *, new: bool = False, more: int | None = None, code: str = ""
    ) -> tuple[CampaignRow, Outcome]:
        """The campaign that a command with these arguments means. `arguments["iterations"]` is how many it asks for.

        `created`: none had equal arguments, or `new` and the last one is finished. `resumed`: one is unfinished (with
        `new` too: the command was killed and is given again). `finished`: it is done, its
        result is stored. `extended`: `more` iterations were added to the last one of the family; the same `more`
        again, while it is unfinished, is `resumed`. Raises ContractError for arguments without iterations, InputError
        when there is nothing to extend.
        """
        asked = arguments.get("iterations")
        if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
            raise ContractError(
                f"arguments['iterations'] is {asked!r}; a campaign asks for a whole number of at least 1"
            )
        if more is not None and (new or more < 1):
            raise ContractError(f"more={more} with new={new}: give either new, or more of at least 1")
        family = digest_of({key: value for key, value in arguments.items() if key != "iterations"})[:12]

        def action(connection: Connection) -> tuple[CampaignRow, Outcome]:
            members = select(campaigns).where(campaigns.c.family == family).order_by(campaigns.c.number.desc())
            while True:
                rows = [_row(row) for row in connection.execute(members.with_for_update())]
                if more is not None:
                    return _extend(connection, rows, more)
                equal = [row for row in rows if row.asked_iterations == asked]
                if equal and (equal[0].state != "finished" or not new):
                    return equal[0], "finished" if equal[0].state == "finished" else "resumed"
                id = f"{family}-{len(rows) + 1}"
                if self._create(connection, id, family, arguments, asked, code):
                    return _get(connection, id), "created"

        return self._db.write(action)

    def get(self, id: str) -> CampaignRow:
        """Raises UnknownName with the campaigns there are."""
        return self._db.read(lambda connection: _get(connection, id))

    def list(self) -> list[CampaignRow]:
        """Campaigns in the order they were opened."""
        query = select(campaigns).order_by(campaigns.c.number)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])

    def set_iterations(self, id: str, iterations: int) -> CampaignRow:
        """Sets how many iterations the campaign is to have."""
        return self._db.write(lambda connection: _change(connection, id, iterations=iterations))

    def finish(self, id: str, result: dict[str, Any]) -> CampaignRow:
        """Stores the result. The same result again is a no-op; another result is a ConflictError."""

        def action(connection: Connection) -> CampaignRow:
            row = _get(connection, id, lock=True)
            if row.state == "finished":
                if to_text(row.result) != to_text(result):
                    raise ConflictError(f"campaign '{id}' is finished already with another result")
                return row
            return _change(connection, id, state="finished", result=to_text(result))

        return self._db.write(action)

    def _create(
        self, connection: Connection, id: str, family: str, arguments: dict[str, Any], asked: int, code: str
    ) -> bool:
        """False if another writer took the id or the number first."""
        now = now_ns()
        number = 1 + (connection.execute(select(func.max(campaigns.c.number))).scalar() or 0)
        values = {"id": id, "number": number, "family": family, "arguments": to_text(arguments), "code": code}
        values |= {
            "asked_iterations": asked,
            "iterations": asked,
            "state": "running",
            "created_ns": now,
            "updated_ns": now,
        }
        return self._db.insert_if_absent(connection, campaigns, values)


class Iterations(Repository):
    """What each iteration of a campaign came to."""

    def record(self, campaign: str, index: int, values: dict[str, Any]) -> IterationRow:
        """Stores values of an iteration.

        A key keeps its first value, so that a repeated step changes nothing; new keys join.
        """

        def action(connection: Connection) -> IterationRow:
            _get(connection, campaign, lock=True)
            row = {"campaign": campaign, "index": index, "record": to_text(values), "recorded_ns": now_ns()}
            mine = (iterations.c.campaign == campaign) & (iterations.c.index == index)
            if not self._db.insert_if_absent(connection, iterations, row):
                stored = from_text(connection.execute(select(iterations.c.record).where(mine)).scalar_one())
                if values.keys() - stored.keys():
                    connection.execute(update(iterations).where(mine).values(record=to_text(values | stored)))
            return _iteration(connection.execute(select(iterations).where(mine)).one())

        return self._db.write(action)

    def list(self, campaign: str) -> list[IterationRow]:
        """Iterations of a campaign by index."""
        query = select(iterations).where(iterations.c.campaign == campaign).order_by(iterations.c.index)
        return self._db.read(lambda connection: [_iteration(row) for row in connection.execute(query)])


def _extend(connection: Connection, rows: list[CampaignRow], more: int) -> tuple[CampaignRow, Outcome]:
    if not rows:
        raise InputError("there is no campaign with these arguments to extend", remedy="Leave out --more to start one.")
    row = rows[0]
    if row.state == "running" and row.more == more:
        return row, "resumed"
    return _change(
        connection, row.id, iterations=row.iterations + more, more=more, state="running", result=None
    ), "extended"


def _change(connection: Connection, id: str, **values: Any) -> CampaignRow:
    _get(connection, id)
    connection.execute(update(campaigns).where(campaigns.c.id == id).values(**values, updated_ns=now_ns()))
    return _get(connection, id)


def require_campaign(connection: Connection, id: str | None) -> None:
    """Raises UnknownName with the campaigns there are, unless there is this one or `id` is None."""
    if id is not None:
        _get(connection, id)


def _get(connection: Connection, id: str, *, lock: bool = False) -> CampaignRow:
    query = select(campaigns).where(campaigns.c.id == id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise UnknownName("campaign", id, connection.execute(select(campaigns.c.id)).scalars())
    return _row(row)


def _row(row: Row[Any]) -> CampaignRow:
    values = dict(row._mapping)
    return CampaignRow(**values | {"arguments": from_text(values["arguments"]), "result": from_text(values["result"])})


def _iteration(row: Row[Any]) -> IterationRow:
    return IterationRow(row.campaign, row._mapping["index"], from_text(row.record), row.recorded_ns)
