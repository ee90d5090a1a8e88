"""Uploads: one row per robot and raw file, and what became of it.

`receiving` -> `verifying` -> `accepted` | `salvaged` | `quarantined`. A quarantined file may be tried again and then
accepted; an accepted one stays so. The bytes are in the object store under `sha256`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.catalog.repository import Repository, batches, now_ns
from storage.catalog.robots import require_robot
from storage.catalog.tables import episodes as episodes_table
from storage.catalog.tables import uploads
from storage.contracts.errors import ConflictError, UnknownName

STATES = ("receiving", "verifying", "accepted", "salvaged", "quarantined")
HELD = frozenset({"accepted", "salvaged"})
FINAL = HELD | {"quarantined"}


@dataclass(frozen=True)
class UploadRow:
    """`reason_code` is short and stable (None when all is well), `detail` is for people."""

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
    ) -> UploadRow:
        """The row of this file of this robot, new or as it stands.

        A file that is there already is opened again (`verifying`) when it comes with another mapping or was
        quarantined. Raises UnknownName for an unknown robot, ConflictError when the key stands for another file.
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
        }

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
            row = _row(found)
            if row.size != size:
                raise ConflictError(f"{sha256} of robot '{robot}' has {row.size} bytes, now {size} are announced")
            remapped = mapping_sha256 is not None and row.mapping_sha256 != mapping_sha256
            if row.is_final and (remapped or row.state == "quarantined"):
                return _change(connection, row, state="verifying", mapping_sha256=mapping_sha256 or row.mapping_sha256)
            return row

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
        """Notes S3's id of the multipart upload under way."""
        return self._db.write(lambda c: _change(c, _get(c, id, lock=True), s3_upload_id=s3_upload_id))

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


def _link(connection: Connection, id: int, digests: list[str]) -> None:
    for part in batches(digests):
        table = episodes_table
        found = set(connection.execute(select(table.c.sha256).where(table.c.sha256.in_(part))).scalars())
        if missing := [digest for digest in part if digest not in found]:
            raise UnknownName("episode", missing[0], None, remedy="Add the episodes before the upload is finished.")
        connection.execute(update(table).where(table.c.sha256.in_(part), table.c.upload.is_(None)).values(upload=id))


def _row(row: Row[Any]) -> UploadRow:
    return UploadRow(**row._mapping)
