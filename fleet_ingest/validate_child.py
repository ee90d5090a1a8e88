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

from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping import Mapping
from fleet_ingest.reading import merged_flags, read_episodes
from storage.codecs.episodes import encode_episode
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
    """The verdict on one file, as JSON values."""
    limits = Limits(**request["limits"])
    cap(limits)
    try:
        if request.get("read_only"):
            raw = read_log(Path(request["path"]), request.get("format"), limits=limits)
            flags = [flag.model_dump() for flag in raw.salvage]
            reason = {"code": raw.salvage[0].code, "detail": raw.salvage[0].detail} if raw.salvage else {}
            return {"state": "salvaged" if raw.salvage else "accepted", **reason, "flags": flags}
        return _converted(request, limits)
    except DataError as error:
        return {"state": "quarantined", "code": error.code, "detail": str(error), "remedy": error.remedy}
    except InputError as error:
        return {
            "state": "quarantined",
            "code": "mapping",
            "detail": str(error),
            "remedy": error.remedy,
            "user_error": True,
        }
    except MemoryError:
        detail = f"reading it takes more than {limits.memory_bytes >> 20} MiB of memory"
        return {
            "state": "quarantined",
            "code": "too_costly",
            "detail": detail,
            "remedy": "Split the log into smaller files.",
        }
    except Exception as error:
        detail = f"the reader failed on it: {type(error).__name__}: {str(error)[:300]}"
        return {
            "state": "quarantined",
            "code": "corrupt",
            "detail": detail,
            "remedy": "Copy the file again from the robot.",
        }


def _converted(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    mapping = None if request["mapping"] is None else Mapping.from_json(request["mapping"])
    reading = read_episodes(
        Path(request["path"]), mapping, raw_sha256=request["raw_sha256"], logical_path=request["logical_path"],
        robot=request["robot"], limits=limits,
    )  # fmt: skip
    names = []
    for part, episode in enumerate(reading.episodes):
        names.append(f"part-{part:05d}.parquet")
        (Path(request["out"]) / names[-1]).write_bytes(encode_episode(episode))
    flags = merged_flags(reading)
    broken = next((f for f in flags if f.code in ("truncated", "corrupt", "ragged_rows", "bad_messages")), None)
    reason = {"code": broken.code, "detail": broken.detail} if broken is not None else {}
    return {
        "state": "salvaged" if broken is not None else "accepted", **reason,
        "flags": [flag.model_dump() for flag in flags], "episodes": names, "rate_hz": reading.rate_hz,
        "gaps": reading.gaps,
    }  # fmt: skip


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
