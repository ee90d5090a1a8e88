"""The claim table: which step is done, which is being done and by whom.

A step is claimed before it runs and finished with a small result (digests). Whoever holds a claim renews its lease;
when the lease runs out, or the holder is a process known to be dead, the next one takes over. Every change is one
UPDATE bound to the version (or owner) that was read, and its row count decides. This module runs no step.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from storage.catalog.campaigns import require_campaign
from storage.catalog.owners import is_known_dead
from storage.catalog.repository import Repository, from_text, now_ns, to_text
from storage.catalog.tables import steps
from storage.contracts.errors import ConflictError, UnknownName


@dataclass(frozen=True)
class Claim:
    """`claimed`: run it. `done`: `result` is there. `busy`: `owner` holds it for the next `wait_s` seconds at most."""

    state: Literal["claimed", "done", "busy"]
    key: str
    version: int
    owner: str
    attempts: int
    result: dict[str, Any] | None = None
    error: str | None = None
    wait_s: float = 0.0


@dataclass(frozen=True)
class StepRow:
    """`state`: running, done or failed; `attempts` counts claims; `code` is the version of the code that ran it."""

    key: str
    name: str
    campaign: str | None
    iteration: int | None
    state: str
    owner: str
    lease_s: int
    lease_until_ns: int
    version: int
    attempts: int
    result: dict[str, Any] | None
    error: str | None
    code: str
    claimed_ns: int
    ended_ns: int | None


class Steps(Repository):
    """The steps by key."""

    def claim(
        self,
        key: str,
        *,
        owner: str,
        name: str,
        campaign: str | None = None,
        iteration: int | None = None,
        lease_s: float = 60,
        code: str = "",
    ) -> Claim:
        """Claims a step, unless it is done or somebody alive holds it.

        An owner may claim again what it holds already.
        """
        lease_ns = int(lease_s * 1e9)

        def action(connection: Connection) -> Claim:
            require_campaign(connection, campaign)
            now = now_ns()
            holding = {
                "state": "running",
                "owner": owner,
                "lease_s": max(1, int(lease_s)),
                "lease_until_ns": now + lease_ns,
                "code": code,
                "claimed_ns": now,
            }
            identity = {"key": key, "name": name, "campaign": campaign, "iteration": iteration}
            if self._db.insert_if_absent(connection, steps, identity | holding | {"version": 1, "attempts": 1}):
                return Claim("claimed", key, 1, owner, 1)
            row = _get(connection, key)
            if row.state == "done":
                return Claim("done", key, row.version, row.owner, row.attempts, result=row.result)
            if row.state == "running" and row.owner != owner and not _is_forsaken(row, now):
                return _busy(row, now)
            taken = connection.execute(
                update(steps)
                .where(steps.c.key == key, steps.c.version == row.version)
                .values(**holding, version=row.version + 1, attempts=row.attempts + 1, ended_ns=None)
            )
            if taken.rowcount != 1:
                return _busy(_get(connection, key), now)
            return Claim("claimed", key, row.version + 1, owner, row.attempts + 1, error=row.error)

        return self._db.write(action)

    def heartbeat(self, key: str, owner: str) -> int:
        """Renews the lease and returns the new version.

        Raises ConflictError if the claim was lost, UnknownName if never made.
        """

        def action(connection: Connection) -> int:
            row = _get(connection, key)
            until = now_ns() + int(row.lease_s * 1e9)
            done = connection.execute(
                update(steps).where(_is_held(key, owner)).values(lease_until_ns=until, version=steps.c.version + 1)
            )
            if done.rowcount != 1:
                raise _lost(_get(connection, key), owner)
            return _get(connection, key).version

        return self._db.write(action)

    def finish(self, key: str, owner: str, result: dict[str, Any]) -> StepRow:
        """Stores the result.

        The same result again is a no-op, whoever brings it; ConflictError if the claim was lost.
        """
        text = to_text(result)

        def action(connection: Connection) -> StepRow:
            done = _end(connection, key, owner, state="done", result=text, error=None)
            row = _get(connection, key)
            if not done and not (row.state == "done" and to_text(row.result) == text):
                raise _lost(row, owner)
            return row

        return self._db.write(action)

    def fail(self, key: str, owner: str, error: str) -> StepRow:
        """Gives the claim back with what went wrong; anybody may claim it again.

        ConflictError if the claim was lost.
        """

        def action(connection: Connection) -> StepRow:
            done = _end(connection, key, owner, state="failed", error=error[:4000].replace("\0", ""))
            row = _get(connection, key)
            if not done:
                raise _lost(row, owner)
            return row

        return self._db.write(action)

    def get(self, key: str) -> StepRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, key))

    def list(self, campaign: str | None = None, state: str | None = None) -> list[StepRow]:
        """Steps by iteration, then in the order they were claimed."""
        query = select(steps)
        if campaign is not None:
            query = query.where(steps.c.campaign == campaign)
        if state is not None:
            query = query.where(steps.c.state == state)

        def action(connection: Connection) -> list[StepRow]:
            rows = [_row(row) for row in connection.execute(query)]
            return sorted(rows, key=lambda r: (-1 if r.iteration is None else r.iteration, r.claimed_ns, r.key))

        return self._db.read(action)


def _is_held(key: str, owner: str) -> Any:
    return (steps.c.key == key) & (steps.c.owner == owner) & (steps.c.state == "running")


def _end(connection: Connection, key: str, owner: str, **values: Any) -> bool:
    ended = update(steps).where(_is_held(key, owner)).values(**values, version=steps.c.version + 1, ended_ns=now_ns())
    return connection.execute(ended).rowcount == 1


def _is_forsaken(row: StepRow, now: int) -> bool:
    return row.lease_until_ns <= now or is_known_dead(row.owner)


def _busy(row: StepRow, now: int) -> Claim:
    wait_s = max(0, row.lease_until_ns - now) * 1e-9
    return Claim("busy", row.key, row.version, row.owner, row.attempts, wait_s=wait_s)


def _lost(row: StepRow, owner: str) -> ConflictError:
    return ConflictError(
        f"step '{row.name}' ({row.key[:16]}) is no longer held by {owner}: it is {row.state}, owner {row.owner}",
        remedy="Its result, if any, is not used; claim the step again.",
    )


def _get(connection: Connection, key: str) -> StepRow:
    row = connection.execute(select(steps).where(steps.c.key == key)).first()
    if row is None:
        raise UnknownName("step", key, None)
    return _row(row)


def _row(row: Row[Any]) -> StepRow:
    values = dict(row._mapping)
    return StepRow(**values | {"result": from_text(values["result"])})
