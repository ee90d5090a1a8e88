"""Training on Ray workers: members split over remote tasks, each with its own checkpoint, restarted where it stood.

The only module of this package that imports ray. It starts no cluster and reads no catalog. Progress is read from the
headers of the checkpoint files, so the checkpoint folder must be on a file system that driver and workers share.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray

from simulator import checkpoint as checkpoints
from simulator.calibrate import calibrated, prompts_of
from simulator.config import SimulatorConfig
from simulator.simulator import Simulator, joined
from simulator.train import Progress, train_simulator
from storage.codecs.episodes import decode_episode
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.errors import InputError

_POLL_S = 0.5
_RETRIES = 3

Parts = tuple[SimulatorManifest, Mapping[str, bytes]]


def train_on_workers(
    episodes: Sequence[bytes],
    config: SimulatorConfig,
    *,
    parent: Parts | None = None,
    checkpoint: Path,
    workers: int = 2,
    dataset: str = "",
    name: str = "simulator",
    progress: Progress | None = None,
    calibration: Sequence[bytes] = (),
) -> tuple[SimulatorManifest, dict[str, bytes]]:
    """Trains on encoded episodes; returns the manifest and files of the bundle. Ray must be initialised.

    A worker that dies is started again at most three times and goes on from `<checkpoint>/members-<first>-<end>`. The
    number of workers does not change the batches or noise of a member; matrix products of another size may round
    differently, so the same `workers` give the same bits. With `calibration`, other encoded episodes, the simulator is
    recalibrated on them.
    """
    if workers < 1:
        raise InputError(f"at least one worker is needed, given {workers}")
    checkpoint.mkdir(parents=True, exist_ok=True)
    ranges = split(config.members, workers)
    paths = [checkpoint / f"members-{part.start}-{part.stop}.safetensors" for part in ranges]
    shared = ray.put(list(episodes))
    packed = None if parent is None else (parent[0].to_json(), dict(parent[1]))
    tasks = [
        _train_members.remote(shared, config, packed, str(path), part.start, part.stop)
        for part, path in zip(ranges, paths, strict=True)
    ]
    _wait(tasks, paths, len(config.stages(parent is not None)), progress)
    trained = joined([_unpack(result) for result in ray.get(tasks)])
    if calibration:
        prompts = prompts_of([decode_episode(data) for data in episodes])
        trained = calibrated(trained, [decode_episode(data) for data in calibration], prompts=prompts)
    parts, files = trained.to_files()
    lineage = None if parent is None else parent[0].digest
    standins = parent is not None and parent[0].pretrained_on_standins
    manifest = SimulatorManifest(name=name, dataset=dataset, parent=lineage, pretrained_on_standins=standins, **parts)
    return manifest, files


def split(members: int, workers: int) -> list[range]:
    """Contiguous ranges of members, as equal as possible, none empty."""
    count = min(members, workers)
    edges = [round(i * members / count) for i in range(count + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _train_members(
    episodes: list[bytes], config: SimulatorConfig, parent: Any, checkpoint: str, first: int, end: int
) -> Any:
    trained = train_simulator(
        [decode_episode(data) for data in episodes],
        config,
        parent=None if parent is None else _unpack(parent),
        checkpoint=Path(checkpoint),
        members=range(first, end),
    )
    parts, files = trained.to_files()
    return SimulatorManifest(name="part", dataset="", **parts).to_json(), files


def _unpack(packed: tuple[bytes, dict[str, bytes]]) -> Simulator:
    return Simulator.from_files(SimulatorManifest.from_json(packed[0]), packed[1])


def _wait(tasks: list[Any], paths: list[Path], updates: int, progress: Progress | None) -> None:
    pending = list(tasks)
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_POLL_S)
        if progress is not None and pending:
            done = [min(1.0, checkpoints.progressed(path) / updates) for path in paths]
            progress(sum(done) / len(done), f"{len(pending)} of {len(tasks)} workers training")
    if progress is not None:
        progress(1.0, "trained")
