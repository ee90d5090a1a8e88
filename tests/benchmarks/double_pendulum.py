"""A simulator of the real double pendulum, from import to scorecard, through the commands a user would type.

Needs the logs in ../shared/data/double_pendulum (public; see fleet_ingest/mappings). Test recordings are held out by a
hash of their bytes. This benchmark trains on one split and makes no claim about runs of unseen controllers.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.loop import run

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT.parent / "shared" / "data" / "double_pendulum"
MAPPING = ROOT / "fleet_ingest" / "mappings" / "double_pendulum.yaml"
ROBOT = "double_pendulum"


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    if not LOGS.exists():
        sys.exit(f"skipped: the logs are not at {LOGS}; the mapping says where the public originals are")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        imported = run(home, "import", str(LOGS), "--map", str(MAPPING), "--json")
        start = time.monotonic()
        run(home, "simulator", "train", "--robot", ROBOT, "--json", *(["--updates", "100"] if arguments.quick else []))
        train_s = time.monotonic() - start
        scored = run(home, "simulator", "score", "--robot", ROBOT, "--horizons", "0.1,0.5,1.0", "--json")
    figures = {
        "training": Figure(train_s, "s", 1),
        "imported files": Figure(len(imported["files"]), "files", len(imported["files"])),
    }
    for horizon, error in scored["error"].items():
        windows = scored["windows"][horizon]
        figures[f"error at {horizon} s"] = Figure(error, "std", windows)
        figures[f"hold-last at {horizon} s"] = Figure(scored["hold_last"][horizon], "std", windows)
        figures[f"error over hold-last at {horizon} s"] = Figure(error / scored["hold_last"][horizon], "ratio", windows)
        for channel, by in scored["channels"].items():
            figures[f"{channel} at {horizon} s"] = Figure(by[horizon]["error"], "std", by[horizon]["n"])
    targets = {f"error over hold-last at {h} s": Target(1.0, "lower") for h in ("0.1", "0.5")}
    publish(envelope("double_pendulum", figures, targets, [0]), arguments)


if __name__ == "__main__":
    main()
