"""Uploads: one row per robot and raw file, and what became of it.

`receiving` -> `verifying` -> `accepted` | `salvaged` | `quarantined`. A quarantined file may be tried again and then
accepted; an accepted one stays so. An upload whose bytes never came is `abandoned` after a time, and `receiving` again
when its sender comes back. The bytes are in the object store under `sha256`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from storage.catalog.repository import Repository, batches, from_text, now_ns, to_text
from storage.catalog.robots import require_robot
from storage.catalog.tables import episodes as episodes_table
from storage.catalog.tables import upload_parts, uploads
from storage.contracts.errors import ConflictError, UnknownName

STATES = ("receiving", "verifying", "accepted", "salvaged", "quarantined", "abandoned")
PRIORITIES = ("incident", "intervention", "on_demand", "routine")
HELD = frozenset({"accepted", "salvaged"})
FINAL = HELD | {"quarantined"}
EVICTED = "evicted"
"""The reason of an `abandoned` upload whose file the robot lost: it will not come, unless somebody has a copy."""


@dataclass(frozen=True)
class UploadRow:
    """`reason_code` is short and stable (None when all is well), `detail` is for people.

    `name` is what the sender called the file, for display only; `card` what the file holds, see `fleet_ingest.card`.
    """

    id: int
    robot: str
    sha256: str
    size: int
    format: str
    idempotency_key: str
    mapping_sha256: str | None
    assignment: int | None
    state: str
    reason_code: str | None
    detail: str
    s3_upload_id: str | None
    version: int
    created_ns: int
    updated_ns: int
    name: str | None = None
    session: str | None = None
    priority: str = "routine"
    sender: str | None = None
    card: dict[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class Uploads(Repository):
    """What was uploaded or imported."""

    def begin(
        self,
        robot: str,
        sha256: str,
        size: int,
        format: str,
        idempotency_key: str,
        mapping_sha256: str | None = None,
        assignment: int | None = None,
        *,
        name: str | None = None,
        session: str | None = None,
        priority: str = "routine",
        sender: str | None = None,
    ) -> UploadRow:
        """The row of this file of this robot, new or as it stands.

        A file that is there already is opened again (`verifying`) when it comes with another mapping or was
        quarantined; one that was abandoned is `receiving` again.
        Raises UnknownName for an unknown robot, ConflictError when the key stands for another file.
        """
        now = now_ns()
        values: dict[str, Any] = {
            "robot": robot,
            "sha256": sha256,
            "size": size,
            "format": format,
            "idempotency_key": idempotency_key,
            "mapping_sha256": mapping_sha256,
            "assignment": assignment,
            "state": "receiving",
            "detail": "",
            "version": 1,
            "created_ns": now,
            "updated_ns": now,
            "name": name,
            "session": session,
            "priority": priority,
            "sender": sender,
        }
        if priority not in PRIORITIES:
            raise UnknownName("priority", priority, PRIORITIES)

        def action(connection: Connection) -> UploadRow:
            require_robot(connection, robot)
            self._db.insert_if_absent(connection, uploads, values)
            found = connection.execute(
                select(uploads).where(uploads.c.robot == robot, uploads.c.sha256 == sha256).with_for_update()
            ).first()
            if found is None:
                raise ConflictError(
                    f"the key '{idempotency_key}' of robot '{robot}' stands for another file than {sha256}"
                )
            return _taken_up(connection, _row(found), size, mapping_sha256)

        return self._db.write(action)

    def get(self, id: int) -> UploadRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, id))

    def find(self, robot: str, sha256: str) -> UploadRow | None:
        """This robot's row of this file, if any: what `have it already` may be answered from."""

        def action(connection: Connection) -> UploadRow | None:
            row = connection.execute(
                select(uploads).where(uploads.c.robot == robot, uploads.c.sha256 == sha256)
            ).first()
            return None if row is None else _row(row)

        return self._db.read(action)

    def set_multipart(self, id: int, s3_upload_id: str | None) -> UploadRow:
        """Notes S3's id of the multipart upload under way. What was known of the parts of an earlier one is void."""

        def action(connection: Connection) -> UploadRow:
            connection.execute(delete(upload_parts).where(upload_parts.c.upload == id))
            return _change(connection, _get(connection, id, lock=True), s3_upload_id=s3_upload_id)

        return self._db.write(action)

    def announce_parts(self, id: int, parts: Mapping[int, str]) -> dict[int, str]:
        """Keeps the digest (SHA-256, base64) of parts that are about to be sent; returns those announced otherwise."""

        def action(connection: Connection) -> dict[int, str]:
            _get(connection, id, lock=True)
            known = _parts(connection, id)
            rows = [{"upload": id, "number": n, "sha256": sha} for n, sha in sorted(parts.items()) if n not in known]
            if rows:
                connection.execute(upload_parts.insert(), rows)
                connection.execute(update(uploads).where(uploads.c.id == id).values(updated_ns=now_ns()))
            return {n: known[n] for n, sha in parts.items() if n in known and known[n] != sha}

        return self._db.write(action)

    def parts(self, id: int) -> dict[int, str]:
        """Part number -> announced digest (SHA-256, base64) of the multipart upload under way."""
        return self._db.read(lambda connection: _parts(connection, id))

    def set_card(self, id: int, card: dict[str, Any]) -> None:
        """Keeps what is in the file, for people; it takes no part in the row's versions."""
        text = to_text(card)
        self._db.write(lambda c: c.execute(update(uploads).where(uploads.c.id == id).values(card=text)))

    def reopen(self, id: int, mapping_sha256: str | None = None) -> UploadRow:
        """Takes a quarantined upload out of quarantine, to be checked again. Raises ConflictError for another state."""

        def action(connection: Connection) -> UploadRow:
            row = _get(connection, id, lock=True)
            if row.state == "verifying":
                return row
            if row.state != "quarantined":
                raise ConflictError(
                    f"upload {id} is {row.state}, not quarantined", remedy="Only a quarantined upload can be released."
                )
            return _change(connection, row, state="verifying", mapping_sha256=mapping_sha256 or row.mapping_sha256)

        return self._db.write(action)

    def abandon(self, id: int, detail: str) -> UploadRow:
        """Its bytes did not come; they are forgotten. Does nothing to an upload that moved on."""

        def action(connection: Connection) -> UploadRow:
            row = _get(connection, id, lock=True)
            if row.state != "receiving":
                return row
            connection.execute(delete(upload_parts).where(upload_parts.c.upload == id))
            return _change(connection, row, state="abandoned", detail=detail, s3_upload_id=None)

        return self._db.write(action)

    def evicted(
        self, robot: str, sha256: str, size: int, format: str, detail: str, *, name: str | None = None,
        priority: str = "routine", sender: str | None = None,
    ) -> UploadRow:  # fmt: skip
        """Notes that the robot lost a file before all of it was here. Nothing changes for one that is held.

        Raises UnknownName for an unknown robot or priority, ConflictError for another size than was announced.
        """
        row = self.begin(
            robot, sha256, size, format, f"{EVICTED}/{sha256}", name=name, priority=priority, sender=sender
        ) if (found := self.find(robot, sha256)) is None else found  # fmt: skip

        def action(connection: Connection) -> UploadRow:
            now = _get(connection, row.id, lock=True)
            if now.state not in ("receiving", "abandoned"):
                return now
            connection.execute(delete(upload_parts).where(upload_parts.c.upload == row.id))
            return _change(
                connection, now, state="abandoned", reason_code=EVICTED, detail=detail, s3_upload_id=None
            )  # fmt: skip

        return self._db.write(action)

    def idle(self, state: str, before_ns: int, limit: int = 200) -> list[UploadRow]:
        """Uploads in `state` to which nothing has happened since `before_ns`, oldest first."""
        query = (
            select(uploads)
            .where(uploads.c.state == state, uploads.c.updated_ns < before_ns)
            .order_by(uploads.c.id)
            .limit(limit)
        )
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])

    def page(
        self,
        *,
        robot: str | None = None,
        state: str | None = None,
        session: str | None = None,
        sha256: str | None = None,
        name: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[UploadRow]:
        """Uploads that meet all conditions, newest first; `before` is the id to go on from."""
        query = select(uploads).order_by(uploads.c.id.desc()).limit(limit)
        for column, value in (("robot", robot), ("state", state), ("session", session), ("sha256", sha256)):
            if value is not None:
                query = query.where(uploads.c[column] == value)
        if name is not None:
            # The rarest piece goes by the index; that the whole is there is checked on what the index gives.
            query = query.where(uploads.c.name.contains(rarest_piece(name), autoescape=True))
            query = query.where(uploads.c.name.concat("").contains(name, autoescape=True))
        if before is not None:
            query = query.where(uploads.c.id < before)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])

    def verifying(self, id: int) -> UploadRow:
        """All bytes are there; they are being checked. Does nothing to an upload that is finished."""

        def action(connection: Connection) -> UploadRow:
            row = _get(connection, id, lock=True)
            return row if row.state != "receiving" else _change(connection, row, state="verifying")

        return self._db.write(action)

    def finish(
        self, id: int, state: str, reason_code: str | None = None, detail: str = "", episodes: Iterable[str] = ()
    ) -> UploadRow:
        """Settles an upload and links its episodes (digests, added before). The same again is a no-op.

        Raises ConflictError when an accepted upload is to become something else, UnknownName for an unknown episode.
        """
        if state not in FINAL:
            raise UnknownName("final upload state", state, FINAL)
        digests = list(episodes)

        def action(connection: Connection) -> UploadRow:
            row = _get(connection, id, lock=True)
            _link(connection, id, digests)
            if (row.state, row.reason_code) == (state, reason_code):
                return row
            if row.state in HELD:
                raise ConflictError(f"upload {id} is {row.state} already and cannot become {state}")
            return _change(connection, row, state=state, reason_code=reason_code, detail=detail, s3_upload_id=None)

        return self._db.write(action)

    def list(self, robot: str | None = None, state: str | None = None) -> list[UploadRow]:
        """Uploads in the order they began."""
        if state is not None and state not in STATES:
            raise UnknownName("upload state", state, STATES)
        query = select(uploads).order_by(uploads.c.id)
        if robot is not None:
            query = query.where(uploads.c.robot == robot)
        if state is not None:
            query = query.where(uploads.c.state == state)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])


def rarest_piece(name: str) -> str:
    """The word of a (part of a) file name that fewest others will have, with the characters beside it.

    An index of trigrams reads the list of each trigram asked for, and every file's name ends in the same ones. Words
    with digits are rarer than others, long ones than short ones.
    """
    words = list(re.finditer(r"[^\W_]+", name))
    if not words:
        return name
    best = max(words, key=lambda word: (any(c.isdigit() for c in word.group()), len(word.group())))
    return name[max(0, best.start() - 1) : best.end() + 1]


def _get(connection: Connection, id: int, *, lock: bool = False) -> UploadRow:
    query = select(uploads).where(uploads.c.id == id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise UnknownName("upload", str(id), None)
    return _row(row)


def _change(connection: Connection, row: UploadRow, **values: Any) -> UploadRow:
    """The one UPDATE of this table, bound to the version that was read."""
    done = connection.execute(
        update(uploads)
        .where(uploads.c.id == row.id, uploads.c.version == row.version)
        .values(**values, version=row.version + 1, updated_ns=now_ns())
    )
    if done.rowcount != 1:
        raise ConflictError(f"upload {row.id} was changed by somebody else")
    return _get(connection, row.id)


def _taken_up(connection: Connection, row: UploadRow, size: int, mapping_sha256: str | None) -> UploadRow:
    """The row of a file that is announced (again): opened where there is something to do."""
    if row.size != size:
        raise ConflictError(f"{row.sha256} of robot '{row.robot}' has {row.size} bytes, now {size} are announced")
    if row.state == "abandoned":
        return _change(connection, row, state="receiving", reason_code=None, detail="")
    remapped = mapping_sha256 is not None and row.mapping_sha256 != mapping_sha256
    if row.is_final and (remapped or row.state == "quarantined"):
        return _change(connection, row, state="verifying", mapping_sha256=mapping_sha256 or row.mapping_sha256)
    return row


def _link(connection: Connection, id: int, digests: list[str]) -> None:
    for part in batches(digests):
        table = episodes_table
        found = set(connection.execute(select(table.c.sha256).where(table.c.sha256.in_(part))).scalars())
        if missing := [digest for digest in part if digest not in found]:
            raise UnknownName("episode", missing[0], None, remedy="Add the episodes before the upload is finished.")
        connection.execute(update(table).where(table.c.sha256.in_(part), table.c.upload.is_(None)).values(upload=id))


def _parts(connection: Connection, id: int) -> dict[int, str]:
    query = select(upload_parts.c.number, upload_parts.c.sha256).where(upload_parts.c.upload == id)
    return {row.number: row.sha256 for row in connection.execute(query.order_by(upload_parts.c.number))}


def _row(row: Row[Any]) -> UploadRow:
    values = dict(row._mapping)
    return UploadRow(**values | {"card": from_text(values["card"])})
