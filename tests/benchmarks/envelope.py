"""The one JSON object that every benchmark prints as its last line (DESIGN, section 10)."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    value: float
    unit: str
    n: int
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Target:
    limit: float
    better: str  # "lower" or "higher"

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.better == "lower" else value >= self.limit


def envelope(
    name: str, figures: Mapping[str, Figure], targets: Mapping[str, Target], seeds: Sequence[int]
) -> dict[str, Any]:
    """Figures beside their targets; a target without a figure counts as missed."""
    missed = [key for key, target in targets.items() if key not in figures or not target.met_by(figures[key].value)]
    return {
        "name": name,
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "seeds": list(seeds),
        "figures": {key: asdict(figure) for key, figure in figures.items()},
        "targets": {key: asdict(target) for key, target in targets.items()},
        "missed": missed,
    }


def publish(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Prints the result; writes it beside the others with --save."""
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{result['name']}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    if not arguments.json:
        for key, figure in result["figures"].items():
            missed = " MISSED" if key in result["missed"] else ""
            sys.stdout.write(f"{key}: {figure['value']:.4g} {figure['unit']} (n={figure['n']}){missed}\n")
    sys.stdout.write(json.dumps(result) + "\n")


def parser(description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", action="store_true", help="print nothing but the result")
    made.add_argument("--quick", action="store_true", help="smoke run under a minute; its figures mean nothing")
    made.add_argument("--save", action="store_true", help="write the result to tests/benchmarks/results")
    return made


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
