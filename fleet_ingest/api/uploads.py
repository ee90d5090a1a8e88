"""The upload protocol's server side: begin, hand out slots, take the whole, verify, ingest, give a receipt.

A file counts as held only once this module has hashed the staged bytes of that very robot; that another robot's upload
has equal content helps nobody. Every step may be repeated after a crash: the row's state says how far it came.
"""

import base64
import threading
import zlib
from typing import Protocol

from fleet_ingest.api.errors import Again, Forbidden
from fleet_ingest.robot.protocol import (
    PART_BYTES,
    VERDICTS,
    BeginUpload,
    CompleteUpload,
    PartsWanted,
    Receipt,
    Slot,
    Slots,
    UploadState,
)
from storage.catalog.catalog import Catalog
from storage.catalog.uploads import UploadRow
from storage.contracts.errors import ContractError, DataError, UnknownName
from storage.objects import ObjectStore, Part

PUT_SESSION = "put"
URL_SECONDS = 3600


class Ingest(Protocol):
    """What becomes of verified bytes: validate, convert, write rows, and finish the upload row."""

    def __call__(self, upload: UploadRow) -> None: ...


class Uploads:
    """Uploads into `store`, recorded in `catalog`. Safe to use from several threads of one process."""

    def __init__(self, catalog: Catalog, store: ObjectStore, ingest: Ingest) -> None:
        self._catalog = catalog
        self._store = store
        self._ingest = ingest
        # One completion of one upload at a time; two uploads sharing a lock only wait a little.
        self._locks = tuple(threading.Lock() for _ in range(64))

    def row(self, upload: int) -> UploadRow:
        """Raises UnknownName."""
        return self._catalog.uploads.get(upload)

    def begin(self, body: BeginUpload) -> UploadState:
        """The same robot and digest, and the same idempotency key, always give the same upload.

        Raises UnknownName for an unregistered robot, ConflictError when the key or the digest stands for another file,
        Forbidden when the assignment is another robot's.
        """
        known = self._catalog.uploads.find(body.robot, body.sha256)
        if known is not None and known.state in VERDICTS and known.mapping_sha256 == body.mapping_sha256:
            return self.state(known)
        self._check_assignment(body)
        row = self._catalog.uploads.begin(
            body.robot,
            body.sha256,
            body.size,
            body.format,
            body.idempotency_key,
            mapping_sha256=body.mapping_sha256,
            assignment=body.assignment,
        )
        return self.state(row)

    def state(self, row: UploadRow) -> UploadState:
        parts = _part_count(row.size)
        if row.state in VERDICTS:
            return UploadState(upload=str(row.id), state="have", parts=parts, receipt=self._receipt(row))
        if row.state == "verifying":
            return UploadState(upload=str(row.id), state="verifying", parts=parts)
        return UploadState(upload=str(row.id), state="resume" if row.s3_upload_id else "start", parts=parts)

    def slots(self, row: UploadRow, body: PartsWanted) -> Slots:
        """Presigned requests for the parts asked for. Raises ContractError for parts that the file does not have."""
        if row.state != "receiving":
            raise Again("complete", f"upload {row.id} has all its bytes", "Complete it for the receipt.")
        count = _part_count(row.size)
        for part in body.parts:
            size = PART_BYTES if part.number < count else row.size - (count - 1) * PART_BYTES
            if part.number > count or part.size != size:
                raise ContractError(
                    f"part {part.number} of {part.size} bytes does not fit a file of {row.size} bytes: it has {count} "
                    f"parts of {PART_BYTES} bytes, the last one the rest"
                )
        key = self._store.staging_key(row.robot, str(row.id))
        if count == 1:
            whole = base64.b64encode(bytes.fromhex(row.sha256)).decode()
            if body.parts[0].sha256 != whole:
                raise ContractError(f"the only part has another digest than the file, announced as {row.sha256}")
            put = self._store.presign_put(key, row.size, whole, URL_SECONDS)
            return Slots(session=PUT_SESSION, parts=(Slot(number=1, url=put.url, headers=put.headers),))
        session = self._session(row, key)
        signed = [
            (p.number, self._store.presign_part(key, session, p.number, p.size, p.sha256, URL_SECONDS))
            for p in body.parts
        ]
        return Slots(session=session, parts=tuple(Slot(number=n, url=s.url, headers=s.headers) for n, s in signed))

    def complete(self, row: UploadRow, body: CompleteUpload) -> Receipt:
        """The receipt. Raises Again when bytes are missing or differ from what was announced."""
        with self._locks[zlib.crc32(str(row.id).encode()) % len(self._locks)]:
            row = self.row(row.id)
            if row.state not in VERDICTS:
                self._verify(row, body)
                self._ingest(self.row(row.id))
                row = self.row(row.id)
            return self._receipt(row)

    def _check_assignment(self, body: BeginUpload) -> None:
        if body.assignment is None:
            return
        owner = self._catalog.assignments.get(body.assignment).robot
        if owner != body.robot:
            raise Forbidden(
                403,
                f"assignment {body.assignment} does not belong to robot '{body.robot}'",
                "Name the assignment that the log was recorded for, or none.",
            )

    def _receipt(self, row: UploadRow) -> Receipt:
        """Of a row with a verdict."""
        return Receipt.model_validate(
            {
                "upload": str(row.id),
                "robot": row.robot,
                "sha256": row.sha256,
                "size": row.size,
                "verified": True,
                "state": row.state,
                "reason_code": row.reason_code,
                "detail": row.detail,
                "episodes": tuple(e.sha256 for e in self._catalog.episodes.find(upload_ids=[row.id])),
            }
        )

    def _verify(self, row: UploadRow, body: CompleteUpload) -> None:
        """Makes the staged bytes an object. A crash before the last line costs a second sending, no wrong claim."""
        if row.state != "receiving":
            return
        key = self._store.staging_key(row.robot, str(row.id))
        self._join(row, key, body)
        self._check_staged(row, key)
        try:
            self._store.promote(key, row.sha256)
        except DataError as error:
            self._start_over(row, key)
            raise _damaged(row) from error
        self._catalog.uploads.verifying(row.id)

    def _join(self, row: UploadRow, key: str, body: CompleteUpload) -> None:
        if _part_count(row.size) == 1 or self._store.exists_key(key):
            return
        if body.session != row.s3_upload_id or len(body.parts) != _part_count(row.size):
            raise Again(
                "parts_missing",
                f"upload {row.id} has {_part_count(row.size)} parts in session {row.s3_upload_id}; "
                f"{len(body.parts)} of session {body.session or 'none'} were named",
                "Ask for the slots again and send what is missing.",
            )
        parts = [Part(p.number, p.etag, 0, p.sha256) for p in body.parts]
        try:
            self._store.complete_multipart(key, body.session, parts)
        except (DataError, UnknownName) as error:
            self._start_over(row, key)
            raise Again(
                "parts_missing", f"the parts of upload {row.id} do not join: {error}", "Send them again."
            ) from error

    def _check_staged(self, row: UploadRow, key: str) -> None:
        try:
            found, size = self._store.hash_object(key)
        except UnknownName as error:
            raise Again(
                "parts_missing", f"no bytes of upload {row.id} have arrived", "Send its parts first."
            ) from error
        if (found, size) != (row.sha256, row.size):
            self._start_over(row, key)
            raise _damaged(row)

    def _start_over(self, row: UploadRow, key: str) -> None:
        """Back to an upload without bytes; the row first, so that no state vouches for bytes that are gone."""
        session = row.s3_upload_id
        self._catalog.uploads.set_multipart(row.id, None)
        if session:
            self._store.abort_multipart(key, session)
        self._store.delete_staged(key)

    def _session(self, row: UploadRow, key: str) -> str:
        """The multipart upload under way, or a new one where the store knows none."""
        if row.s3_upload_id:
            try:
                self._store.list_parts(key, row.s3_upload_id)
                return str(row.s3_upload_id)
            except UnknownName:
                pass
        session = self._store.begin_multipart(key)
        self._catalog.uploads.set_multipart(row.id, session)
        return session


def _part_count(size: int) -> int:
    return max(1, -(-size // PART_BYTES))


def _damaged(row: UploadRow) -> Again:
    return Again(
        "digest_mismatch",
        f"the bytes of upload {row.id} are not the {row.size} bytes {row.sha256[:12]} that were announced; dropped",
        "Send the file again from the beginning.",
    )
