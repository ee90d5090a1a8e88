"""How long `sim2real --help` and `sim2real status` take, in wall and processor seconds, on an existing home."""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish

COMMANDS = {"--help": ("--help",), "simulator --help": ("simulator", "--help"), "status": ("status",)}


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    runs = 3 if arguments.quick else 15
    figures, targets = {}, {}
    with tempfile.TemporaryDirectory() as home:
        for name, words in COMMANDS.items():
            wall, cpu = zip(*(_once(home, words) for _ in range(runs + 1)), strict=True)
            figures[f"{name}, median wall"] = Figure(float(np.median(wall[1:])), "s", runs)
            figures[f"{name}, median processor"] = Figure(float(np.median(cpu[1:])), "s", runs)
            targets[f"{name}, median wall"] = Target(0.5, "lower")
    publish(envelope("command_speed", figures, targets, [0]), arguments)


def _once(home: str, words: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor seconds of one run; the first of a series warms the caches."""
    begin, before = time.monotonic(), os.times()
    subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *words],
        env=os.environ | {"SIM2REAL_HOME": home}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - begin, spent


if __name__ == "__main__":
    main()
