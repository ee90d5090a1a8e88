"""A tiny simulator of pendulum stand-ins as a folder, with logs of a robot that it never saw."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet_ingest.standins.families import population
from fleet_ingest.standins.recorder import record
from simulator.config import SimulatorConfig, Stage
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.codecs.episodes import encode_episode
from storage.contracts.bundles import SimulatorManifest

TINY = SimulatorConfig(
    members=2, width=16, messages=4, memory=4, scene=3, updates=120, rows=128, min_batch=16, max_batch=32,
    curriculum=(Stage(steps=4, share=0.5), Stage(steps=16, share=0.5)), groups=4,
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """`folder` of the simulator, `spec` file and `logs` (episode files) of an unseen robot."""

    folder: Path
    spec: Path
    logs: tuple[Path, ...]
    simulator: Simulator


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("bundle")
    bodies = population(6, 0, ("pendulum",))
    logs = [replace(e, spec=b.true_spec) for b in bodies for e in record(b, 1, 4.0, 0)]
    simulator = train_simulator(logs, TINY)
    parts, files = simulator.to_files()
    manifest = SimulatorManifest(name="tiny", dataset="0" * 64, pretrained_on_standins=True, **parts)
    folder = root / "tiny"
    folder.mkdir()
    for role, data in files.items():
        (folder / f"{role}.safetensors").write_bytes(data)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    (unseen,) = population(1, 1, ("pendulum",), "test")
    (root / "spec.json").write_bytes(unseen.true_spec.to_json())
    paths = []
    for i, episode in enumerate(record(unseen, 3, 4.0, 1)):
        paths.append(root / f"log{i}.parquet")
        paths[-1].write_bytes(encode_episode(replace(episode, spec=unseen.true_spec)))
    return Bundle(folder, root / "spec.json", tuple(paths), simulator)
