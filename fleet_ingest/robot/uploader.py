"""Carries one log to the object store by the upload protocol, and lets it go only with a verified receipt.

The server knows which parts have arrived, so that a killed process sends no part twice that did. Slots are asked for a
few parts at a time: their URLs live minutes. Expired URLs, an upload that the server forgot and an object that arrived
damaged all lead back to the first step.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Protocol

from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.protocol import (
    BeginUpload,
    CompleteUpload,
    PartsWanted,
    PartWanted,
    Receipt,
    Slots,
    UploadState,
)
from fleet_ingest.robot.spool import Spooled
from storage.contracts.errors import DataError

ROUNDS = 5
WINDOW = 8
"""Parts whose slots are asked for at once."""

Report = Callable[[str, int], None]
"""(phase, bytes done): phase is hash, send or check."""


class Journal(Protocol):
    """What holds the logs; the robot's spool is one. See `Spool` for the meaning of each."""

    def confirm(self, receipt: Receipt) -> None: ...
    def spoil(self, log: Spooled) -> None: ...


class Uploader:
    """Uploads the logs of `serial`, part by part, holding one part in memory."""

    def __init__(self, client: Client, spool: Journal, serial: str, report: Report = lambda phase, done: None) -> None:
        self._client = client
        self._spool = spool
        self._serial = serial
        self._report = report

    def upload(self, log: Spooled) -> Receipt:
        """Returns the receipt once the spool has let the file go.

        Raises Refused when the server will not have it, DataError (code `spoiled`) when the file changed on disk.
        """
        for _ in range(ROUNDS):
            try:
                receipt = self._round(log)
                self._spool.confirm(receipt)
                return receipt
            except Refused as error:
                if error.status in (401, 403, 413, 422, 429) and not error.code.startswith("http_"):
                    raise
                last = error
        raise last

    def _round(self, log: Spooled) -> Receipt:
        begin = BeginUpload(
            robot=self._serial,
            sha256=log.sha256,
            size=log.size,
            format=log.format,
            mapping_sha256=log.mapping_sha256,
            idempotency_key=f"{self._serial}/{log.sha256}",
            assignment=log.assignment_id,
            name=log.name,
            session=log.outing,
            notes=log.notes,
            priority=log.priority,
        )
        state = UploadState.from_json(self._client.call("POST", "/uploads", begin))
        if state.state == "have" and state.receipt is not None:
            return state.receipt
        if state.state in ("start", "resume"):
            self._send(log, state)
        return self._complete(log, state.upload)

    def _send(self, log: Spooled, state: UploadState) -> None:
        parts = self._measured(log, state.part_bytes)
        for first in range(0, len(parts), WINDOW):
            wanted = PartsWanted(parts=parts[first : first + WINDOW])
            slots = Slots.from_json(self._client.call("POST", f"/uploads/{state.upload}/parts", wanted))
            for slot, part in zip(slots.parts, wanted.parts, strict=True):
                if not slot.held:
                    self._client.put_bytes(slot.url, _part(log, slot.number, state.part_bytes), slot.headers)
                self._report("send", (slot.number - 1) * state.part_bytes + part.size)

    def _complete(self, log: Spooled, upload: str) -> Receipt:
        while True:
            answer = self._client.call("POST", f"/uploads/{upload}/complete", CompleteUpload())
            state = UploadState.from_json(answer)
            if state.receipt is not None:
                return state.receipt
            self._report("check", int(log.size * state.progress.share) if state.progress else 0)

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
