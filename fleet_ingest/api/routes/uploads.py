"""Routes of uploads: the protocol, the history, the fate of one file, its release from quarantine."""

import asyncio
from concurrent.futures import Future
from typing import Annotated, Literal

from fastapi import Query
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRouter

from fleet_ingest.api.answers import Identifier, Release, UploadFate, UploadLine, UploadPage
from fleet_ingest.api.gate import Caller, Gate
from fleet_ingest.api.notes import Notes
from fleet_ingest.api.uploads import Uploads
from fleet_ingest.reasons import reason
from fleet_ingest.robot.protocol import (
    SERIAL,
    SESSION,
    SHA256_HEX,
    BeginUpload,
    CompleteUpload,
    PartsWanted,
    Slots,
    UploadState,
)
from storage.catalog.catalog import Catalog
from storage.catalog.uploads import UploadRow

State = Literal["receiving", "verifying", "accepted", "salvaged", "quarantined", "abandoned"]
_WORDS = {
    "receiving": "Its bytes are on their way; part of them may have arrived.",
    "verifying": "All bytes arrived; they are being checked.",
    "accepted": "Taken in.",
    "salvaged": "Part of it was taken in.",
    "abandoned": "Nothing came for too long; send the file again.",
}


def upload_line(row: UploadRow) -> UploadLine:
    words = _WORDS.get(row.state, "")
    if row.reason_code and row.state == "abandoned":
        words = reason(row.reason_code).words
    if row.reason_code and row.state in ("quarantined", "salvaged"):
        words = f"{words} {reason(row.reason_code).words}".strip()
    return UploadLine(
        id=row.id, robot=row.robot, sha256=row.sha256, size=row.size, format=row.format, name=row.name,
        session=row.session, priority=row.priority, sender=row.sender, state=row.state, reason_code=row.reason_code,
        words=words, created_ns=row.created_ns, updated_ns=row.updated_ns,
    )  # fmt: skip


def protocol_routes(uploads: Uploads, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/uploads", tags=["uploads"])

    @router.post("")
    def begin(body: BeginUpload, actor: Caller) -> UploadState:
        """Announces a file. The same idempotency key gives the same upload."""
        gate.robot(actor, body.robot)
        return uploads.begin(body, actor)

    @router.get("/{identifier}")
    def state(identifier: Identifier, actor: Caller) -> UploadState:
        row = uploads.row(identifier)
        gate.robot(actor, row.robot, reading=True)
        return uploads.state(row)

    @router.post("/{identifier}/parts")
    def parts(identifier: Identifier, body: PartsWanted, actor: Caller) -> Slots:
        """Presigned requests, one for each part asked for that the store does not have."""
        row = uploads.row(identifier)
        gate.robot(actor, row.robot)
        return uploads.slots(row, body)

    @router.post("/{identifier}/complete")
    async def complete(identifier: Identifier, body: CompleteUpload, actor: Caller) -> UploadState:
        """Hashes what arrived, keeps it, converts it, and says what became of it, or how far it is. Idempotent."""

        def begin() -> "Future[None] | None":
            row = uploads.row(identifier)
            gate.robot(actor, row.robot)
            return uploads.complete(row)

        # Who waits holds no thread: a fleet that waits for its receipts must not keep others from being answered.
        work = await run_in_threadpool(begin)
        if work is not None:
            waiting = asyncio.wrap_future(work)
            done, _ = await asyncio.wait([waiting], timeout=body.wait_s)
            if done:
                waiting.result()
        return await run_in_threadpool(lambda: uploads.state(uploads.row(identifier)))

    @router.post("/{identifier}/release")
    def release(identifier: Identifier, body: Release, actor: Caller) -> UploadState:
        """Takes a quarantined file in again because a person overrules the reason."""
        gate.role(actor, "operator", f"release upload {identifier}")
        return uploads.release(uploads.row(identifier), actor, body.note, body.mapping_sha256)

    return router


def history_routes(catalog: Catalog, uploads: Uploads, notes: Notes, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/uploads", tags=["uploads"])

    @router.get("")
    def history(
        actor: Caller,
        robot: Annotated[str | None, Query(pattern=SERIAL)] = None,
        state: State | None = None,
        session: Annotated[str | None, Query(pattern=SESSION)] = None,
        sha256: Annotated[str | None, Query(pattern=SHA256_HEX)] = None,
        name: Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]+$")] = None,
        before: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> UploadPage:
        """What was sent, newest first. Robots see their own; `name` finds names that hold it."""
        if actor.serial is not None:
            robot = robot or actor.serial
        if robot is not None:
            gate.robot(actor, robot, reading=True)
        rows = catalog.uploads.page(
            robot=robot, state=state, session=session, sha256=sha256, name=name, before=before, limit=limit
        )
        return UploadPage(
            rows=tuple(upload_line(row) for row in rows), next=rows[-1].id if len(rows) == limit else None
        )

    @router.get("/{identifier}/fate")
    def fate(identifier: Identifier, actor: Caller) -> UploadFate:
        """All that is known of one file."""
        row = uploads.row(identifier)
        gate.robot(actor, row.robot, reading=True)
        why = reason(row.reason_code) if row.reason_code else None
        return UploadFate(
            line=upload_line(row),
            state=uploads.state(row),
            detail=row.detail,
            remedy=why.remedy if why else "",
            releasable=bool(why and why.releasable and row.state == "quarantined"),
            mapping_sha256=row.mapping_sha256,
            card=row.card,
            notes=tuple(notes.of_upload(row.id)),
        )

    return router
