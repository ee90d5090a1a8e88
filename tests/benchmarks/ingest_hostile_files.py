"""Hostile files: each is refused with the right reason within 5 s and 256 MB, and nothing outside is read or written.

The file half of `ingest_hostile`. Every file is read in a fresh capped child; the time counts from the request to the
verdict, starting the child included; memory is the child's own peak. This benchmark sends nothing over a network.
"""

import sys
import tempfile
import time
from pathlib import Path

from fleet_ingest.names import check_file_name
from fleet_ingest.validate import validate_in_child
from storage.contracts.errors import DataError
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.fleet_ingest.hostile_files import CASES, SECRET

NAMES = ("../x.mcap", "a/../../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "a\nb", "a\x00b", "~/x", "a\u202eb", "")


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    figures: dict[str, Figure] = {}
    wrong: list[str] = []
    times, peaks, leaks, changed = [], [], 0, 0
    for name, make, codes in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            before = _state(Path(folder))
            start = time.monotonic()
            verdict = validate_in_child(path)
            times.append(time.monotonic() - start)
            peaks.append(verdict.peak_bytes)
            leaks += SECRET in str(verdict)
            changed += _state(Path(folder)) != before
        if verdict.state != "quarantined" or verdict.code not in codes:
            wrong.append(f"{name}: {verdict.state} {verdict.code}: {verdict.detail[:160]}")
        figures[f"{name}: time"] = Figure(times[-1], "s", 1)
        figures[f"{name}: peak memory"] = Figure(peaks[-1] / 2**20, "MiB", 1)
    refused = sum(_refused(name) for name in NAMES)
    figures |= {
        "hostile files refused with the right reason": Figure(1 - len(wrong) / len(CASES), "share", len(CASES)),
        "hostile file names refused": Figure(refused / len(NAMES), "share", len(NAMES)),
        "slowest refusal": Figure(max(times), "s", len(times)),
        "most memory": Figure(max(peaks) / 2**20, "MiB", len(peaks)),
        "verdicts that hold bytes of another file": Figure(leaks, "files", len(CASES)),
        "files written or changed": Figure(changed, "files", len(CASES)),
    }
    targets = {
        "hostile files refused with the right reason": Target(1.0, "higher"),
        "hostile file names refused": Target(1.0, "higher"),
        "slowest refusal": Target(5.0, "lower"),
        "most memory": Target(256.0, "lower"),
        "verdicts that hold bytes of another file": Target(0, "lower"),
        "files written or changed": Target(0, "lower"),
    }
    for note in wrong:
        sys.stderr.write(note + "\n")
    publish(envelope("ingest_hostile_files", figures, targets, []) | {"notes": wrong}, arguments)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


def _refused(name: str) -> bool:
    try:
        check_file_name(name)
    except DataError as error:
        return error.code == "hostile_name"
    return False


if __name__ == "__main__":
    main()
