"""Every log format: real files and the MCAP conformance suite, damaged files, and speed beside the libraries' own.

Real files are read in the capped child, as uploads are. For damage one file a format is written by the format's own
writer, then cut 50 times and changed by one bit 200 times. Needs ../shared/data for the real files; the rest runs
without. This benchmark does not upload.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fleet_ingest.formats.mcap_records import read_records
from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.formats.read import read_log
from fleet_ingest.validate import Sandbox
from tests.benchmarks import ingest_damage as damage
from tests.benchmarks import ingest_libraries as libraries
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.fleet_ingest import log_files

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CONFORMANCE = DATA / "mcap_conformance"
SEED = 20_261_122
CHECKED = ("mcap (CDR)", "mcap (JSON)", "mcap (protobuf)", "hdf5")
"""Formats whose files carry checksums over all their bytes, as written here. Parquet's cover values only."""
VARIANTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mcap (chunk checksums only)": ("x.mcap", partial(log_files.mcap_cdr, checked=False)),
    "hdf5 (no checksums)": ("x.hdf5", partial(log_files.hdf5, checked=False)),
    "parquet (no page checksums)": ("x.parquet", partial(log_files.parquet, checked=False)),
}
"""The same contents as writers leave them when nobody asks for checksums."""
REFUSED = {"empty-file.bag": "empty", "no-messages.bag": "empty", "gps_odom.csv": "header_mismatch"}
"""Real files that hold nothing, or whose header and rows contradict each other: a reason is the right answer."""


def real_files(figures: dict[str, Figure], notes: list[str]) -> None:
    files = sorted(p for p in (DATA / "logs").rglob("*") if p.is_file() and not p.name.startswith("LICENSE"))
    files += [*sorted((DATA / "g1_bottle" / "data").rglob("*.parquet")), DATA / "g1_bottle"]
    right = topics = equal = 0
    with Sandbox() as sandbox:
        for path in files:
            verdict = sandbox.inspect(path)
            expected = REFUSED.get(path.name)
            good = verdict.code == expected if expected else verdict.state == "accepted"
            right += good
            if not good:
                notes.append(f"{path.name}: {verdict.state} {verdict.code}: {verdict.detail[:200]}")
            for topic in (verdict.card or {}).get("topics", ()):
                here = topic["decoded"] > 0 or topic["said"] == 0
                topics += here
                equal += here and topic["said"] == topic["decoded"]
    figures["real files read, or refused for what is wrong with them"] = Figure(right / len(files), "share", len(files))
    figures["topics of real files with all messages that the file counts"] = Figure(equal / topics, "share", topics)


def conformance(figures: dict[str, Figure], notes: list[str]) -> None:
    files = sorted(CONFORMANCE.rglob("*.mcap"))
    right = 0
    for path in files:
        wanted = json.loads(path.with_suffix(".json").read_text())["records"]
        with path.open("rb") as file:
            found = [_described(record) for record in read_records(file, path.name, Limits())]
        same = found == [{"type": r["type"], "fields": sorted([k, v] for k, v in r.get("fields", []))} for r in wanted]
        right += same
        if not same:
            notes.append(f"conformance: {path.name}")
    figures["MCAP conformance files with every record as expected"] = Figure(right, "files", len(files))


def _described(record: Any) -> dict[str, Any]:
    return {"type": type(record).__name__, "fields": sorted([k, _text(v)] for k, v in vars(record).items())}


def _text(value: Any) -> Any:
    """Fields in the suite's notation: numbers as decimal text, bytes as lists of such."""
    if isinstance(value, bytes):
        return [str(byte) for byte in value]
    if isinstance(value, dict):
        return {str(key): _text(inner) for key, inner in value.items()}
    return value if isinstance(value, str) else str(value)


def broken_files(figures: dict[str, Figure], notes: list[str], cuts: int, bits: int) -> None:
    rng = np.random.default_rng(SEED)
    total: dict[str, int] = dict.fromkeys(("n", "digest", "killed", "hung", "checked", "checked_right"), 0)
    with tempfile.TemporaryDirectory() as folder, Sandbox(Limits(wall_s=30)) as sandbox:
        targets = {name: _made(Path(folder) / f"{i}", name) for i, name in enumerate(log_files.SINGLE)}
        for name, (file, write) in VARIANTS.items():
            targets[name] = Path(folder) / name.replace(" ", "-") / file
            targets[name].parent.mkdir()
            write(targets[name])
        targets["lerobot v2.1"] = log_files.lerobot(Path(folder) / "v2", version="v2.1")
        targets["lerobot v3.0"] = log_files.lerobot(Path(folder) / "v3", version="v3.0")
        for name, path in targets.items():
            data = path.read_bytes()
            ends = damage.ENDS[name](path) if name in damage.ENDS else []
            for kind, cases in (("cut", damage.truncations(data, cuts, rng)), ("bit", damage.flips(data, bits, rng))):
                found = damage.run(path, cases, sandbox, ends)
                _report(figures, notes, name, kind, found)
                total["n"] += found.n
                total["digest"] += found.digest
                total["killed"] += len(found.killed)
                total["hung"] += found.hung
                if name in CHECKED:
                    total["checked"] += found.n
                    total["checked_right"] += found.flagged + found.harmless
    figures["damage after hashing caught by the digest"] = Figure(total["digest"] / total["n"], "share", total["n"])
    share = total["checked_right"] / max(1, total["checked"])
    figures["damage flagged or harmless, formats with checksums"] = Figure(share, "share", total["checked"])
    figures["files without a verdict (crash or hang of the validator)"] = Figure(total["hung"], "files", total["n"])
    figures["files that ended the child that read them"] = Figure(total["killed"], "files", total["n"])


def _made(folder: Path, name: str) -> Path:
    folder.mkdir()
    file, write = log_files.SINGLE[name]
    write(folder / file)
    return folder / file


def _report(figures: dict[str, Figure], notes: list[str], name: str, kind: str, found: damage.Outcome) -> None:
    words = {"cut": "truncations", "bit": "bit flips"}[kind]
    figures[f"{name}: {words} flagged"] = Figure(found.flagged / found.n, "share", found.n)
    figures[f"{name}: {words} without any effect"] = Figure(found.harmless / found.n, "share", found.n)
    figures[f"{name}: {words} unnoticed"] = Figure(len(found.silent), "files", found.n)
    if found.salvage_n:
        share = found.salvage_whole / found.salvage_n
        figures[f"{name}: {words} with all complete records before them kept"] = Figure(share, "share", found.salvage_n)
    if found.salvage_n:
        figures[f"{name}: {words} salvaged with other values than the file had"] = Figure(
            len(found.altered), "files", found.salvage_n
        )
    for what, listed in (
        ("unnoticed", found.silent),
        ("killed", found.killed),
        ("lost", found.wrong_prefix),
        ("altered", found.altered),
    ):
        notes += [f"{name}: {words}: {what}: {text}" for text in listed[:3]]


def speed(figures: dict[str, Figure], n: int) -> None:
    """Best of three, ours and the library in turn, each to arrays or decoded messages, in processor time."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, write) in log_files.SINGLE.items():
            path = Path(folder) / f"{len(figures)}-{file}"
            write(path, n)
            ours, theirs = [], []
            count = 0
            for _ in range(3):
                taken, raw = _timed(lambda path=path: read_log(path))  # type: ignore[misc]
                ours.append(taken)
                count = sum(topic.decoded for topic in raw.topics)
                taken, theirs_count = _timed(lambda path=path, name=name: libraries.READ[name](path))  # type: ignore[misc]
                theirs.append(taken)
                if theirs_count != count:
                    raise SystemExit(f"{name}: the library gave {theirs_count} messages, the reader {count}")
            figures[f"{name}: reading into series"] = Figure(count / min(ours), "1/s", 3)
            figures[f"{name}: the library's own reading"] = Figure(count / min(theirs), "1/s", 3)
            figures[f"{name}: over the library's own"] = Figure(min(theirs) / min(ours), "ratio", 3)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    targets = {
        "damage after hashing caught by the digest": Target(1.0, "higher"),
        "damage flagged or harmless, formats with checksums": Target(1.0, "higher"),
        "files without a verdict (crash or hang of the validator)": Target(0, "lower"),
    }
    if DATA.is_dir():
        real_files(figures, notes)
        conformance(figures, notes)
        targets |= {
            "real files read, or refused for what is wrong with them": Target(1.0, "higher"),
            "topics of real files with all messages that the file counts": Target(1.0, "higher"),
            "MCAP conformance files with every record as expected": Target(416, "higher"),
        }
    else:
        notes.append(f"skipped: the real files are not at {DATA}")
    broken_files(figures, notes, *((5, 20) if arguments.quick else (50, 200)))
    speed(figures, 500 if arguments.quick else 20_000)
    for name in damage.ENDS:
        for words in ("truncations", "bit flips"):
            key = f"{name}: {words} with all complete records before them kept"
            if key in figures:
                targets[key] = Target(1.0, "higher")
    for note in notes:
        sys.stderr.write(note + "\n")
    publish(envelope("ingest_formats", figures, targets, [SEED]) | {"notes": notes}, arguments)


if __name__ == "__main__":
    main()
