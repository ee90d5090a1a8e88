"""What the API answers to people and pages: histories, cards, keys, accounts, episodes. Robots' words are in
`fleet_ingest.robot.protocol`.
"""

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field

from fleet_ingest.robot.protocol import FILE_NAME, SERIAL, SESSION, SHA256_HEX, Problem, UploadState, Whole
from storage.contracts.base import Contract
from storage.contracts.robot import RobotSpec

Serial = Annotated[str, Path(pattern=SERIAL, description="Serial number of the robot.")]
Identifier = Annotated[int, Path(ge=1, lt=2**53)]
Digest = Annotated[str, Path(pattern=SHA256_HEX)]
OPERATOR = r"^[a-z0-9][a-z0-9_.@-]{0,63}$"
OperatorName = Annotated[str, Path(pattern=OPERATOR)]
Role = Literal["viewer", "operator", "admin"]
PHOTO_BYTES = 25 * 2**20

_WORDS = {
    400: "The request is not HTTP as it should be, or names another host.",
    401: "No token, or one that is not good any more.",
    403: "The token does not open this.",
    404: "Nothing of that name.",
    409: "Something has to be sent again, or belongs to another.",
    413: "The request's body is too long.",
    422: "The request is not as documented.",
    429: "A quota or a rate is used up; see Retry-After.",
    503: "The store or the catalog cannot be reached; try again.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words} for status, words in _WORDS.items()
}


class RobotAnswer(Contract):
    serial: str
    kind: str
    spec: RobotSpec


class RobotLine(Contract):
    serial: str
    kind: str
    spec_name: str


class Me(Contract):
    """Who the token belongs to."""

    actor: str
    role: str


class SignIn(Contract):
    name: str = Field(min_length=1, max_length=64)
    secret: str = Field(min_length=1, max_length=200)


class KeyAnswer(Contract):
    """A robot's public key; `mark` is what people compare with the robot's own."""

    id: int
    robot: str
    mark: str
    state: Literal["waiting", "admitted", "revoked"]
    note: str
    asked_ns: int
    decided_ns: int | None
    decided_by: str | None


class OperatorAnswer(Contract):
    name: str
    role: Role
    state: Literal["active", "disabled"]
    created_ns: int


class NewOperator(Contract):
    name: str = Field(pattern=OPERATOR)
    role: Role


class OperatorChange(Contract):
    """`new_secret` ends the sessions of the old one."""

    role: Role | None = None
    state: Literal["active", "disabled"] | None = None
    new_secret: bool = Field(default=False, strict=True)


class OperatorSecret(Contract):
    """`secret` is shown this once; None when it did not change."""

    operator: OperatorAnswer
    secret: str | None


class QuotaAnswer(Contract):
    """Limits and what counts against them, of the last 24 hours."""

    bytes_per_day: Whole = Field(ge=0, lt=2**53)
    files_per_day: Whole = Field(ge=0, lt=2**53)
    open_uploads: Whole = Field(ge=0, lt=2**53)
    bytes_used: Whole = Field(default=0)
    files_used: Whole = Field(default=0)
    open_used: Whole = Field(default=0)


class AuditLine(Contract):
    id: int
    at_ns: int
    actor: str
    role: str
    action: str
    subject: str
    outcome: str
    detail: str


class AuditPage(Contract):
    """Newest first; ask with `before=next` for what is older."""

    rows: tuple[AuditLine, ...]
    next: int | None


class UploadLine(Contract):
    """One file in the history. `words` say what became of it."""

    id: int
    robot: str
    sha256: str
    size: int
    format: str
    name: str | None
    session: str | None
    priority: str
    sender: str | None
    state: str
    reason_code: str | None
    words: str
    created_ns: int
    updated_ns: int


class UploadPage(Contract):
    """Newest first; ask with `before=next` for what is older."""

    rows: tuple[UploadLine, ...]
    next: int | None


class Photo(Contract):
    sha256: str = Field(pattern=SHA256_HEX)
    name: str = Field(pattern=FILE_NAME)
    media_type: Literal["image/jpeg", "image/png", "image/webp"]
    size: Whole = Field(ge=1, le=PHOTO_BYTES)


class PhotoSlot(Contract):
    """Where a photo's bytes go: PUT to `url` with `headers`; `held` when they are there."""

    held: bool
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


class PhotoUrl(Contract):
    url: str
    expires_s: int


class NewNote(Contract):
    robot: str = Field(pattern=SERIAL)
    text: str = Field(min_length=1, max_length=20_000)
    session: str | None = Field(default=None, pattern=SESSION)


class NoteAnswer(Contract):
    id: int
    robot: str
    session: str | None
    text: str
    author: str
    created_ns: int
    photos: tuple[Photo, ...]


class UploadFate(Contract):
    """All that is known of one file: its line, its card (`fleet_ingest.card.FileCard`), its notes and its episodes."""

    line: UploadLine
    state: UploadState
    detail: str
    remedy: str
    releasable: bool
    mapping_sha256: str | None
    card: dict[str, Any] | None
    notes: tuple[NoteAnswer, ...]


class Release(Contract):
    """Why a person overrules the quarantine; `mapping_sha256`: take the file in with this mapping instead."""

    note: str = Field(min_length=1, max_length=2000)
    mapping_sha256: str | None = Field(default=None, pattern=SHA256_HEX)


class MappingKept(Contract):
    sha256: str
    name: str


class EpisodeLine(Contract):
    """`coverage`: share of the state's values that were measured; `start_ns` by the robot's clock."""

    sha256: str
    robot: str
    spec_name: str
    upload: int | None
    raw_sha256: str
    policy: str | None
    outcome: str
    coverage: float | None
    start_ns: int
    duration_s: float
    steps: int
    split: str | None
    tags: dict[str, str]


class EpisodePage(Contract):
    """Newest recording first; ask with `after=next` for what is older."""

    rows: tuple[EpisodeLine, ...]
    next: str | None


class EpisodeTotal(Contract):
    robot: str
    spec_name: str
    outcome: str
    episodes: int
    duration_s: float


class EpisodeTotals(Contract):
    """Counts of all episodes, kept with every insertion."""

    episodes: int
    duration_s: float
    rows: tuple[EpisodeTotal, ...]
