"""Real robots whose public logs may be at hand, and simulators trained on their training runs.

The logs are not part of the repository; without them the figures of real robots are left out, and the targets that need
them are missed. `python -m tests.benchmarks.sim.real --work FOLDER` trains what the benchmarks of real
robots score: resumable, one bundle per robot, kept under the folder. Test runs take no part in anything here.
"""

import argparse
import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fleet_ingest.convert import convert_log
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping_yaml import load_mapping
from simulator.calibrate import calibrated, prompts_of
from simulator.config import SimulatorConfig
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.canonical import digest_of
from storage.contracts.dataset import split_of
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError
from tests.benchmarks.sim.bundle import ROOT, WORK, load_simulator, save_simulator

DATA = ROOT.parent / "shared" / "data"
MAPPINGS = {"double_pendulum": "double_pendulum", "qube": "qube", "cartpole": "quanser_cartpole"}
CONFIG = SimulatorConfig(updates=1500, rows=1024, learning_rate=4e-3, jitter=0.0, forget=0.0)


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


def folder_of(robot: str, work: Path, updates: int) -> Path:
    return work / f"real-{robot}-real-only-{updates}"


def found_bundle(robot: str, work: Path) -> Simulator | None:
    """What `bundle` trained before with its own number of updates, if it did."""
    folder = folder_of(robot, work, CONFIG.updates)
    return load_simulator(folder) if (folder / "manifest.json").is_file() else None


def bundle(robot: str, work: Path, *, updates: int = CONFIG.updates, quiet: bool = True) -> Simulator:
    """The simulator of a robot's training runs, found under `work` or trained there; goes on from a checkpoint."""
    folder = folder_of(robot, work, updates)
    if (folder / "manifest.json").is_file():
        return load_simulator(folder)
    fit = [e for name, es in runs(robot).items() if not is_test(robot, name) for e in es]
    # A tenth of the training runs, chosen by their hashes, is kept for recalibration.
    side = [split_of(e.provenance.raw_sha256) == "validation" for e in fit]
    held = [e for e, kept in zip(fit, side, strict=True) if kept]
    episodes = [e for e, kept in zip(fit, side, strict=True) if not kept]
    config = CONFIG.model_copy(update={"updates": updates})
    begin, cpu = time.monotonic(), time.process_time()

    def say(share: float, text: str) -> None:
        if not quiet:
            left = (time.monotonic() - begin) * (1 - share) / max(share, 1e-9)
            sys.stderr.write(f"\r{robot}: {share:6.1%}, {left:.0f} s to go, {text:50.50}")

    made = train_simulator(episodes, config, checkpoint=folder / "checkpoint.safetensors", progress=say)
    if held:
        made = calibrated(made, held, prompts=prompts_of(episodes))
    cost = {"wall_s": time.monotonic() - begin, "cpu_s": time.process_time() - cpu, "updates": updates}
    dataset = digest_of(sorted(e.provenance.raw_sha256 for e in episodes))
    save_simulator(made, folder, f"{robot}-real-only", dataset, **cost)
    return load_simulator(folder)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", type=Path, default=WORK)
    words.add_argument("--robot", choices=list(MAPPINGS), action="append")
    words.add_argument("--updates", type=int, default=CONFIG.updates)
    arguments = words.parse_args()
    for robot in arguments.robot or MAPPINGS:
        bundle(robot, arguments.work, updates=arguments.updates, quiet=False)


if __name__ == "__main__":
    main()
