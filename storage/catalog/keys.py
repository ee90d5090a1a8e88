"""Public keys of robots: asked for by a robot, admitted or revoked by a person; and nonces that were signed once.

A key is an Ed25519 public key, base64. Nothing here checks a signature; `fleet_ingest.api.access` does.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import robot_keys, spent_nonces
from storage.contracts.errors import ConflictError, UnknownName

MAX_WAITING, MAX_WAITING_PER_ROBOT = 1000, 5
_COLUMNS = tuple(robot_keys.c)


@dataclass(frozen=True)
class KeyRow:
    """`state`: waiting, admitted or revoked. A revoked key stays revoked; a robot needs a new one then."""

    id: int
    robot: str
    public_key: str
    state: str
    note: str
    asked_ns: int
    decided_ns: int | None
    decided_by: str | None


class Keys(Repository):
    """The robots' keys. A robot need not be registered to ask."""

    def ask(self, robot: str, public_key: str, note: str = "") -> KeyRow:
        """The key's row, new (`waiting`) or as it stands. Raises ConflictError when too many keys wait already."""
        values = {"robot": robot, "public_key": public_key, "state": "waiting", "note": note, "asked_ns": now_ns()}

        def action(connection: Connection) -> KeyRow:
            found = _find(connection, robot, public_key)
            if found is not None:
                return found
            waiting = select(func.count()).select_from(robot_keys).where(robot_keys.c.state == "waiting")
            if (
                connection.execute(waiting).scalar_one() >= MAX_WAITING
                or connection.execute(waiting.where(robot_keys.c.robot == robot)).scalar_one() >= MAX_WAITING_PER_ROBOT
            ):
                raise ConflictError(
                    f"too many keys wait for admission ({MAX_WAITING} in all, {MAX_WAITING_PER_ROBOT} of one robot)",
                    remedy="An operator has to admit or revoke some of them first.",
                )
            self._db.insert_if_absent(connection, robot_keys, values)
            return _found(connection, robot, public_key)

        return self._db.write(action)

    def admit(self, robot: str, public_key: str, by: str) -> KeyRow:
        """Admits a key, whether it was asked for or not. Raises ConflictError for a revoked one."""
        values = {
            "robot": robot, "public_key": public_key, "state": "admitted", "note": "", "asked_ns": now_ns(),
            "decided_ns": now_ns(), "decided_by": by,
        }  # fmt: skip

        def action(connection: Connection) -> KeyRow:
            self._db.insert_if_absent(connection, robot_keys, values)
            connection.execute(
                update(robot_keys)
                .where(
                    robot_keys.c.robot == robot, robot_keys.c.public_key == public_key, robot_keys.c.state == "waiting"
                )
                .values(state="admitted", decided_ns=now_ns(), decided_by=by)
            )
            row = _found(connection, robot, public_key)
            if row.state == "revoked":
                raise ConflictError(
                    f"key {row.id} of robot '{robot}' was revoked by {row.decided_by}; it cannot be admitted again",
                    remedy="Let the robot make a new key pair: remove its key file and start it.",
                )
            return row

        return self._db.write(action)

    def revoke(self, id: int, by: str) -> KeyRow:
        """Ends the key for good, and with it every session that was opened with it. Raises UnknownName."""

        def action(connection: Connection) -> KeyRow:
            row = _get(connection, id)
            if row.state != "revoked":
                change = {"state": "revoked", "decided_ns": now_ns(), "decided_by": by}
                connection.execute(update(robot_keys).where(robot_keys.c.id == id).values(**change))
            return _get(connection, id)

        return self._db.write(action)

    def get(self, id: int) -> KeyRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, id))

    def find(self, robot: str, public_key: str) -> KeyRow | None:
        return self._db.read(lambda connection: _find(connection, robot, public_key))

    def list(self, robot: str | None = None, state: str | None = None, limit: int = 500) -> list[KeyRow]:
        """Newest first."""
        query = select(*_COLUMNS).order_by(robot_keys.c.id.desc()).limit(limit)
        if robot is not None:
            query = query.where(robot_keys.c.robot == robot)
        if state is not None:
            query = query.where(robot_keys.c.state == state)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])

    def spend(self, nonce: str, expires_ns: int) -> bool:
        """Notes that `nonce` was used; False when it was used before. Expired ones are forgotten."""

        def action(connection: Connection) -> bool:
            connection.execute(delete(spent_nonces).where(spent_nonces.c.expires_ns < now_ns()))
            return self._db.insert_if_absent(connection, spent_nonces, {"nonce": nonce, "expires_ns": expires_ns})

        return self._db.write(action)


def _get(connection: Connection, id: int) -> KeyRow:
    row = connection.execute(select(*_COLUMNS).where(robot_keys.c.id == id)).first()
    if row is None:
        raise UnknownName("robot key", str(id), None)
    return _row(row)


def _find(connection: Connection, robot: str, public_key: str) -> KeyRow | None:
    wanted = (robot_keys.c.robot == robot, robot_keys.c.public_key == public_key)
    row = connection.execute(select(*_COLUMNS).where(*wanted)).first()
    return None if row is None else _row(row)


def _found(connection: Connection, robot: str, public_key: str) -> KeyRow:
    row = _find(connection, robot, public_key)
    if row is None:
        raise UnknownName("robot key", public_key, None)
    return row


def _row(row: Any) -> KeyRow:
    return KeyRow(**row._mapping)
