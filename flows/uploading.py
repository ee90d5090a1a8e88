"""`upload`: an operator's files through the protocol that robots speak, with progress; and going on after a stop."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

from fleet_ingest.formats.read import detect_format
from fleet_ingest.import_tree import find_logs
from fleet_ingest.mapping_yaml import load_mapping
from fleet_ingest.robot.client import Refused
from fleet_ingest.robot.outgoing import Sending, digest_of
from fleet_ingest.robot.uploader import Uploader
from flows.progress import Progress, reporting
from flows.remote import Remote
from storage.contracts.errors import DataError, InputError

FileResult = dict[str, Any]
LANES = 4
"""Parts that are sent at the same time where no bandwidth cap is set."""

_NO_ROOM = ("quota",)
"""Codes of refusals that pass with time."""

_WEIGHTS = {"hash": (0.0, 0.1), "send": (0.1, 0.7), "check": (0.8, 0.2)}
"""Where a phase begins and how much of a file's work it is, for the bar."""


@dataclass(frozen=True)
class Wish:
    """How files are to be sent."""

    robot: str
    mapping: Path | None = None
    session: str | None = None
    notes: str = ""
    priority: Any = "routine"


class Rate:
    """Turns bytes done into a share with a rate, for one batch of files of `sizes` bytes."""

    def __init__(self, sizes: Sequence[int], progress: Progress) -> None:
        self._sizes, self._total = sizes, max(1, sum(sizes))
        self._progress = progress
        self._index, self._sent = 0, 0
        self._begun = time.monotonic()
        self._name = ""

    def enter(self, index: int, name: str) -> None:
        self._index, self._name = index, name

    def __call__(self, phase: str, done: int) -> None:
        size = max(1, self._sizes[self._index])
        first, weight = _WEIGHTS[phase]
        self._sent = sum(self._sizes[: self._index]) + (done if phase == "send" else size if phase == "check" else 0)
        share = (sum(self._sizes[: self._index]) + size * (first + weight * min(1.0, done / size))) / self._total
        rate = self._sent / max(1e-3, time.monotonic() - self._begun) / 1e6
        words = {"hash": "hashing", "send": "sending", "check": "checked by the server"}[phase]
        self._progress(share, f"{self._index + 1} of {len(self._sizes)}, {rate:.1f} MB/s, {words}: {self._name}")


def upload_paths(remote: Remote, paths: Sequence[Path], wish: Wish) -> list[FileResult]:
    """Sends every log under `paths`; one result a file, in order.

    Raises InputError for paths without logs; what the server refuses stands in the results.
    """
    files, mapping_sha256 = _prepared(remote, paths, wish)
    sizes = [path.stat().st_size for path in files]
    results = []
    with reporting("upload") as progress:
        rate = Rate(sizes, progress)
        for index, path in enumerate(files):
            rate.enter(index, path.name)
            results.append(_send(remote, path, wish, mapping_sha256, rate))
    return results


def try_paths(remote: Remote, paths: Sequence[Path], wish: Wish) -> list[FileResult]:
    """What `upload_paths` would do; nothing is sent."""
    files = find_logs(paths, load_mapping(wish.mapping) if wish.mapping else None)
    if wish.mapping is None:
        try:
            remote.get(f"/robots/{quote(wish.robot, safe='')}")
        except Refused as error:
            return [_refused(path, "", error) for path in files]
    results = []
    for path in files:
        sha256 = digest_of(path)
        known = remote.get("/uploads", robot=wish.robot, sha256=sha256)["rows"]
        state = f"there already: {known[0]['state']}" if known else "would be sent"
        results.append(_row(str(path), sha256, state, format=_format(path), size=path.stat().st_size))
    return results


def resume(remote: Remote) -> list[FileResult]:
    """Goes on with what this machine began to send and has no receipt for."""
    found = remote.sent.unfinished()
    sizes = [Path(s.path).stat().st_size if Path(s.path).exists() else 0 for s in found]
    results = []
    with reporting("resume") as progress:
        rate = Rate(sizes, progress)
        for index, sending in enumerate(found):
            rate.enter(index, Path(sending.path).name)
            results.append(_upload(remote, sending, rate))
    return results


def watch(
    remote: Remote, folder: Path, wish: Wish, tell: Callable[[FileResult], None], *, every_s: float = 2.0,
    again_s: float = 300.0, stop: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Sends each file that appears in `folder` and has stopped growing, until `stop`. Raises InputError without it.

    What the server had no room for is tried again every `again_s`, and told of once; a file that was moved away or
    cannot be read ends nothing.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} to watch")
    mapping_sha256 = _mapping(remote, wish)
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    waiting: dict[Path, float] = {}
    while not stop():
        now = dict(_stats(folder))
        for path, stat in now.items():
            fresh = done.get(path) != stat
            due = path in waiting and time.monotonic() >= waiting[path]
            if before.get(path) == stat and (fresh or due) and stat[0] > 0:
                done[path] = stat
                row = _send(remote, path, wish, mapping_sha256, Rate([stat[0]], lambda share, text: None))
                if row["code"] not in _NO_ROOM or path not in waiting:
                    tell(row)
                waiting.pop(path, None)
                if row["code"] in _NO_ROOM:
                    waiting[path] = time.monotonic() + again_s
        before = now
        time.sleep(every_s)


def _stats(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            stat = path.stat()
        except OSError:  # moved away since the folder was read
            continue
        if S_ISREG(stat.st_mode):
            yield path, (stat.st_size, stat.st_mtime_ns)


def _prepared(remote: Remote, paths: Sequence[Path], wish: Wish) -> tuple[list[Path], str | None]:
    files = find_logs(paths, load_mapping(wish.mapping) if wish.mapping else None)
    return files, _mapping(remote, wish)


def _mapping(remote: Remote, wish: Wish) -> str | None:
    """The digest of the mapping, kept by the server, which also gets to know a new robot by it."""
    if wish.mapping is None:
        return None
    body = load_mapping(wish.mapping).model_dump(mode="json")
    return str(remote.send("POST", f"/robots/{wish.robot}/mappings", body)["sha256"])


def _sending(remote: Remote, path: Path, wish: Wish, mapping_sha256: str | None, rate: Rate) -> Sending:
    rate("hash", 0)
    sending = Sending(
        str(path.absolute()), wish.robot, remote.sent.measured(path), _format(path), mapping_sha256,
        session=wish.session, notes=wish.notes, priority=wish.priority, api=remote.url,
    )  # fmt: skip
    rate("hash", path.stat().st_size)
    remote.sent.begin(sending)
    return sending


def _format(path: Path) -> str:
    """What the file seems to be; the server finds out by itself and says so when it cannot."""
    try:
        return detect_format(path)
    except DataError:
        return "unknown"


def _send(remote: Remote, path: Path, wish: Wish, mapping_sha256: str | None, rate: Rate) -> FileResult:
    try:
        sending = _sending(remote, path, wish, mapping_sha256, rate)
    except OSError as error:
        return _row(str(path), "", "changed", code="changed", detail=str(error))
    return _upload(remote, sending, rate)


def _upload(remote: Remote, sending: Sending, rate: Rate) -> FileResult:
    try:
        lanes = 1 if remote.client.throttled else LANES
        receipt = Uploader(remote.client, remote.sent, sending.robot, rate, lanes=lanes).upload(sending.spooled())
    except Refused as error:
        if error.status != 429:
            remote.sent.forget(sending)
        return _refused(sending.path, sending.sha256, error)
    except (OSError, DataError) as error:
        return _row(sending.path, sending.sha256, "changed", code="changed", detail=str(error))
    fate = remote.get(f"/uploads/{receipt.upload}/fate")
    duration = (fate["card"] or {}).get("duration_s", 0.0)
    found = _row(
        sending.path, receipt.sha256, receipt.state, code=receipt.reason_code or "", detail=receipt.detail,
        remedy=fate["remedy"], upload=int(receipt.upload), robot=receipt.robot, duration_s=round(duration, 6),
    )  # fmt: skip
    return found | {"episodes": list(receipt.episodes)}


def _refused(path: Path | str, sha256: str, error: Refused) -> FileResult:
    return _row(str(path), sha256, "refused", code=error.code, detail=str(error), remedy=error.remedy)


def _row(path: str, sha256: str, state: str, *, code: str = "", detail: str = "", **more: Any) -> FileResult:
    found = {
        "path": path, "robot": "", "state": state, "code": code, "reason": f"{code}: {detail}" if code else "",
        "remedy": "", "sha256": sha256, "episodes": [], "duration_s": 0.0, "upload": None,
    }  # fmt: skip
    return found | more
