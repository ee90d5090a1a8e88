"""Carries one log to the object store by the upload protocol, and lets it go only with a verified receipt.

The journal is written before and after each part, so that a killed process sends no part twice that arrived. Expired
URLs, an upload that the server forgot and an object that arrived damaged all lead back to the first step.
"""

import base64
import hashlib
from typing import Protocol

from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.protocol import (
    BeginUpload,
    CompleteUpload,
    PartSent,
    PartsWanted,
    PartWanted,
    Receipt,
    Slots,
    UploadState,
)
from fleet_ingest.robot.spool import Spooled
from storage.contracts.errors import DataError

ROUNDS = 5


class Journal(Protocol):
    """What remembers how far a log has come; the robot's spool is one. See `Spool` for the meaning of each."""

    def journal(self, sha256: str, session: str, parts: dict[int, dict[str, str | None]]) -> None: ...
    def confirm(self, receipt: Receipt) -> None: ...
    def spoil(self, log: Spooled) -> None: ...


class Uploader:
    """Uploads the logs of `serial`, part by part, holding one part in memory."""

    def __init__(self, client: Client, spool: Journal, serial: str) -> None:
        self._client = client
        self._spool = spool
        self._serial = serial

    def upload(self, log: Spooled) -> Receipt:
        """Returns the receipt once the spool has let the file go.

        Raises Refused when the server will not have it, DataError (code `spoiled`) when the file changed on disk.
        """
        for attempt in range(ROUNDS):
            try:
                receipt = self._round(log, fresh=attempt > 0)
                self._spool.confirm(receipt)
                return receipt
            except Refused as error:
                if (
                    error.status in (401, 403, 413, 422)
                    and error.code != "expired"
                    and not error.code.startswith("http_")
                ):
                    raise
                last = error
        raise last

    def _round(self, log: Spooled, *, fresh: bool) -> Receipt:
        begin = BeginUpload(
            robot=self._serial,
            sha256=log.sha256,
            size=log.size,
            format=log.format,
            mapping_sha256=log.mapping_sha256,
            idempotency_key=f"{self._serial}/{log.sha256}",
            assignment=log.assignment_id,
        )
        state = UploadState.from_json(self._client.call("POST", "/uploads", begin))
        if state.state == "have" and state.receipt is not None:
            return state.receipt
        if state.state == "verifying":
            return self._complete(state.upload, CompleteUpload())
        return self._complete(state.upload, self._send(log, state, fresh=fresh))

    def _send(self, log: Spooled, state: UploadState, *, fresh: bool) -> CompleteUpload:
        wanted = PartsWanted(parts=self._measured(log, state.part_bytes))
        slots = Slots.from_json(self._client.call("POST", f"/uploads/{state.upload}/parts", wanted))
        sent = {} if fresh or slots.session != log.session else {n: p for n, p in log.parts.items() if p["etag"]}
        journal: dict[int, dict[str, str | None]] = {
            part.number: sent.get(part.number, {"sha256": part.sha256, "etag": None}) for part in wanted.parts
        }
        self._spool.journal(log.sha256, slots.session, journal)
        for slot in slots.parts:
            if journal[slot.number]["etag"] is None:
                data = _part(log, slot.number, state.part_bytes)
                etag = self._client.put_bytes(slot.url, data, slot.headers)
                journal[slot.number]["etag"] = etag
                self._spool.journal(log.sha256, slots.session, journal)
        parts = tuple(
            PartSent(number=n, etag=str(p["etag"]), sha256=str(p["sha256"])) for n, p in sorted(journal.items())
        )
        return CompleteUpload(session=slots.session, parts=parts)

    def _complete(self, upload: str, body: CompleteUpload) -> Receipt:
        return Receipt.from_json(self._client.call("POST", f"/uploads/{upload}/complete", body))

    def _measured(self, log: Spooled, part_bytes: int) -> tuple[PartWanted, ...]:
        """Size and digest of each part. Raises DataError (code `spoiled`) unless the whole still has its digest."""
        whole = hashlib.sha256()
        parts: list[PartWanted] = []
        if log.path.exists():
            with log.path.open("rb") as file:
                while data := file.read(part_bytes):
                    whole.update(data)
                    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
                    parts.append(PartWanted(number=len(parts) + 1, size=len(data), sha256=digest))
        if whole.hexdigest() != log.sha256:
            self._spool.spoil(log)
            raise DataError(
                f"log {log.sha256[:12]} changed on this robot's disk; it was set aside and its episode is run again",
                code="spoiled",
            )
        return tuple(parts)


def _part(log: Spooled, number: int, part_bytes: int) -> bytes:
    with log.path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        return file.read(part_bytes)
