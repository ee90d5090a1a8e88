"""Trains simulators on drawn stand-ins: small resumable commands with results kept under a folder.

`python -m tests.benchmarks.sim.training --work FOLDER [--families ...] [--robots N] [--seconds S] [--updates U]` trains
one bundle, or finds it there. What a folder is called follows from the recipe; an interrupted training goes on.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.families import BENCHMARK, population
from fleet_ingest.standins.recorder import record
from simulator.config import SimulatorConfig
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.canonical import digest_of
from storage.contracts.episode import Episode
from storage.contracts.errors import IncompatibleError
from storage.contracts.robot import Entity, RobotSpec
from tests.benchmarks.sim.bundle import WORK, load_simulator, save_simulator

EPISODE_S = 10.0


@dataclass(frozen=True)
class Recipe:
    """`robots` of `families` in turn, `seconds` of log each. With `only`, a specialist: robot `only` of the test split,
    whose training episodes are others than the benchmarks test on."""

    families: tuple[str, ...] = BENCHMARK
    robots: int = 64
    seconds: float = 60.0
    updates: int = 1500
    members: int = 5
    seed: int = 0
    only: int | None = None

    @property
    def config(self) -> SimulatorConfig:
        return SimulatorConfig(seed=self.seed, members=self.members, updates=self.updates)

    @property
    def key(self) -> str:
        return digest_of([asdict(self), self.config])[:16]


def partly_known(body: Body, rng: np.random.Generator) -> RobotSpec:
    """The maker's specification with a random share of the truth filled in, from nothing to all of it: so that a
    simulator learns what each quantity does and what it means not to be told."""
    share = float(rng.choice([0.0, 0.0, 1.0, rng.random()]))
    entities = []
    for said, true in zip(body.spec.entities, body.true_spec.entities, strict=True):
        fields = {
            name: getattr(true, name) if rng.random() < share else getattr(said, name)
            for name in ("mass_kg", "inertia_kgm2", "damping", "friction", "gear")
        }
        features = said.features | {n: v for n, v in true.features.items() if rng.random() < share}
        entities.append(Entity.model_validate(said.model_dump() | fields | {"features": features}))
    return with_entities(body.spec, entities)


def with_entities(spec: RobotSpec, entities: Sequence[Entity]) -> RobotSpec:
    return RobotSpec.model_validate({**spec.model_dump(), "entities": [e.model_dump() for e in entities]})


def told(episode: Episode, spec: RobotSpec) -> Episode:
    """The episode with another account of its robot."""
    return Episode(episode.robot, spec, episode.time_ns, episode.state, episode.command, episode.provenance,
                   tags=episode.tags)  # fmt: skip


def episodes_of(recipe: Recipe) -> list[Episode]:
    split = "train" if recipe.only is None else "test"
    bodies = population(recipe.robots, recipe.seed, recipe.families, split)
    found: list[Episode] = []
    for i, body in enumerate(bodies if recipe.only is None else [bodies[recipe.only]]):
        rng = np.random.default_rng([recipe.seed, i])
        logs = record(body, max(1, round(recipe.seconds / EPISODE_S)), EPISODE_S, seed=1_000 + recipe.seed)
        accounts = [partly_known(body, rng) for _ in range(4)]
        found += [told(episode, accounts[k % 4]) for k, episode in enumerate(logs)]
    return found


def trained(recipe: Recipe, work: Path, *, quiet: bool = True) -> Simulator:
    """The simulator of `recipe`, found under `work` or trained there; goes on from a checkpoint. One of another
    architecture is trained again."""
    folder = work / f"simulator-{recipe.key}"
    if (folder / "manifest.json").is_file():
        try:
            return load_simulator(folder)
        except IncompatibleError:
            shutil.rmtree(folder)
    episodes = episodes_of(recipe)

    def say(share: float, text: str) -> None:
        if not quiet:
            sys.stderr.write(f"\r{share:6.1%} {text:60.60}")

    start = time.monotonic()
    simulator = train_simulator(episodes, recipe.config, checkpoint=folder / "checkpoint.safetensors", progress=say)
    dataset = digest_of(sorted(e.provenance.raw_sha256 for e in episodes))
    facts = asdict(recipe) | {"wall_s": time.monotonic() - start, "episodes": len(episodes)}
    save_simulator(simulator, folder, f"benchmark-{recipe.key}", dataset, **facts)
    return load_simulator(folder)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", type=Path, default=WORK)
    words.add_argument("--families", nargs="+", default=list(BENCHMARK))
    words.add_argument("--robots", type=int, default=64)
    words.add_argument("--seconds", type=float, default=60.0)
    words.add_argument("--updates", type=int, default=1500)
    words.add_argument("--members", type=int, default=5)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", type=int, default=None, help="train a specialist of this robot of the test split")
    a = words.parse_args()
    recipe = Recipe(tuple(a.families), a.robots, a.seconds, a.updates, a.members, a.seed, a.only)
    trained(recipe, a.work, quiet=False)
    sys.stdout.write(f"{a.work / f'simulator-{recipe.key}'}\n")


if __name__ == "__main__":
    main()
