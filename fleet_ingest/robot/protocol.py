"""The upload protocol's words, spoken by the robot, by uploaders and by the API.

One upload carries one file of one robot, in parts of `PART_BYTES` (the last one the rest). Bytes go straight to the
object store by presigned requests, which bind length and SHA-256 of each part. The server keeps each part's announced
digest and asks the store which parts it has, so that a sender needs no journal; it re-hashes the whole object before
it believes anything. A robot proves who it is by signing a nonce of the server with its own key (`token_message`).
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from storage.contracts.base import Contract

PART_BYTES = 8 * 2**20
MAX_BYTES = 5 * 2**30
"""What S3 copies in one request."""

URL_SECONDS = 900
PRIORITIES = ("incident", "intervention", "on_demand", "routine")
SERIAL = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}$"
SHA256_HEX = r"^[0-9a-f]{64}$"
SHA256_BASE64 = r"^[A-Za-z0-9+/]{43}=$"
ED25519_BASE64 = r"^[A-Za-z0-9+/]{43}=$"
SIGNATURE_BASE64 = r"^[A-Za-z0-9+/]{86}==$"
_ODD = r"\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069"
FILE_NAME = rf"^[^.{_ODD}][^{_ODD}]{{0,199}}$"
"""A name without folders, control characters, marks that reverse the reading order, or a first dot. Never in a key."""

SESSION = r"^[A-Za-z0-9][A-Za-z0-9 _.:-]{0,79}$"
VERDICTS = ("accepted", "salvaged", "quarantined")


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("a number is wanted")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
"""An integer as JSON Schema has it: 2.0 is one, true and "2" are none."""


def token_message(serial: str, nonce: str) -> bytes:
    """The bytes that robot `serial` signs to get a token."""
    return f"sim2real robot token 1\n{serial}\n{nonce}".encode()


class Challenge(Contract):
    """Answer of POST /robots/{serial}/challenge: a nonce to be signed once, within `expires_s` seconds."""

    nonce: str
    expires_s: int


class SignedNonce(Contract):
    """Body of POST /robots/{serial}/token. A key that nobody knows is kept for an operator to admit."""

    public_key: str = Field(pattern=ED25519_BASE64)
    nonce: str = Field(min_length=16, max_length=200, pattern=r"^[\x21-\x7e]+$")
    signature: str = Field(pattern=SIGNATURE_BASE64)
    note: str = Field(default="", max_length=200, pattern=r"^[\x20-\x7e]*$")


class TokenGiven(Contract):
    """`Authorization: Bearer TOKEN` for `expires_s` seconds, while the key is not revoked."""

    token: str
    expires_s: int
    actor: str
    role: str


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
    size: Whole = Field(ge=1, le=MAX_BYTES)
    format: str = Field(pattern=r"^[a-z0-9_]{1,16}$")
    idempotency_key: str = Field(min_length=8, max_length=200, pattern=r"^[\x21-\x7e]+$")
    assignment: Annotated[int, Field(ge=1, lt=2**53), BeforeValidator(_number)] | None = None
    """Identifier of the assignment that the file belongs to."""
    mapping_sha256: str | None = Field(default=None, pattern=SHA256_HEX)
    name: str | None = Field(default=None, pattern=FILE_NAME)
    session: str | None = Field(default=None, pattern=SESSION)
    """Groups the files of one outing."""
    notes: str = Field(default="", max_length=20_000)
    """What a person knows; kept with the upload and its episodes."""
    priority: Literal["incident", "intervention", "on_demand", "routine"] = "routine"


class Slot(Contract):
    """Where one part goes: PUT the bytes to `url` with `headers`; or `held`: the store has it already."""

    number: int
    held: bool = False
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


class Progress(Contract):
    """What the server does with a whole file: `share` (0 to 1) of hashing it, or a guess of how far validation is."""

    phase: Literal["waiting", "verifying", "validating"]
    share: float = Field(ge=0, le=1)
    elapsed_s: float = 0.0


class UploadState(Contract):
    """Answer of POST /uploads, GET /uploads/{id} and POST /uploads/{id}/complete.

    `have`: the server keeps the verified bytes, see `receipt`. `start`: send all parts; `resume`: all but those in
    `received`. `verifying`: all bytes arrived; POST /uploads/{id}/complete for the receipt. `abandoned`: nothing came
    for too long; announce the file again. `problem`: why the last completion failed.
    """

    upload: str
    state: Literal["have", "start", "resume", "verifying", "abandoned"]
    part_bytes: int = PART_BYTES
    parts: int = 1
    received: tuple[int, ...] = ()
    progress: Progress | None = None
    receipt: Receipt | None = None
    problem: "Problem | None" = None


class PartWanted(Contract):
    number: Whole = Field(ge=1, le=10_000)
    size: Whole = Field(ge=1, le=PART_BYTES)
    sha256: str = Field(pattern=SHA256_BASE64)


class PartsWanted(Contract):
    """Body of POST /uploads/{id}/parts. `sha256` is base64, as S3 wants it."""

    parts: tuple[PartWanted, ...] = Field(min_length=1, max_length=1000)


class Slots(Contract):
    """Presigned requests, good for `expires_s` seconds; ask again for more."""

    parts: tuple[Slot, ...]
    expires_s: int = URL_SECONDS


class Lost(Contract):
    """A log that left the robot's disk before the server had it: evicted to make room, or damaged there."""

    sha256: str = Field(pattern=SHA256_HEX)
    size: Whole = Field(ge=1, le=MAX_BYTES)
    priority: Literal["incident", "intervention", "on_demand", "routine"] = "routine"
    name: str | None = Field(default=None, pattern=FILE_NAME)
    reason: str = Field(max_length=300)
    at_ns: Whole = Field(ge=0, le=4 * 10**18)


class LostLogs(Contract):
    """Body of POST /robots/{serial}/lost. Repeating it changes nothing."""

    logs: tuple[Lost, ...] = Field(min_length=1, max_length=200)


class CompleteUpload(Contract):
    """Body of POST /uploads/{id}/complete: how long the answer may wait for the receipt."""

    wait_s: float = Field(default=20.0, ge=0, le=60, strict=True)


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


UploadState.model_rebuild()
