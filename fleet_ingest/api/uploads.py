"""The upload protocol's server side: begin, hand out slots, take the whole, verify, ingest, give a receipt.

A file counts as held only once this module has hashed the staged bytes of that very robot; that another robot's upload
has equal content helps nobody. Every step may be repeated after a crash: the row's state says how far it came.
"""

import base64
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from fleet_ingest.api.errors import Again, Forbidden, TooMuch
from fleet_ingest.api.gate import Actor
from fleet_ingest.api.jobs import Jobs, Report
from fleet_ingest.reasons import reason
from fleet_ingest.robot.protocol import (
    PART_BYTES,
    URL_SECONDS,
    VERDICTS,
    BeginUpload,
    LostLogs,
    PartsWanted,
    Receipt,
    Slot,
    Slots,
    UploadState,
)
from storage.catalog.catalog import Catalog
from storage.catalog.uploads import EVICTED, UploadRow
from storage.contracts.errors import ConflictError, DataError, UnknownName
from storage.objects import ObjectStore, Part

_QUOTA_RETRY_S = 600.0


class Ingest(Protocol):
    """What becomes of verified bytes: validate, convert, write rows, and finish the upload row.

    `released`: a person has looked at the reason of the quarantine and overrules it. `local` is a file with the bytes,
    where there is one; `kept` is called before any row is written and returns when the bytes are an object.
    """

    def __call__(
        self,
        upload: UploadRow,
        *,
        released: bool = False,
        local: Path | None = None,
        kept: Callable[[], None] = lambda: None,
    ) -> None: ...

    def expected_s(self, size: int) -> float:
        """A guess of how long a file of `size` bytes takes."""
        ...


class Uploads:
    """Uploads into `store`, recorded in `catalog`. Safe to use from several threads of one process."""

    def __init__(self, catalog: Catalog, store: ObjectStore, ingest: Ingest, jobs: Jobs) -> None:
        self._catalog = catalog
        self._store = store
        self._ingest = ingest
        self._jobs = jobs
        self._copies = ThreadPoolExecutor(jobs.workers, thread_name_prefix="promote")

    def close(self) -> None:
        self._copies.shutdown(wait=True)

    def row(self, upload: int) -> UploadRow:
        """Raises UnknownName."""
        return self._catalog.uploads.get(upload)

    def begin(self, body: BeginUpload, actor: Actor) -> UploadState:
        """The same robot and digest, and the same idempotency key, always give the same upload.

        Raises UnknownName for an unregistered robot, ConflictError when the key or the digest stands for another file,
        Forbidden when the assignment is another robot's, TooMuch when the robot's quota is used up.
        """
        row = self._catalog.uploads.find(body.robot, body.sha256)
        if row is None or row.state not in VERDICTS or row.mapping_sha256 != body.mapping_sha256:
            self._check_assignment(body)
            if row is None:
                self._check_quota(body)
            row = self._catalog.uploads.begin(
                body.robot, body.sha256, body.size, body.format, body.idempotency_key,
                mapping_sha256=body.mapping_sha256, assignment=body.assignment, name=body.name, session=body.session,
                priority=body.priority, sender=actor.name,
            )  # fmt: skip
        if body.notes.strip():
            note = self._catalog.notes.add(body.robot, body.notes.strip(), session=body.session, author=actor.name)
            self._catalog.notes.link(row.id, note.id)
        return self.state(row)

    def state(self, row: UploadRow) -> UploadState:
        """Where the upload stands, as the row and the store say."""
        parts, upload = _part_count(row.size), str(row.id)
        progress, problem = self._jobs.progress(row.id), self._jobs.problem(row.id)
        if row.state in VERDICTS:
            return UploadState(upload=upload, state="have", parts=parts, receipt=self._receipt(row))
        if row.state == "abandoned":
            return UploadState(upload=upload, state="abandoned", parts=parts)
        if row.state == "verifying" or progress is not None:
            return UploadState(upload=upload, state="verifying", parts=parts, progress=progress, problem=problem)
        received = tuple(sorted(self._arrived(row)))
        state: Literal["resume", "start"] = "resume" if row.s3_upload_id else "start"
        return UploadState(upload=upload, state=state, parts=parts, received=received, problem=problem)

    def slots(self, row: UploadRow, body: PartsWanted) -> Slots:
        """Presigned requests for the parts asked for; parts that have arrived are `held`.

        Raises ConflictError for parts that the file does not have, Again when one was announced otherwise before.
        """
        if row.state != "receiving":
            raise Again("complete", f"upload {row.id} is {row.state}: it takes no parts", "Ask for its state.")
        _check_parts(row, body)
        key = self._store.staging_key(row.robot, str(row.id))
        session, there = self._session(row, key)
        differing = self._catalog.uploads.announce_parts(row.id, {p.number: p.sha256 for p in body.parts})
        if differing:
            self._start_over(self.row(row.id), key)
            raise Again(
                "parts_differ",
                f"part {min(differing)} of upload {row.id} was announced with another digest before; all were dropped",
                "Hash the file again and send all of it.",
            )
        announced = self._catalog.uploads.parts(row.id)
        held = {part.number for part in there} & set(announced)
        slots = []
        for p in body.parts:
            if p.number in held:
                slots.append(Slot(number=p.number, held=True))
            else:
                signed = self._store.presign_part(key, session, p.number, p.size, p.sha256, URL_SECONDS)
                slots.append(Slot(number=p.number, url=signed.url, headers=signed.headers))
        return Slots(parts=tuple(slots))

    def complete(self, row: UploadRow) -> "Future[None] | None":
        """Begins to check what arrived, unless that is done or under way; None when there is a verdict already.

        The future's exception is Again when bytes are missing or differ from what was announced. Raises Again for an
        abandoned upload.
        """
        if row.state in VERDICTS:
            return None
        if row.state == "abandoned":
            why = "is lost on the robot" if row.reason_code == EVICTED else "waited too long; its bytes were dropped"
            raise Again("abandoned", f"upload {row.id} {why}", "Announce it again.")
        return self._jobs.start(row.id, lambda report: self._finish(row.id, report))

    def release(self, row: UploadRow, actor: Actor, note: str, mapping_sha256: str | None) -> UploadState:
        """Takes a quarantined file in again because a person says so. Raises ConflictError where nobody may."""
        why = reason(row.reason_code or "")
        if row.state == "quarantined" and not why.releasable:
            raise ConflictError(
                f"upload {row.id} cannot be released: {why.words}", remedy=why.remedy or "Record it again."
            )
        self._catalog.uploads.reopen(row.id, mapping_sha256)
        self._catalog.audit.record(
            actor.name, "release", f"upload {row.id}", role=actor.role, detail=f"{row.reason_code}: {note}"
        )
        self._jobs.run(row.id, lambda report: self._finish(row.id, report, released=True), wait_s=20.0)
        return self.state(self.row(row.id))

    def lost(self, robot: str, body: LostLogs, actor: Actor) -> None:
        """Rows for files that will not come; what had arrived of them is dropped. Files that are held stay as they are.

        Raises UnknownName for an unregistered robot.
        """
        for log in body.logs:
            held = self._catalog.uploads.find(robot, log.sha256)
            when = datetime.fromtimestamp(log.at_ns * 1e-9, UTC).isoformat(timespec="seconds")
            detail = f"lost on the robot at {when} by its clock: {log.reason}"
            row = self._catalog.uploads.evicted(
                robot, log.sha256, log.size, "unknown", detail, name=log.name, priority=log.priority, sender=actor.name
            )
            if held is not None and held.s3_upload_id and row.state == "abandoned":
                self._store.abort_multipart(self._store.staging_key(robot, str(row.id)), held.s3_upload_id)

    def resume_all(self, before_ns: int) -> int:
        """Goes on with verified files that a killed process left; returns how many."""
        rows = self._catalog.uploads.idle("verifying", before_ns)
        for row in rows:
            self._jobs.run(row.id, partial(self._finish, row.id), wait_s=0.0)
        return len(rows)

    def collect(self, row: UploadRow) -> None:
        """Drops what arrived of an upload that nobody goes on with."""
        key = self._store.staging_key(row.robot, str(row.id))
        days = (time.time_ns() - row.updated_ns) / 86_400e9
        detail = f"nothing came for {days:.1f} days; the parts that had arrived were dropped"
        if self._catalog.uploads.abandon(row.id, detail).state == "abandoned":
            if row.s3_upload_id:
                self._store.abort_multipart(key, row.s3_upload_id)
            self._store.delete_staged(key)

    def _finish(self, id: int, report: Report, *, released: bool = False) -> None:
        row = self.row(id)
        if row.state in VERDICTS:
            return
        if row.state != "receiving":
            self._validate(row, report, released, None, lambda: None)
            return
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            local = Path(folder) / "raw"
            kept = self._verify(row, local, report)
            self._validate(row, report, released, local, kept)
            kept()

    def _validate(
        self, row: UploadRow, report: Report, released: bool, local: Path | None, kept: Callable[[], None]
    ) -> None:
        begun, guess = time.monotonic(), self._ingest.expected_s(row.size)
        report.enter("validating", lambda: min(0.97, (time.monotonic() - begun) / guess))
        self._ingest(row, released=released, local=local, kept=kept)

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

    def _check_quota(self, body: BeginUpload) -> None:
        quota, used = self._catalog.quotas.get(body.robot), self._catalog.quotas.usage(body.robot)
        for name, limit, now in (
            ("bytes in 24 hours", quota.bytes_per_day, used.bytes + body.size),
            ("files in 24 hours", quota.files_per_day, used.files + 1),
            ("uploads begun and not finished", quota.open_uploads, used.open + 1),
        ):
            if now > limit:
                raise TooMuch(
                    "quota",
                    f"robot '{body.robot}' may have {limit} {name}; this upload would make it {now}",
                    "Wait, finish what was begun, or let an admin raise it: sim2real access quota.",
                    retry_s=_QUOTA_RETRY_S,
                )

    def _receipt(self, row: UploadRow) -> Receipt:
        """Of a row with a verdict."""
        return Receipt.model_validate(
            {
                "upload": str(row.id), "robot": row.robot, "sha256": row.sha256, "size": row.size, "verified": True,
                "state": row.state, "reason_code": row.reason_code, "detail": row.detail,
                "episodes": tuple(e.sha256 for e in self._catalog.episodes.find(upload_ids=[row.id])),
            }
        )  # fmt: skip

    def _verify(self, row: UploadRow, local: Path, report: Report) -> Callable[[], None]:
        """Hashes the staged bytes, which come to `local`, and begins to make them an object.

        What it returns waits until they are one and the row says so. They leave the staging area only then: a crash at
        any moment costs a second hashing, no second sending and no wrong claim.
        """
        key = self._store.staging_key(row.robot, str(row.id))
        self._join(row, key)
        hashed = [0]
        report.enter("verifying", lambda: hashed[0] / row.size)
        try:
            _, etag = self._store.fetch(key, row.sha256, into=local, progress=lambda done: hashed.__setitem__(0, done))
        except UnknownName as error:
            raise Again(
                "parts_missing", f"no bytes of upload {row.id} have arrived", "Send its parts first."
            ) from error
        except DataError as error:
            raise self._differs(row, key) from error

        def keep() -> None:
            self._store.adopt(key, row.sha256, etag)
            self._catalog.uploads.verifying(row.id)
            self._store.delete_staged(key)

        copy = self._copies.submit(keep)

        def kept() -> None:
            try:
                copy.result()
            except DataError as error:
                raise self._differs(row, key) from error

        return kept

    def _differs(self, row: UploadRow, key: str) -> Again:
        self._start_over(row, key)
        return Again(
            "digest_mismatch",
            f"the bytes of upload {row.id} are not the {row.size} bytes {row.sha256[:12]} that were announced; dropped",
            "Send the file again from the beginning.",
        )

    def _join(self, row: UploadRow, key: str) -> None:
        if row.s3_upload_id is None or self._store.exists_key(key):
            return
        announced, arrived = self._catalog.uploads.parts(row.id), self._arrived(row)
        missing = [n for n in range(1, _part_count(row.size) + 1) if n not in arrived]
        if missing:
            raise Again(
                "parts_missing",
                f"upload {row.id} lacks {len(missing)} of its {_part_count(row.size)} parts, the first is {missing[0]}",
                "Ask for their slots and send them.",
            )
        parts = [Part(n, arrived[n].etag, 0, announced[n]) for n in sorted(arrived)]
        try:
            self._store.complete_multipart(key, row.s3_upload_id, parts)
        except (DataError, UnknownName) as error:
            self._start_over(row, key)
            raise Again(
                "parts_missing", f"the parts of upload {row.id} do not join: {error}", "Send them again."
            ) from error

    def _arrived(self, row: UploadRow) -> dict[int, Part]:
        """The parts that the store has and that were announced."""
        if row.s3_upload_id is None:
            return {}
        key = self._store.staging_key(row.robot, str(row.id))
        try:
            there = self._store.list_parts(key, row.s3_upload_id)
        except UnknownName:
            return {}
        announced = self._catalog.uploads.parts(row.id)
        return {part.number: part for part in there if part.number in announced}

    def _start_over(self, row: UploadRow, key: str) -> None:
        """Back to an upload without bytes; the row first, so that no state vouches for bytes that are gone."""
        session = row.s3_upload_id
        self._catalog.uploads.set_multipart(row.id, None)
        if session:
            self._store.abort_multipart(key, session)
        self._store.delete_staged(key)

    def _session(self, row: UploadRow, key: str) -> tuple[str, list[Part]]:
        """The multipart upload under way and what has arrived of it, or a new one where the store knows none."""
        if row.s3_upload_id:
            try:
                return str(row.s3_upload_id), self._store.list_parts(key, row.s3_upload_id)
            except UnknownName:
                pass
        session = self._store.begin_multipart(key)
        self._catalog.uploads.set_multipart(row.id, session)
        return session, []


def _part_count(size: int) -> int:
    return max(1, -(-size // PART_BYTES))


def _check_parts(row: UploadRow, body: PartsWanted) -> None:
    count = _part_count(row.size)
    for part in body.parts:
        size = PART_BYTES if part.number < count else row.size - (count - 1) * PART_BYTES
        if part.number > count or part.size != size:
            raise ConflictError(
                f"part {part.number} of {part.size} bytes does not fit a file of {row.size} bytes: it has {count} "
                f"parts of {PART_BYTES} bytes, the last one the rest"
            )
    if count == 1 and body.parts[0].sha256 != base64.b64encode(bytes.fromhex(row.sha256)).decode():
        raise ConflictError(f"the only part has another digest than the file, announced as {row.sha256}")
