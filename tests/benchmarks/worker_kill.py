"""A Ray worker is killed in the middle of policy training: does the same policy come out, and how much time is lost?

A population of two trains in a small learned simulator of two stand-in cart-poles, on a local Ray cluster: once left
alone, then with a SIGKILL at different moments. What a kill costs is counted from the kill until the checkpoint of
every seed is further than it was then: the new process, and the updates since the last checkpoint made again.
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import ray

from fleet_ingest.robot.commands import RandomHold
from fleet_ingest.standins.registry import standin
from policy.checkpoint import progressed
from policy.config import PolicyConfig
from policy.workers import SimulatorParts, Trained, train_population
from simulator.config import SimulatorConfig
from simulator.train import train_simulator
from storage.codecs.episodes import encode_episode
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.episode import Episode, Provenance
from storage.contracts.starts import evaluation_starts
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish

FLEET = standin("cartpole")
SERIALS = (FLEET.serial(1), FLEET.serial(2))
SEEDS = (5, 6)
TARGETS = {
    "seconds lost by a kill, worst": Target(10.0, "lower"),
    "runs that ended in the same policy": Target(1.0, "higher"),
}
_WAIT_S = 300.0


@dataclass
class Kill:
    """SIGKILLs one worker once every seed has made `after` updates, and watches until what was lost is made up."""

    paths: list[Path]
    after: int
    at: list[int] = field(default_factory=list)
    lost_s: float = float("nan")
    pid: int = 0

    def __call__(self) -> None:
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end and not self.pid:
            self.at = [progressed(path) for path in self.paths]
            workers = [p for p in psutil.Process().children(recursive=True) if "ray::_train_one" in named(p)]
            if min(self.at) >= self.after and len(workers) == len(self.paths):
                workers[0].kill()
                self.pid = workers[0].pid
            time.sleep(0.01)
        start = time.monotonic()
        while time.monotonic() < end and any(progressed(p) <= n for p, n in zip(self.paths, self.at, strict=True)):
            time.sleep(0.01)
        self.lost_s = time.monotonic() - start


def named(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def shaken(serial: str, seed: int) -> Episode:
    """One episode of the stand-in under random commands."""
    robot, spec = FLEET.open(serial), FLEET.spec
    robot.reset(evaluation_starts(FLEET.task, 1, seed)[0], seed)
    source = RandomHold(spec, seed)
    rows, commands = [robot.read()], []
    for _ in range(FLEET.task.horizon_steps(spec)):
        commands.append(source.next())
        robot.apply(commands[-1])
        rows.append(robot.read())
    time_ns = np.array([t for t, _ in rows], dtype=np.int64)
    state = np.array([s for _, s in rows])
    return Episode(serial, spec, time_ns, state, np.array(commands), Provenance(raw_sha256=f"{seed:064x}"))


def learned(logs: dict[str, list[Episode]], updates: int) -> SimulatorParts:
    trained = train_simulator(
        [e for found in logs.values() for e in found], SimulatorConfig(updates=updates, members=2)
    )
    parts, files = trained.to_files()
    return SimulatorManifest(name="cartpole", dataset="", **parts), files


def train(
    simulator: SimulatorParts, logs: dict[str, list[Episode]], config: PolicyConfig, folder: Path, after: int | None
) -> tuple[Trained, float, Kill | None]:
    """The policy, wall seconds, and the kill that came after `after` updates."""
    kill = None if after is None else Kill([folder / f"seed-{seed}.safetensors" for seed in SEEDS], after)
    thread = threading.Thread(target=kill or (lambda: None))
    start = time.monotonic()
    thread.start()
    prompts = {robot: [encode_episode(e) for e in found[-2:]] for robot, found in logs.items()}
    trained = train_population(simulator, FLEET.spec, prompts, FLEET.task, config, seeds=SEEDS, checkpoint=folder)
    wall_s = time.monotonic() - start
    thread.join()
    return trained, wall_s, kill


def measure(arguments: argparse.Namespace) -> dict[str, Figure]:
    updates, kills = (24, 1) if arguments.quick else (48, 3)
    config = PolicyConfig(updates=updates, worlds=32 if arguments.quick else 64, windows=4, evaluate_every=16)
    logs = {serial: [shaken(serial, 10 * i + j) for j in range(4)] for i, serial in enumerate(SERIALS)}
    simulator = learned(logs, 20 if arguments.quick else 60)
    moments = [round(updates * (i + 1) / (kills + 1)) for i in range(kills)]
    with tempfile.TemporaryDirectory() as folder:
        calm, calm_s, _ = train(simulator, logs, config, Path(folder) / "calm", None)
        runs = [train(simulator, logs, config, Path(folder) / f"kill-{n}", n) for n in moments]
    found = [kill for _, _, kill in runs if kill is not None and kill.pid]
    same = [(run.manifest, run.weights, run.values) == (calm.manifest, calm.weights, calm.values) for run, _, _ in runs]
    lost = [kill.lost_s for kill in found]
    figures = {
        "runs that ended in the same policy": Figure(float(np.mean(same)), "share", len(same)),
        "workers killed": Figure(len(found), "workers", len(runs)),
        "wall time, left alone": Figure(calm_s, "s", 1),
        "wall time, with a kill, worst": Figure(max(wall_s for _, wall_s, _ in runs), "s", len(runs)),
        "updates of each policy": Figure(updates, "updates", len(SEEDS)),
    }
    if len(found) == len(runs):
        figures["seconds lost by a kill, worst"] = Figure(max(lost), "s", len(lost))
        figures["seconds lost by a kill, median"] = Figure(float(np.median(lost)), "s", len(lost))
    return figures


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    ray.init(
        num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False,
        configure_logging=False,
    )  # fmt: skip
    try:
        figures = measure(arguments)
    finally:
        ray.shutdown()
    publish(envelope("worker_kill", figures, TARGETS, SEEDS), arguments)


if __name__ == "__main__":
    main()
