"""Simulators as folders: `manifest.json` and one `<role>.safetensors` per file; and which one a benchmark is run on."""

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.simulator import Simulator
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.errors import InputError
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish

ROOT = Path(__file__).resolve().parents[3]
PRETRAINED = ROOT / "simulator" / "pretrained"
WORK = Path(tempfile.gettempdir()) / "sim2real-benchmarks"
QUICK_UPDATES = 100


def load_simulator(path: Path) -> Simulator:
    """Raises InputError where there is no bundle, DataError and IncompatibleError as `Simulator.from_files`."""
    if not (path / "manifest.json").is_file():
        raise InputError(f"no simulator bundle at {path}: it holds no manifest.json")
    manifest = SimulatorManifest.from_json((path / "manifest.json").read_bytes())
    return Simulator.from_files(
        manifest, {role: (path / f"{role}.safetensors").read_bytes() for role in manifest.files}
    )


def save_simulator(
    simulator: Simulator, path: Path, name: str, dataset: str, *, standins: bool = True, **facts: Any
) -> None:
    """The manifest last, so that a folder with one is whole; it says whether `standins` taught. `facts` go into
    `training.json` beside it."""
    path.mkdir(parents=True, exist_ok=True)
    parts, files = simulator.to_files()
    for role, data in files.items():
        (path / f"{role}.safetensors").write_bytes(data)
    (path / "training.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    manifest = SimulatorManifest(name=name, dataset=dataset, pretrained_on_standins=standins, **parts)
    (path / "manifest.json").write_bytes(manifest.to_json())


def options(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks of the simulator share."""
    made = parser(description)
    made.add_argument("--simulator", default="default", help="folder of a bundle; default: simulator/pretrained")
    made.add_argument("--work", type=Path, default=WORK, help="where trained bundles are kept")
    made.add_argument("--train-updates", type=int, default=1500, help="updates of a training on the spot")
    made.add_argument("--robots", type=int, default=None, help="number of robots to test on")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=1)
    return made


def report(
    name: str,
    figures: Mapping[str, Figure],
    targets: Mapping[str, Target],
    seeds: Sequence[int],
    arguments: argparse.Namespace,
) -> None:
    """Prints and saves. A figure that is not finite means nothing and is left out, so that its target is missed."""
    finite = {key: figure for key, figure in figures.items() if math.isfinite(figure.value)}
    whole = {
        key: figure if figure.ci95 is None or all(map(math.isfinite, figure.ci95)) else replace(figure, ci95=None)
        for key, figure in finite.items()
    }
    publish(envelope(name, whole, targets, seeds), arguments)


def simulator_of(arguments: argparse.Namespace) -> Simulator:
    """The bundle that the options name; without one, a small simulator trained here and kept under `--work`."""
    import torch

    from tests.benchmarks.sim.training import Recipe, trained

    torch.set_num_threads(arguments.threads)
    if arguments.simulator != "default":
        return load_simulator(Path(arguments.simulator))
    if (PRETRAINED / "manifest.json").is_file():
        return load_simulator(PRETRAINED)
    if arguments.quick:
        return trained(Recipe(robots=8, seconds=20.0, updates=QUICK_UPDATES), arguments.work)
    return trained(Recipe(robots=64, seconds=60.0, updates=arguments.train_updates), arguments.work)
