"""The upload protocol's words, spoken by the robot, by uploaders and by the API.

One upload carries one file of one robot. Parts are `PART_BYTES` long but for the last; a file of one part is one
presigned PUT. Bytes go straight to the object store; the server re-hashes the whole object before it believes anything.
"""

from typing import Literal

from pydantic import Field

from storage.contracts.base import Contract

PART_BYTES = 8 * 2**20
MAX_BYTES = 2 * 2**30
SERIAL = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}$"
SHA256_HEX = r"^[0-9a-f]{64}$"
SHA256_BASE64 = r"^[A-Za-z0-9+/]{43}=$"
VERDICTS = ("accepted", "salvaged", "quarantined")


class Receipt(Contract):
    """What became of a file. `verified`: the server hashed the stored bytes itself and keeps them for good."""

    upload: str
    robot: str
    sha256: str = Field(pattern=SHA256_HEX)
    size: int
    verified: bool
    state: Literal["accepted", "salvaged", "quarantined"]
    reason_code: str | None = None
    detail: str = ""
    episodes: tuple[str, ...] = ()


class BeginUpload(Contract):
    """Body of POST /uploads. The same `idempotency_key` always gives the same upload."""

    robot: str = Field(pattern=SERIAL)
    sha256: str = Field(pattern=SHA256_HEX)
    size: int = Field(ge=1, le=MAX_BYTES)
    format: str = Field(pattern=r"^[a-z0-9_]{1,16}$")
    idempotency_key: str = Field(min_length=8, max_length=200, pattern=r"^[\x21-\x7e]+$")
    assignment: int | None = Field(default=None, ge=1, lt=2**63)
    """Identifier of the assignment that the file belongs to."""
    mapping_sha256: str | None = Field(default=None, pattern=SHA256_HEX)


class Slot(Contract):
    """Where one part goes: PUT the bytes to `url` with `headers`."""

    number: int
    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class UploadState(Contract):
    """Answer of POST /uploads and GET /uploads/{id}.

    `have`: the server keeps the verified bytes, see `receipt`. `start`, `resume`: send the parts (all, or
    those that the sender's journal does not hold). `verifying`: all bytes arrived; POST
    /uploads/{id}/complete again for the receipt.
    """

    upload: str
    state: Literal["have", "start", "resume", "verifying"]
    part_bytes: int = PART_BYTES
    parts: int = 1
    receipt: Receipt | None = None


class PartWanted(Contract):
    number: int = Field(ge=1, le=10_000)
    size: int = Field(ge=1, le=PART_BYTES)
    sha256: str = Field(pattern=SHA256_BASE64)


class PartsWanted(Contract):
    """Body of POST /uploads/{id}/parts. `sha256` is base64, as S3 wants it."""

    parts: tuple[PartWanted, ...] = Field(min_length=1, max_length=1000)


class Slots(Contract):
    """`session` names the multipart upload the slots belong to; parts of another one are void."""

    session: str
    parts: tuple[Slot, ...]


class PartSent(Contract):
    number: int = Field(ge=1, le=10_000)
    etag: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern=SHA256_BASE64)


class CompleteUpload(Contract):
    """Body of POST /uploads/{id}/complete. Empty `parts` when the upload is already `verifying`."""

    session: str = ""
    parts: tuple[PartSent, ...] = Field(default=(), max_length=10_000)


class CompleteAssignment(Contract):
    """Body of POST /assignments/{id}/complete: the digests of the logs, in the order of the plan."""

    logs: tuple[str, ...] = Field(max_length=10_000)


class RefuseAssignment(Contract):
    """Body of POST /assignments/{id}/refuse: why the robot will not run it."""

    code: str = Field(max_length=80)
    message: str = Field(max_length=2000)


class Problem(Contract):
    """Every error answer of the API."""

    code: str
    message: str
    remedy: str = ""
