"""Makes the bundle that newcomers start from: a simulator of drawn stand-ins, which has seen no real robot.

`python -m tests.benchmarks.sim.pretrain --work FOLDER [--processes 2]` trains the members in that many processes, each
with its own checkpoint, so that given again it goes on; then joins them, saves the bundle to `simulator/pretrained` and
says what it cost. Robots of the test split and the family `chain3` take no part.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, population
from fleet_ingest.standins.families import PRETRAINING as FAMILIES
from fleet_ingest.standins.recorder import record
from simulator.calibrate import calibrated
from simulator.config import SimulatorConfig, Stage
from simulator.prompt import Prompt
from simulator.simulator import Simulator, joined
from simulator.train import train_simulator
from storage.contracts.canonical import digest_of
from storage.contracts.episode import Episode
from tests.benchmarks.sim.bundle import PRETRAINED, WORK, load_simulator, save_simulator

EPISODE_S = 8.0
CHANGED = 4
CALIBRATION_ROBOTS = 16
CONFIG = SimulatorConfig(
    updates=7000,
    balance=1.0,
    known_rate=5.0,
    belief_weight=0.003,
    prior_weight=0.0,
    rows=1024,
    max_batch=512,
    groups=16,
    learning_rate=6e-3,
    kl_weight=1e-4,
    notes_drop=0.3,
    jitter=0.15,
    always_said=("length", "limits.low", "limits.high", "zero.height"),
    curriculum=(
        Stage(steps=1, share=0.1),
        Stage(steps=4, share=0.3),
        Stage(steps=16, share=0.4),
        Stage(steps=32, share=0.2),
    ),
)


def changed(body: Body, rng: np.random.Generator) -> Body:
    """The same robot after somebody changed one to three of its quantities: what edits of a scene are learned from."""
    names = ["payload.mass", "command.delay"]
    names += [f"{joint.name}.{field}" for joint in body.joints for field in ("mass", "damping", "friction")]
    for name in rng.choice(names, min(len(names), int(rng.integers(1, 4))), replace=False):
        if name == "command.delay":
            value = 0.002 * int(rng.integers(0, 31))
        elif name == "payload.mass":
            value = float(rng.uniform(0.0, body.joints[-1].mass_kg))
        else:
            value = float(body.quantity(name) * np.exp(rng.uniform(-1, 1) * np.log(2 if "mass" in name else 4)))
        body = body.edited(str(name), value)
    return body


def recordings(robots: int, seed: int) -> list[Episode]:
    """Per robot two logs as it is drawn, and `CHANGED` after a change each, all under their true specification: only
    logs of one robot that differ in what is said of it tell the two apart."""
    found: list[Episode] = []
    for i, body in enumerate(population(robots, seed, FAMILIES)):
        rng = np.random.default_rng([seed, i])
        variants = [body, body, *(changed(body, rng) for _ in range(CHANGED))]
        for k, made in enumerate(variants):
            (log,) = record(made, 1, EPISODE_S, seed + k)
            found.append(replace(log, spec=made.true_spec, notes=written(made, rng)))
    return found


def written(body: Body, rng: np.random.Generator) -> tuple[str, ...]:
    """What an operator may have noted of a robot: some of it exact, some not, some beside the point."""
    kg, ms = body.payload_kg, 1000 * body.delay_s
    load = (
        f"payload {kg:.2f} kg", f"it carries a load of {1000 * kg:.0f} g", f"weight on board: {kg:.1f} kg",
        "opaque bottle, contents unknown", "load not weighed", "",
    )  # fmt: skip
    delay = (f"commands arrive {ms:.0f} ms late", f"delay of {ms:.0f} ms", "connection over the usual network", "")
    notes = [str(rng.choice(load)), str(rng.choice(delay)), str(rng.choice(("", "rain outside", "battery changed")))]
    joint = body.joints[int(rng.integers(len(body.joints)))]
    about = (
        f"{joint.name} weighs {joint.mass_kg:.2f} kg", f"friction of {joint.name} is {joint.friction:.3f}",
        f"damping of {joint.name} is {joint.damping:.3f}", "",
    )  # fmt: skip
    notes.append(str(rng.choice(about)))
    return tuple(note for note in notes if note)


def _part(arguments: argparse.Namespace, members: range) -> Path:
    folder = Path(arguments.work) / f"pretrain-{arguments.robots}-{arguments.updates}-{members.start}-{members.stop}"
    if (folder / "manifest.json").is_file():
        return folder
    config = CONFIG.model_copy(update={"updates": arguments.updates})
    begin = time.monotonic()

    def say(share: float, text: str) -> None:
        left = (time.monotonic() - begin) * (1 - share) / max(share, 1e-9)
        sys.stderr.write(f"members {members.start}-{members.stop - 1}: {share:6.1%}, {left:.0f} s to go, {text}\n")

    episodes = recordings(arguments.robots, seed=0)
    dataset = digest_of(sorted(e.provenance.raw_sha256 for e in episodes))
    checkpoint = folder / "checkpoint.safetensors"
    made = train_simulator(episodes, config, checkpoint=checkpoint, members=members, progress=say)
    cpu = time.process_time()
    save_simulator(made, folder, "pretrained", dataset, cpu_s=cpu, wall_s=time.monotonic() - begin)
    return folder


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", default=str(WORK))
    words.add_argument("--robots", type=int, default=360)
    words.add_argument("--updates", type=int, default=CONFIG.updates)
    words.add_argument("--processes", type=int, default=2)
    words.add_argument("--part", type=int, nargs=2, help="train members A to B only (what each process runs)")
    arguments = words.parse_args()
    if arguments.part:
        _part(arguments, range(*arguments.part))
        return
    edges = [-(-i * CONFIG.members // arguments.processes) for i in range(arguments.processes + 1)]
    parts = [range(a, b) for a, b in pairwise(edges)]
    own = [sys.executable, "-m", "tests.benchmarks.sim.pretrain", "--work", arguments.work]
    own += ["--robots", str(arguments.robots), "--updates", str(arguments.updates)]
    running = [subprocess.Popen([*own, "--part", str(p.start), str(p.stop)]) for p in parts]
    if any(process.wait() for process in running):
        sys.exit("pretraining: a process failed; given again it goes on from its checkpoint")
    _join([_part(arguments, part) for part in parts])


def _join(folders: list[Path]) -> None:
    import json

    whole: Simulator = _recalibrated(joined([load_simulator(folder) for folder in folders]))
    costs = [json.loads((folder / "training.json").read_text()) for folder in folders]
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    save_simulator(
        whole, PRETRAINED, "pretrained", manifest["dataset"],
        cpu_s=sum(cost["cpu_s"] for cost in costs), wall_s=max(cost["wall_s"] for cost in costs),
    )  # fmt: skip
    sys.stdout.write(f"{PRETRAINED}: {sum(p.stat().st_size for p in PRETRAINED.iterdir()) / 1e6:.1f} MB\n")


def _recalibrated(simulator: Simulator) -> Simulator:
    """On further robots of the training split that no training used, told by their makers and two seconds of log."""
    prompts, episodes = {}, []
    for body in population(CALIBRATION_ROBOTS, 1, BENCHMARK):
        clip, *others = record(body, 3, EPISODE_S, seed=77)
        prompts[body.serial] = Prompt(body.spec, (clip.window(0, round(2.0 * body.rate_hz)),))
        episodes += others
    return calibrated(simulator, episodes, prompts=prompts, max_windows=320)


if __name__ == "__main__":
    main()
