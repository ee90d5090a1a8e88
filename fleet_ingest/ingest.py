"""Takes logs in: bytes into the object store, then episodes, then rows in the catalog; each file by itself.

Every step is keyed by content (raw log, mapping, converter version), so that the same file twice gives the same rows,
and a run that was killed between any two steps is repaired by running it again. A file that cannot be read is kept and
recorded as quarantined with its reason. This module decides nothing about training; the split follows from the raw
log's digest.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fleet_ingest.convert import safe_serial
from fleet_ingest.formats.read import detect_format
from fleet_ingest.mapping import Mapping
from fleet_ingest.names import check_file_name
from fleet_ingest.reading import converter_of
from fleet_ingest.validate import Sandbox, Verdict
from storage.codecs.episodes import decode_episode
from storage.contracts.dataset import split_of
from storage.contracts.episode import Episode, QualityFlag
from storage.contracts.errors import DataError, InputError, UnknownName

Progress = Callable[[float, str], None]
ACCEPTED, SALVAGED, QUARANTINED = "accepted", "salvaged", "quarantined"
UNKNOWN_ROBOT = "unknown"


class Store(Protocol):
    """What is needed of `storage.objects.ObjectStore`."""

    def put_bytes(self, data: bytes) -> str: ...
    def put_file(self, path: Path) -> str: ...
    def get_bytes(self, sha256: str) -> bytes: ...
    def download(self, sha256: str, path: Path) -> None: ...


@dataclass(frozen=True)
class IngestResult:
    """What became of one file. `code` and `detail` say why when it was not accepted; `episodes` are digests.

    `known` is True when all of it was there already; `card` is the JSON of its `fleet_ingest.card.FileCard`, None when
    `known`.
    """

    path: str
    robot: str
    upload_id: int | None
    raw_sha256: str
    state: str
    code: str = ""
    detail: str = ""
    remedy: str = ""
    episodes: tuple[str, ...] = ()
    duration_s: float = 0.0
    gaps: int = 0
    flags: tuple[QualityFlag, ...] = ()
    known: bool = False
    card: dict[str, Any] | None = None


def ingest_file(
    path: Path,
    *,
    store: Store,
    catalog: Any,
    mapping: Mapping | None = None,
    robot: str | None = None,
    assignment: int | None = None,
    sandbox: Sandbox | None = None,
    release: bool = False,
) -> IngestResult:
    """Takes in the log at `path`. Without a mapping it must be a log of our own robots.

    `release`: a person said that what is readable of a broken file is to be used.

    `robot` overrides the mapping's serial name.
    Raises InputError when there is no such file, no mapping for it, or its path does not name the robot; nothing was
    stored then. Bad files raise nothing: their result says `quarantined`.
    """
    detect = path.absolute()
    if not detect.is_file():
        raise InputError(f"no such file: {path}")
    with _borrowed(sandbox) as child, tempfile.TemporaryDirectory(prefix="ingest-") as work:
        sha256 = store.put_file(detect)
        job = _Job(store, catalog, mapping, robot, assignment, None, release)
        return job.run(detect, sha256, detect.as_posix(), child, Path(work))


def ingest_object(
    sha256: str,
    *,
    store: Store,
    catalog: Any,
    name: str = "",
    mapping: Mapping | None = None,
    robot: str | None = None,
    assignment: int | None = None,
    upload_id: int | None = None,
    sandbox: Sandbox | None = None,
    release: bool = False,
    local: Path | None = None,
    kept: Callable[[], None] = lambda: None,
) -> IngestResult:
    """Takes in a log whose bytes are in the store already; `name` is its file name, which is never a path of this
    machine. `release`: a person said that what is readable of a broken file is to be used.
    With an `upload_id` a file without a mapping that fits is quarantined with code `mapping`, and its card says what is
    in it; without one that is an InputError.

    `upload_id` is the row that waits for it. `local` is a file with these very bytes, where there is one; `kept` is
    called before any row is written and returns when the bytes are an object of the store, which they may become while
    they are read.
    Raises UnknownName when there is no such object, DataError `hostile_name` for a name that leads out.
    """
    if name:
        check_file_name(name)
    with _borrowed(sandbox) as child, tempfile.TemporaryDirectory(prefix="ingest-") as work:
        if local is None:
            local = Path(work) / "raw"
            store.download(sha256, local)
        job = _Job(store, catalog, mapping, robot, assignment, upload_id, release, kept)
        return job.run(local, sha256, name or sha256, child, Path(work))


def current(catalog: Any, rows: Sequence[Any]) -> list[Any]:
    """Of episode rows those made by the mapping that their upload was last taken in with, by the newest converter.

    A log that is taken in again with a corrected mapping keeps its older episodes in the catalog, for lineage; to train
    on both would teach the wrong one too.
    """
    uploads = {row.upload: catalog.uploads.get(row.upload).mapping_sha256 for row in rows if row.upload is not None}
    kept = [row for row in rows if row.upload is None or row.mapping_sha256 == uploads[row.upload]]
    converter = {row.upload: row.converter for row in sorted(kept, key=lambda row: row.added_ns)}
    return [row for row in kept if row.upload is None or row.converter == converter[row.upload]]


class _borrowed:
    """The given sandbox, left open; or one of our own, closed at the end."""

    def __init__(self, sandbox: Sandbox | None) -> None:
        self._own = sandbox is None
        self._sandbox = sandbox or Sandbox()

    def __enter__(self) -> Sandbox:
        return self._sandbox

    def __exit__(self, *error: object) -> None:
        if self._own:
            self._sandbox.close()


@dataclass(frozen=True)
class _Job:
    """One file on its way in."""

    store: Store
    catalog: Any
    mapping: Mapping | None
    robot: str | None
    assignment: int | None
    upload_id: int | None
    release: bool = False
    kept: Callable[[], None] = lambda: None

    def run(self, local: Path, sha256: str, name: str, child: Sandbox, work: Path) -> IngestResult:
        serial = self._serial(name)
        if serial is not None and (known := self._known(serial, sha256, name)) is not None:
            return known
        if self.mapping is not None:
            self.store.put_bytes(self.mapping.to_json())
        verdict = child.read(
            local, self.mapping, raw_sha256=sha256, out=work, logical_path=name, robot=self.robot, release=self.release
        )
        if verdict.user_error and self.upload_id is None:
            raise InputError(verdict.detail, remedy=verdict.remedy)
        blobs = [path.read_bytes() for path in verdict.episodes]
        for digest, clip in verdict.media.items():
            if self.store.put_file(Path(clip)) != digest:
                raise DataError(f"the clip '{Path(clip).name}' changed while it was read", code="corrupt")
        episodes = [(self.store.put_bytes(blob), decode_episode(blob)) for blob in blobs]
        serial = episodes[0][1].robot if episodes else serial or UNKNOWN_ROBOT
        self.kept()
        return self._record(serial, local, sha256, name, verdict, episodes)

    def _serial(self, name: str) -> str | None:
        """The serial name as far as it is known before reading."""
        if self.robot is not None:
            return safe_serial(self.robot)
        if self.mapping is None or self.mapping.robot_column is not None:
            return None
        return safe_serial(self.mapping.facts_of(name)[0])

    def _known(self, serial: str, sha256: str, name: str) -> IngestResult | None:
        """The result of an earlier run with the same bytes, mapping and converter, if it was finished and accepted."""
        row = self.catalog.uploads.find(serial, sha256)
        digest = None if self.mapping is None else self.mapping.digest
        if row is None or row.state not in (ACCEPTED, SALVAGED) or row.mapping_sha256 != digest:
            return None
        made = [e for e in self.catalog.episodes.find(upload_ids=[row.id]) if e.mapping_sha256 == digest]
        current = [e for e in made if e.converter == converter_of(self.mapping)]
        if not current or (self.upload_id is not None and row.id != self.upload_id):
            return None
        return IngestResult(
            path=name, robot=current[0].robot, upload_id=row.id, raw_sha256=sha256, state=row.state,
            code=row.reason_code or "", detail=row.detail, episodes=tuple(e.sha256 for e in current),
            duration_s=sum(e.duration_s for e in current), known=True,
        )  # fmt: skip

    def _has(self, serial: str) -> bool:
        try:
            self.catalog.robots.get(serial)
        except UnknownName:
            return False
        return True

    def _record(
        self, serial: str, local: Path, sha256: str, name: str, verdict: Verdict, episodes: list[tuple[str, Episode]]
    ) -> IngestResult:
        keys = tuple(key for key, _ in episodes)
        result = IngestResult(
            path=name, robot=serial, upload_id=self.upload_id, raw_sha256=sha256, state=verdict.state,
            code=verdict.code, detail=verdict.detail, remedy=verdict.remedy, episodes=keys,
            gaps=verdict.gaps, flags=verdict.flags, card=verdict.card,
            duration_s=sum(episode.duration_s for _, episode in episodes),
        )  # fmt: skip
        held = self.catalog.uploads.find(serial, sha256)
        if verdict.state == QUARANTINED and held is not None and held.state in (ACCEPTED, SALVAGED):
            return replace(result, upload_id=held.id, remedy=f"{verdict.remedy} What it gave before is kept.".strip())
        self._register(serial, [episode for _, episode in episodes])
        digest = None if self.mapping is None else self.mapping.digest
        upload = self.upload_id
        if upload is None:
            size, format = local.stat().st_size, _format(local, self.mapping)
            shown = "".join(c if c.isprintable() else "?" for c in Path(name).name)[-200:]
            row = self.catalog.uploads.begin(
                serial, sha256, size, format, f"import:{sha256}", digest, self.assignment, name=shown
            )
            upload = int(row.id)
        self.catalog.episodes.add_many(episodes, upload_id=upload, split=split_of(sha256), assignment=self.assignment)
        detail = verdict.detail + (f" {verdict.remedy}" if verdict.remedy else "")
        self.catalog.uploads.finish(
            upload, verdict.state, reason_code=verdict.code or None, detail=detail, episodes=list(keys)
        )
        if verdict.card is not None:
            self.catalog.uploads.set_card(upload, verdict.card)
        return replace(result, upload_id=upload)

    def _register(self, serial: str, episodes: list[Episode]) -> None:
        """Rows for the robots of the episodes; a file without any gets its robot a row only where there is none."""
        for robot, spec in {episode.robot: episode.spec for episode in episodes}.items():
            self.catalog.robots.register(robot, spec)
        if not episodes and not self._has(serial):
            self.catalog.robots.register(serial, self._nominal_spec())

    def _nominal_spec(self) -> Any:
        if self.mapping is None:
            return _UNKNOWN.spec_at(1.0)
        mapping = self.mapping
        return mapping.spec_at(mapping.rate_hz or mapping.nominal_rate_hz or mapping.time.rate_hz or 100.0)


_UNKNOWN = Mapping.model_validate(
    {"name": "unknown", "channels": [{"column": "unknown", "name": "unknown", "kind": "scalar"}]}
)


def _format(path: Path, mapping: Mapping | None) -> str:
    try:
        return detect_format(path)
    except DataError:
        return (mapping.format if mapping is not None else None) or "unknown"
