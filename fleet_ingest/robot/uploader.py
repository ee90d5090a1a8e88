"""Carries one log to the object store by the upload protocol, and lets it go only with a verified receipt.

Each part's digest is journaled before the first is sent, and the server knows which have arrived, so that a killed
process neither hashes the file again nor sends a part twice that arrived. Slots are asked for a few parts at a time:
their URLs live minutes. Expired URLs, an upload that the server forgot and an object that arrived damaged all lead back
to the first step.
"""

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.protocol import (
    PART_BYTES,
    BeginUpload,
    CompleteUpload,
    PartsWanted,
    PartWanted,
    Receipt,
    Slot,
    Slots,
    UploadState,
)
from fleet_ingest.robot.spool import Spooled
from storage.contracts.errors import DataError

ROUNDS = 5
"""Attempts without a single part getting through, before the log is left for later."""

WINDOW = 8
"""Parts whose slots are asked for at once."""

Report = Callable[[str, int], None]
"""(phase, bytes done): phase is hash, send or check."""


class Journal(Protocol):
    """What holds the logs; the robot's spool is one. See `Spool` for the meaning of each."""

    def confirm(self, receipt: Receipt) -> None: ...
    def spoil(self, log: Spooled) -> None: ...
    def plan_parts(self, sha256: str, parts: Iterable[PartWanted]) -> None: ...
    def parts(self, sha256: str) -> tuple[PartWanted, ...]: ...
    def sending(self, sha256: str, number: int) -> None: ...
    def forget_parts(self, sha256: str) -> None: ...


class Uploader:
    """Uploads the logs of `serial`, `lanes` parts at a time, each held in memory."""

    def __init__(
        self, client: Client, spool: Journal, serial: str, report: Report = lambda phase, done: None, *, lanes: int = 1
    ) -> None:
        self._lanes = lanes
        self._lock = threading.Lock()
        self._client = client
        self._spool = spool
        self._serial = serial
        self._report = report
        self._sent = 0

    def upload(self, log: Spooled) -> Receipt:
        """Returns the receipt once the spool has let the file go.

        Raises Refused when the server will not have it, DataError (code `spoiled`) when the file changed on disk.
        """
        rounds = 0
        while True:
            before = self._sent
            try:
                receipt = self._round(log)
                self._spool.confirm(receipt)
                return receipt
            except Refused as error:
                if error.status in (401, 403, 413, 422, 429) and not error.code.startswith("http_"):
                    raise
                rounds = rounds + 1 if self._sent == before else 0
                if rounds >= ROUNDS:
                    raise

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
        """Raises what the first part that failed raised, after those under way have ended."""
        under_way: deque[Future[None]] = deque()
        pool = ThreadPoolExecutor(self._lanes, thread_name_prefix="part") if self._lanes > 1 else None
        try:
            for part, slot in self._slots(log, state):
                if not slot.held and pool is None:
                    self._put(log, slot, state.part_bytes)
                elif not slot.held and pool is not None:
                    under_way.append(pool.submit(self._put, log, slot, state.part_bytes))
                while len(under_way) >= self._lanes:
                    under_way.popleft().result()
                self._report("send", (slot.number - 1) * state.part_bytes + part.size)
            while under_way:
                under_way.popleft().result()
        except KeyboardInterrupt:
            self._client.give_up()
            raise
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _slots(self, log: Spooled, state: UploadState) -> Iterator[tuple[PartWanted, Slot]]:
        """The parts that have not arrived, with their slots, which are asked for when the ones before are used up."""
        parts = [p for p in self._parts(log, state.part_bytes) if p.number not in state.received]
        for first in range(0, len(parts), WINDOW):
            wanted = PartsWanted(parts=tuple(parts[first : first + WINDOW]))
            slots = Slots.from_json(self._client.call("POST", f"/uploads/{state.upload}/parts", wanted))
            yield from zip(wanted.parts, slots.parts, strict=True)

    def _put(self, log: Spooled, slot: Slot, part_bytes: int) -> None:
        self._spool.sending(log.sha256, slot.number)
        try:
            self._client.put_bytes(slot.url, _part(log, slot.number, part_bytes), slot.headers)
        except Refused as error:
            if error.status == 400:  # the store says so of a wrong checksum: perhaps the file changed since measured
                self._spool.forget_parts(log.sha256)
            raise
        with self._lock:
            self._sent += 1

    def _parts(self, log: Spooled, part_bytes: int) -> tuple[PartWanted, ...]:
        parts = self._spool.parts(log.sha256)
        if not parts or not log.path.exists() or any(p.size != part_bytes for p in parts[:-1]):
            parts = self._measured(log, part_bytes)
            self._spool.plan_parts(log.sha256, parts)
        return parts

    def _complete(self, log: Spooled, upload: str) -> Receipt:
        while True:
            answer = self._client.call("POST", f"/uploads/{upload}/complete", CompleteUpload())
            state = UploadState.from_json(answer)
            if state.receipt is not None:
                return state.receipt
            self._report("check", int(log.size * state.progress.share) if state.progress else 0)

    def _measured(self, log: Spooled, part_bytes: int) -> tuple[PartWanted, ...]:
        """Size and digest of each part. Raises DataError (code `spoiled`) unless the whole still has its digest."""
        whole, parts = measure(log.path, part_bytes) if log.path.exists() else ("", ())
        if whole != log.sha256:
            self._spool.spoil(log)
            raise DataError(
                f"log {log.sha256[:12]} changed on this robot's disk; it was set aside and its episode is run again",
                code="spoiled",
            )
        return parts


def measure(path: Path, part_bytes: int = PART_BYTES) -> tuple[str, tuple[PartWanted, ...]]:
    """(SHA-256 of the whole file in hex, its parts), read once; the two kinds of digest are computed side by side."""
    whole = hashlib.sha256()
    parts: list[PartWanted] = []
    with path.open("rb") as file, ThreadPoolExecutor(1, thread_name_prefix="digest") as beside:
        while data := file.read(part_bytes):
            part = beside.submit(hashlib.sha256, data)
            whole.update(data)
            digest = base64.b64encode(part.result().digest()).decode()
            parts.append(PartWanted(number=len(parts) + 1, size=len(data), sha256=digest))
    return whole.hexdigest(), tuple(parts)


def _part(log: Spooled, number: int, part_bytes: int) -> bytes:
    with log.path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        return file.read(part_bytes)
