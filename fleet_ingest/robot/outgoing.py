"""Files that an operator sends by hand: read where they lie. What is under way is noted, to be gone on with.

Unlike the robot's spool it owns no bytes: the operator's file is neither moved nor deleted, whatever becomes of the
upload. Which parts have arrived the server knows.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fleet_ingest.robot.protocol import PartWanted, Receipt
from fleet_ingest.robot.spool import Spooled
from fleet_ingest.robot.uploader import measure


@dataclass(frozen=True)
class Sending:
    """One file on its way, and how it was to be sent."""

    path: str
    robot: str
    sha256: str
    format: str
    mapping_sha256: str | None = None
    session: str | None = None
    notes: str = ""
    priority: Literal["incident", "intervention", "on_demand", "routine"] = "routine"
    api: str | None = None

    def spooled(self) -> Spooled:
        """As the uploader wants it. Raises OSError when the file is gone."""
        path = Path(self.path)
        return Spooled(
            "operator", None, 0, self.sha256, path.stat().st_size, path, self.format, self.mapping_sha256,
            name=path.name[-200:], outing=self.session, notes=self.notes, priority=self.priority,
        )  # fmt: skip


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SentFiles:
    """One small JSON file per upload under way, and one per receipt, in a directory; replaced by rename."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parts: dict[str, tuple[PartWanted, ...]] = {}

    def measured(self, path: Path) -> str:
        """The digest of the file; its parts' digests are kept for the upload that follows, so that it is read once."""
        sha256, parts = measure(path)
        self._parts = {sha256: parts}
        return sha256

    def begin(self, sending: Sending) -> None:
        self._write(self._path(sending.robot, sending.sha256), asdict(sending))

    def unfinished(self) -> list[Sending]:
        """Uploads that were begun here and have no receipt, oldest first; what cannot be read is left out."""
        found = []
        for path in sorted(self._directory.glob("*.sending.json"), key=lambda p: p.stat().st_mtime):
            try:
                found.append(Sending(**json.loads(path.read_text())))
            except (OSError, ValueError, TypeError):
                continue
        return found

    def receipts(self, sha256: str) -> list[Receipt]:
        """The receipts that were given here for a file."""
        return [Receipt.from_json(p.read_bytes()) for p in sorted(self._directory.glob(f"{sha256}-*.receipt.json"))]

    def confirm(self, receipt: Receipt) -> None:
        path = self._path(receipt.robot, receipt.sha256)
        self._write(path.with_name(path.name.replace(".sending.", ".receipt.")), receipt.model_dump(mode="json"))
        path.unlink(missing_ok=True)

    def forget(self, sending: Sending) -> None:
        self._path(sending.robot, sending.sha256).unlink(missing_ok=True)

    def plan_parts(self, sha256: str, parts: Iterable[PartWanted]) -> None:
        """Kept while this process lives. A file that changes meanwhile has its next part refused by the store."""
        self._parts = {sha256: tuple(parts)}

    def parts(self, sha256: str) -> tuple[PartWanted, ...]:
        return self._parts.get(sha256, ())

    def sending(self, sha256: str, number: int) -> None:
        """Nothing: the server knows which parts have arrived."""

    def forget_parts(self, sha256: str) -> None:
        self._parts.pop(sha256, None)

    def spoil(self, log: Spooled) -> None:
        for path in self._directory.glob(f"{log.sha256}-*.sending.json"):
            path.unlink(missing_ok=True)

    def _path(self, robot: str, sha256: str) -> Path:
        return self._directory / f"{sha256}-{robot}.sending.json"

    def _write(self, path: Path, value: object) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_suffix(f".{os.getpid()}")
        with temporary.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
