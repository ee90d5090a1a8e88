"""Real robots whose public logs may be at hand, and simulators trained on their training runs.

The logs are not part of the repository; without them the figures of real robots are left out, and the targets that need
them are missed. `python -m tests.benchmarks.sim.real --work FOLDER [--pretrained]` trains what the benchmarks of real
robots score: resumable, one bundle per robot, kept under the folder; from chance, or from what stand-ins taught
(`simulator/pretrained`). Test runs take no part in anything here.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet_ingest.convert import convert_log
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping_yaml import load_mapping
from simulator.calibrate import calibrated, prompts_of
from simulator.config import SimulatorConfig
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import has_room, train_simulator
from storage.contracts.canonical import digest_of
from storage.contracts.dataset import split_of
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError, InputError
from tests.benchmarks.sim.bundle import PRETRAINED, ROOT, WORK, load_simulator, save_simulator

DATA = ROOT.parent / "shared" / "data"
MAPPINGS = {"double_pendulum": "double_pendulum", "qube": "qube", "cartpole": "quanser_cartpole"}
CONFIG = SimulatorConfig(
    updates=1500, warm_updates=500, rows=1024, learning_rate=4e-3, warm_learning_rate=2e-3, jitter=0.0, forget=0.0
)
Label = Literal["real only", "pretrained"]
LABELS: tuple[Label, ...] = ("real only", "pretrained")


@dataclass(frozen=True)
class RealRobot:
    """`fit`: runs for trainings and baselines; `test`: runs on which nothing was fitted or chosen."""

    name: str
    prompt: Prompt
    fit: tuple[Episode, ...]
    test: tuple[Episode, ...]


def runs(robot: str) -> dict[str, list[Episode]]:
    """Path below the robot's folder -> its episodes; empty where the logs are not at hand."""
    folder = DATA / robot
    mapping = load_mapping(ROOT / "fleet_ingest" / "mappings" / f"{MAPPINGS[robot]}.yaml")
    found: dict[str, list[Episode]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        name, digest = str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            found[name] = list(convert_log(read_log(path), mapping, raw_sha256=digest, path=name).episodes)
        except DataError as error:
            sys.stderr.write(f"left out: {name}: {error}\n")
    return found


def is_test(robot: str, name: str) -> bool:
    """Disturbed runs of the double pendulum (the folders of C.1), swing-ups of the others."""
    return "disturbed" in name if robot == "double_pendulum" else "swing_up" in name


def real_robots() -> list[RealRobot]:
    """One per robot that has test runs; the prompt is its own training runs."""
    found = []
    for robot in MAPPINGS:
        by_name = runs(robot)
        test = tuple(e for name, es in by_name.items() if is_test(robot, name) for e in es)
        fit = tuple(e for name, es in by_name.items() if not is_test(robot, name) for e in es)
        if test and fit:
            own = tuple(e for e in fit if e.robot == test[0].robot)
            found.append(RealRobot(robot, Prompt(test[0].spec, own), fit, test))
    return found


def parent_of(label: Label, episodes: Sequence[Episode]) -> Simulator | None:
    """What a training begins from. Raises InputError where that has no room for the robot: it would begin from
    chance."""
    if label == "real only":
        return None
    parent = load_simulator(PRETRAINED)
    for spec in {e.spec.digest: e.spec for e in episodes}.values():
        if not has_room(parent, spec, CONFIG):
            raise InputError(f"the pretrained simulator has no room for '{spec.name}'")
    return parent


def usual_updates(label: Label) -> int:
    return CONFIG.warm_updates if label == "pretrained" else CONFIG.updates


def folder_of(robot: str, work: Path, updates: int, label: Label = "real only") -> Path:
    return work / f"real-{robot}-{label.replace(' ', '-')}-{updates}"


def found_bundle(robot: str, work: Path) -> Simulator | None:
    """What `bundle` trained before with its own number of updates, if it did."""
    folder = folder_of(robot, work, CONFIG.updates)
    return load_simulator(folder) if (folder / "manifest.json").is_file() else None


def bundle(
    robot: str, work: Path, label: Label = "real only", *, updates: int | None = None, quiet: bool = True
) -> Simulator:
    """The simulator of a robot's training runs, found under `work` or trained there; goes on from a checkpoint."""
    updates = updates or usual_updates(label)
    folder = folder_of(robot, work, updates, label)
    if (folder / "manifest.json").is_file():
        return load_simulator(folder)
    fit = [e for name, es in runs(robot).items() if not is_test(robot, name) for e in es]
    # A tenth of the training runs, chosen by their hashes, is kept for recalibration.
    side = [split_of(e.provenance.raw_sha256) == "validation" for e in fit]
    held = [e for e, kept in zip(fit, side, strict=True) if kept]
    episodes = [e for e, kept in zip(fit, side, strict=True) if not kept]
    parent = parent_of(label, episodes)
    config = CONFIG.model_copy(update={"updates": updates, "warm_updates": updates})
    begin, cpu = time.monotonic(), time.process_time()

    def say(share: float, text: str) -> None:
        if not quiet:
            left = (time.monotonic() - begin) * (1 - share) / max(share, 1e-9)
            sys.stderr.write(f"\r{robot}: {share:6.1%}, {left:.0f} s to go, {text:50.50}")

    checkpoint = folder / "checkpoint.safetensors"
    made = train_simulator(episodes, config, parent=parent, checkpoint=checkpoint, progress=say)
    if held:
        made = calibrated(made, held, prompts=prompts_of(episodes))
    cost = {"wall_s": time.monotonic() - begin, "cpu_s": time.process_time() - cpu, "updates": updates}
    dataset = digest_of(sorted(e.provenance.raw_sha256 for e in episodes))
    save_simulator(made, folder, f"{robot}-{label.replace(' ', '-')}", dataset, standins=parent is not None, **cost)
    return load_simulator(folder)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", type=Path, default=WORK)
    words.add_argument("--robot", choices=list(MAPPINGS), action="append")
    words.add_argument("--updates", type=int)
    words.add_argument("--pretrained", action="store_true", help="begin with what drawn stand-ins taught")
    arguments = words.parse_args()
    label: Label = "pretrained" if arguments.pretrained else "real only"
    for robot in arguments.robot or MAPPINGS:
        try:
            bundle(robot, arguments.work, label, updates=arguments.updates, quiet=False)
        except InputError as error:
            sys.stderr.write(f"left out: {robot}: {error}\n")


if __name__ == "__main__":
    main()
