"""The child of `fleet_ingest.validate`: one JSON request a line on standard input, one JSON answer a line on standard
output.

Sets its own caps first. It ends when its standard input does.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from fleet_ingest.card import card_of
from fleet_ingest.formats.rawlog import Limits, RawLog
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping import Mapping
from fleet_ingest.raw_quality import raw_flags
from fleet_ingest.reading import LOST, Reading, episodes_of, merged_flags, read_raw
from fleet_ingest.validate import Verdict
from storage.codecs.episodes import encode_episode
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError, InputError

_CAN_CAP_MEMORY = sys.platform.startswith("linux")  # macOS counts reserved address space and refuses to start


def cap(limits: Limits) -> None:
    """Memory where the system counts it sanely, and the processor seconds of this request on top of those already
    used.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + limits.cpu_s) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _CAN_CAP_MEMORY:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        ours = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(limits.memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (ours, hard))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one file, as JSON values, with its card and the most memory that this process ever took."""
    limits = Limits(**request["limits"])
    cap(limits)
    path = Path(request["path"])
    raw: RawLog | None = None
    reading: Reading | None = None
    found: dict[str, Any]
    try:
        mapping = None if request.get("mapping") is None else Mapping.from_json(request["mapping"])
        if request.get("read_only"):
            raw = read_log(path, request.get("format"), limits=limits)
            found = _stated((*raw.salvage, *raw_flags(raw)))
        else:
            raw = read_raw(path, mapping, limits)
            reading = _episodes(raw, mapping, request)
            found = _stated(merged_flags(reading)) | _written(reading, raw, Path(request["out"]))
    except DataError as error:
        found = _quarantined(error.code, str(error), error.remedy)
    except InputError as error:
        found = _quarantined("mapping", str(error), error.remedy) | {"user_error": True}
    except MemoryError:
        found = _quarantined(
            "too_costly", f"reading it takes more than {limits.memory_bytes >> 20} MiB of memory",
            "Split the log into smaller files.",
        )  # fmt: skip
    except Exception as error:
        detail = f"the reader failed on it: {type(error).__name__}: {str(error)[:300]}"
        found = _quarantined("corrupt", detail, "Copy the file again from the robot.")
    if raw is not None and "flags" not in found:
        found["flags"] = [flag.model_dump() for flag in (*raw.salvage, *raw_flags(raw))]
    found["card"] = _card(raw, reading, found, path)
    found["peak_bytes"] = _peak_bytes()
    return found


def _peak_bytes() -> int:
    """The most memory held since this program began. On Linux getrusage would count what the parent held as well."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _episodes(raw: RawLog, mapping: Mapping | None, request: dict[str, Any]) -> Reading:
    return episodes_of(
        raw, mapping, raw_sha256=request["raw_sha256"], logical_path=request["logical_path"] or request["path"],
        robot=request["robot"], release=bool(request.get("release")),
    )  # fmt: skip


def _stated(flags: tuple[QualityFlag, ...]) -> dict[str, Any]:
    """accepted, or salvaged with the first reason why."""
    broken = next((flag for flag in flags if flag.code in LOST), None)
    reason = {"code": broken.code, "detail": broken.detail} if broken is not None else {}
    state = "salvaged" if broken is not None else "accepted"
    return {"state": state, **reason, "flags": [flag.model_dump() for flag in flags]}


def _written(reading: Reading, raw: RawLog, out: Path) -> dict[str, Any]:
    names = []
    for part, episode in enumerate(reading.episodes):
        names.append(f"part-{part:05d}.parquet")
        (out / names[-1]).write_bytes(encode_episode(episode))
    used = {clip.sha256 for episode in reading.episodes for clip in episode.media}
    media = {clip.sha256: str(clip.path) for clip in raw.media if clip.sha256 in used}
    return {"episodes": names, "rate_hz": reading.rate_hz, "gaps": reading.gaps, "media": media}


def _quarantined(code: str, detail: str, remedy: str) -> dict[str, Any]:
    return {"state": "quarantined", "code": code, "detail": detail, "remedy": remedy}


def _card(raw: RawLog | None, reading: Reading | None, found: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The card as JSON; a card that cannot be made is no reason to refuse a file."""
    flags = tuple(QualityFlag.model_validate(flag) for flag in found.get("flags", ()))
    verdict = Verdict(
        found["state"], found.get("code", ""), found.get("detail", ""), found.get("remedy", ""), flags,
        rate_hz=found.get("rate_hz", 0.0), gaps=found.get("gaps", 0),
    )  # fmt: skip
    episodes, lag = ((), None) if reading is None else (reading.episodes, reading.lag)
    size = path.stat().st_size if path.is_file() else 0
    for contents in (raw, None):
        try:
            card = card_of(contents, verdict, episodes=episodes, lag=lag, file_bytes=size)
            return dict(card.model_dump(mode="json"))
        except (ValueError, ArithmeticError, MemoryError, IndexError):
            episodes = ()
    return None


def main() -> None:
    """Answers requests until standard input ends.

    What libraries print goes to standard error, answers keep their own pipe.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
