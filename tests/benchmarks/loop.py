"""The whole loop as `make demo` runs it, from a fresh home: does real return rise and simulator error fall, and how
long does it take?

Writes, with --save, the figures and the campaign's own result (results/campaign.json), from which the README's figure
is drawn."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.envelope import RESULTS, Figure, Target, envelope, parser, publish


def run(home: Path, *arguments: str) -> dict[str, Any]:
    """The last line of a `sim2real` command, as JSON."""
    environment = os.environ | {"SIM2REAL_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        quick = ["--quick", "--fleet", "2"] if arguments.quick else []
        campaign = run(
            Path(folder) / "home", "bootstrap", "--robot", "cartpole", "--new", "--json",
            "--iterations", "1" if arguments.quick else "3", "--seed", str(arguments.seed), *quick,
        )  # fmt: skip
        wall_s = time.monotonic() - start
    if arguments.save:
        (RESULTS / "campaign.json").write_text(json.dumps(campaign, indent=1) + "\n")
    publish(envelope("loop", figures(campaign, wall_s), TARGETS, [arguments.seed]), arguments)


TARGETS = {
    "share of the oracle, last iteration": Target(0.7, "higher"),
    "real return gained since iteration 0": Target(0.0, "higher"),
    "error at 1.0 s, last over first": Target(0.9, "lower"),
    "wall time": Target(600.0, "lower"),
}


def figures(campaign: dict[str, Any], wall_s: float) -> dict[str, Figure]:
    first, last = campaign["iterations"][0], campaign["iterations"][-1]
    n = last["real_return"]["n"]
    found = {
        "real return, iteration 0": Figure(
            first["real_return"]["mean"], "return", n, tuple(first["real_return"]["ci95"])
        ),
        "real return, last iteration": Figure(
            last["real_return"]["mean"], "return", n, tuple(last["real_return"]["ci95"])
        ),
        "real return gained since iteration 0": Figure(
            last["real_return"]["mean"] - first["real_return"]["mean"], "return", n
        ),
        "random commands": Figure(campaign["random_return"], "return", n),
        "gap of the last iteration": Figure(last["sim_return"]["mean"] - last["real_return"]["mean"], "return", n),
        "robot time": Figure(last["real_seconds"], "s", 1),
        "wall time": Figure(wall_s, "s", 1),
    }
    for horizon in last["sim_error"]:
        windows = last["sim_error_windows"][horizon]
        found[f"error at {horizon} s, iteration 0"] = Figure(first["sim_error"][horizon], "std", windows)
        found[f"error at {horizon} s, last iteration"] = Figure(last["sim_error"][horizon], "std", windows)
        found[f"error at {horizon} s, hold-last"] = Figure(last["hold_last_error"][horizon], "std", windows)
        found[f"error at {horizon} s, last over first"] = Figure(
            last["sim_error"][horizon] / first["sim_error"][horizon], "ratio", windows
        )
    if campaign["oracle_return"]:
        found["oracle"] = Figure(campaign["oracle_return"], "return", n)
        found["share of the oracle, last iteration"] = Figure(
            last["real_return"]["mean"] / campaign["oracle_return"], "ratio", n
        )
    return found


if __name__ == "__main__":
    main()
