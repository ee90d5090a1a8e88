"""From a verified upload to its episodes: the call into `fleet_ingest.ingest`, and what its refusals mean.

Whatever is wrong with the file or its mapping ends as a quarantined upload with a reason; the bytes are kept. Only a
store, catalog or machine that fails leaves the row as it is, for the next attempt.
"""

import time
from collections.abc import Callable
from pathlib import Path

from fleet_ingest.ingest import ingest_object
from fleet_ingest.mapping import Mapping
from fleet_ingest.validate import Sandbox
from storage.catalog.catalog import Catalog
from storage.catalog.uploads import UploadRow
from storage.contracts.errors import ContractError, DataError, InputError, UnavailableError, UnknownName
from storage.objects import ObjectStore

_FIRST_GUESS = 0.5, 20e6  # seconds, bytes/s


class Ingester:
    """Ingests with one capped child process, shared by all requests, which take turns."""

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        self._catalog = catalog
        self._store = store
        self._sandbox = Sandbox()
        self._bytes_per_s = _FIRST_GUESS[1]

    def close(self) -> None:
        self._sandbox.close()

    def expected_s(self, size: int) -> float:
        """A guess of how long a file of `size` bytes takes, from the ones before."""
        return _FIRST_GUESS[0] + size / self._bytes_per_s

    def __call__(
        self,
        upload: UploadRow,
        *,
        released: bool = False,
        local: Path | None = None,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        begun = time.monotonic()
        try:
            ingest_object(
                upload.sha256,
                store=self._store,
                catalog=self._catalog,
                name=str(Path(f"{upload.sha256}.{upload.format}")),
                mapping=self._mapping(upload),
                robot=upload.robot,
                assignment=upload.assignment,
                upload_id=upload.id,
                sandbox=self._sandbox,
                release=released,
                local=local,
                kept=kept,
            )
        except UnavailableError:
            raise
        except DataError as error:
            kept()
            self._quarantine(upload, error.code, error)
        except InputError as error:
            kept()
            self._quarantine(upload, "mapping", error)
        if upload.size > 1_000_000:
            rate = upload.size / max(1e-3, time.monotonic() - begun - _FIRST_GUESS[0])
            self._bytes_per_s += 0.3 * (rate - self._bytes_per_s)

    def _mapping(self, upload: UploadRow) -> Mapping | None:
        if upload.mapping_sha256 is None:
            return None
        try:
            return Mapping.from_json(self._store.get_bytes(upload.mapping_sha256))
        except (ContractError, UnknownName) as error:
            # Nothing of the object's content is repeated: it may be somebody else's file.
            raise DataError(f"no mapping is stored under {upload.mapping_sha256}", code="mapping") from error

    def _quarantine(self, upload: UploadRow, code: str, error: Exception) -> None:
        remedy = getattr(error, "remedy", "")
        detail = f"{error} {remedy}".strip()
        self._catalog.uploads.finish(upload.id, "quarantined", reason_code=code, detail=detail, episodes=[])
