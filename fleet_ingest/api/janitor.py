"""What is done without being asked: abandoned uploads are collected, interrupted checks are gone on with.

Nothing that a row vouches for is touched, and nothing younger than the grace period.
"""

import logging
import threading
import time
from datetime import datetime

from fleet_ingest.api.uploads import Uploads
from storage.catalog.catalog import Catalog
from storage.contracts.errors import Sim2RealError
from storage.objects import ObjectStore

_LOG = logging.getLogger("sim2real.api")
_EVERY_S = 60.0
_STALE_S = 30.0


class Janitor:
    """`sweep` does one round; `start` does one a minute in a thread until `close`."""

    def __init__(self, catalog: Catalog, store: ObjectStore, uploads: Uploads, grace_s: float) -> None:
        self._catalog, self._store, self._uploads = catalog, store, uploads
        self._grace_s = grace_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)
        self._origins: tuple[str, ...] = ()

    def start(self, origins: tuple[str, ...]) -> None:
        """Also lets pages of `origins` send to the store, as soon as the store answers."""
        self._origins = origins
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def sweep(self) -> dict[str, int]:
        """Returns what was done: `resumed` checks, `abandoned` uploads, `orphans` in the staging area."""
        now = time.time()
        limit_ns = int((now - self._grace_s) * 1e9)
        abandoned = self._catalog.uploads.idle("receiving", limit_ns)
        for row in abandoned:
            self._uploads.collect(row)
        resumed = self._uploads.resume_all(int((now - _STALE_S) * 1e9))
        return {"resumed": resumed, "abandoned": len(abandoned), "orphans": self._orphans(now - self._grace_s)}

    def _orphans(self, before: float) -> int:
        """Bytes in the staging area that no open upload names: a process was killed between two lines."""
        count = 0
        for key, session, begun in self._store.open_multiparts():
            if _older(begun, before) and not self._is_named(key, session):
                self._store.abort_multipart(key, session)
                count += 1
        for key, written in self._store.staged_objects():
            if _older(written, before) and not self._is_named(key, None):
                self._store.delete_staged(key)
                count += 1
        return count

    def _is_named(self, key: str, session: str | None) -> bool:
        last = key.rsplit("/", 1)[1]
        if not last.isdigit():
            return False
        try:
            row = self._catalog.uploads.get(int(last))
        except Sim2RealError:
            return False
        return row.state == "receiving" and (session is None or row.s3_upload_id == session)

    def _run(self) -> None:
        wait, origins_set = 1.0, not self._origins
        while not self._stop.wait(wait):
            wait = _EVERY_S
            try:
                if not origins_set:
                    self._store.allow_origins(self._origins)
                    origins_set = True
                self.sweep()
            except Sim2RealError as error:
                wait = _EVERY_S if origins_set else 5.0
                _LOG.warning("the staging area was not swept: %s", error)


def _older(moment: datetime, before: float) -> bool:
    return moment.timestamp() < before
