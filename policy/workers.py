"""A population of policies on Ray workers: one remote task per seed, the best of them is kept.

The only module of this package that imports ray. A worker that dies is started again and goes on from its checkpoint,
so the checkpoint folder must be on a file system that driver and workers share. Arguments and answers are bytes and
plain values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from policy.checkpoint import progressed
from policy.config import PolicyConfig
from policy.export import export_onnx
from policy.grounded import train_grounded
from policy.weights import pack_network, unpack_network
from simulator.simulator import Simulator
from storage.codecs.episodes import decode_episode
from storage.contracts.bundles import PolicyManifest, SimulatorManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import InputError
from storage.contracts.figures import ReturnStatistics
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

_POLL_S = 0.5
_RETRIES = 3
_GPU_UNITS = 10_000

Progress = Callable[[float, str], None]
SimulatorParts = tuple[SimulatorManifest, Mapping[str, bytes]]


class Trained(NamedTuple):
    """The chosen policy. `simulated` is its return on hypotheses used for nothing else.

    `values`: seed -> pessimistic value on the withheld hypotheses, which are the same for all seeds.
    """

    manifest: PolicyManifest
    onnx: bytes
    weights: bytes
    simulated: ReturnStatistics
    values: dict[int, float]


def train_population(
    simulator: SimulatorParts,
    spec: RobotSpec,
    episodes: Mapping[str, Sequence[bytes]],
    task: Task,
    config: PolicyConfig,
    *,
    seeds: Sequence[int],
    checkpoint: Path,
    simulator_digest: str | None = None,
    warm_start: bytes | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains one policy per seed over all robots of `episodes`: robot -> its encoded episodes, the prompt for it.

    The logged states are starts of training, too. `warm_start` are packed weights of an earlier policy: every other
    seed goes on from it and the others begin afresh, so that no mistake is handed down for ever; it is a candidate
    itself. Ray must be initialised; where its cluster has GPUs, the seeds share them. Raises InputError without seeds
    or robots.
    """
    if not seeds or not episodes:
        raise InputError(f"a population needs seeds and robots, given {len(seeds)} seeds and {len(episodes)} robots")
    checkpoint.mkdir(parents=True, exist_ok=True)
    paths = [checkpoint / f"seed-{seed}.safetensors" for seed in seeds]
    gpus = float(ray.cluster_resources().get("GPU", 0))
    packed = (simulator[0].to_json(), dict(simulator[1]))
    shared = ray.put(
        (packed, [list(episodes[robot]) for robot in sorted(episodes)], spec.to_json(), task.to_json(), warm_start)
    )
    remote = _train_one.options(num_gpus=gpu_share(gpus, len(seeds)))
    tasks = [
        remote.remote(shared, config.model_copy(update={"seed": seed}).to_json(), str(path), place % 2 == 0)
        for place, (seed, path) in enumerate(zip(seeds, paths, strict=True))
    ]
    _wait(tasks, paths, config.updates, progress)
    return _best(ray.get(tasks), seeds, spec, task, simulator_digest)


def gpu_share(gpus: float, tasks: int) -> float:
    """What each of `tasks` equal tasks asks of a GPU so that all of them run at once on the `gpus` of the cluster.

    A task lies on one GPU: three tasks on two GPUs take a half each, as two thirds would leave one of them waiting.
    Ray counts in ten-thousandths; a third is rounded down, so that three of them fit. 0 on a cluster without GPUs.
    """
    whole = math.floor(gpus)
    return math.floor(_GPU_UNITS / math.ceil(tasks / whole)) / _GPU_UNITS if whole else 0.0


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _train_one(shared: Any, config_json: bytes, checkpoint: str, warm: bool) -> dict[str, Any]:
    (manifest, files), prompts, spec_json, task_json, warm_start = shared
    torch.set_num_threads(1)
    simulator = Simulator.from_files(SimulatorManifest.from_json(manifest), files)
    spec, task = RobotSpec.from_json(spec_json), Task.from_json(task_json)
    config = PolicyConfig.from_json(config_json)
    episodes = [[decode_episode(data) for data in clips] for clips in prompts]
    earlier = unpack_network(warm_start) if warm_start is not None else None
    trained = train_grounded(
        simulator,
        spec,
        episodes,
        task,
        config,
        checkpoint=Path(checkpoint),
        warm_start=earlier if warm else None,
        incumbent=earlier,
        device="cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu",
    )
    _, onnx = export_onnx(trained.network, spec, task)
    return {
        "value": trained.value.pessimistic,
        "onnx": onnx,
        "weights": pack_network(trained.network),
        "simulated": trained.simulated.to_json(),
    }


def _best(
    found: Sequence[dict[str, Any]], seeds: Sequence[int], spec: RobotSpec, task: Task, simulator: str | None
) -> Trained:
    """The policy of highest pessimistic value on withheld hypotheses; of equals the first seed."""
    chosen, seed = max(zip(found, seeds, strict=True), key=lambda pair: pair[0]["value"])
    weights = chosen["weights"]
    manifest = PolicyManifest(
        name=task.name,
        onnx_sha256=sha256_hex(chosen["onnx"]),
        weights_sha256=sha256_hex(weights),
        spec=spec,
        task=task.name,
        history_steps=unpack_network(weights).features.history_steps,
        control_rate_hz=spec.control_rate_hz,
        simulator=simulator,
        seed=seed,
    )
    values = {seed: float(one["value"]) for one, seed in zip(found, seeds, strict=True)}
    return Trained(manifest, chosen["onnx"], weights, ReturnStatistics.from_json(chosen["simulated"]), values)


def _wait(tasks: list[Any], paths: list[Path], updates: int, progress: Progress | None) -> None:
    pending = list(tasks)
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_POLL_S)
        if progress is not None and pending:
            shares = [min(1.0, progressed(path) / updates) for path in paths]
            progress(sum(shares) / len(shares), f"{len(pending)} of {len(tasks)} workers training")
