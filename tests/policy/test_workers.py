"""A population on a real Ray cluster: workers train in a learned simulator, and one of them is killed on the way."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from policy.checkpoint import progressed
from policy.config import PolicyConfig
from policy.runtime.runner import PolicyRunner
from policy.simulated import ground_all
from policy.weights import unpack_network
from policy.windows import first_window
from policy.workers import SimulatorParts, Trained, train_population
from simulator.config import SimulatorConfig
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.codecs.episodes import encode_episode
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.episode import Episode, Provenance
from storage.contracts.errors import InputError
from tests.policy.analytic import SWINGUP, CartPoleWorlds

ray = pytest.importorskip("ray")

SPEC = CartPoleWorlds.spec
CONFIG = PolicyConfig(
    updates=40, worlds=12, windows=2, horizon_steps=4, evaluate_every=8, evaluation_worlds=6, width=16, history_steps=3
)


def shaken(robot: str, seed: int) -> Episode:
    """One second of a cart-pole under random commands."""
    worlds, draw = CartPoleWorlds(1, seed), torch.Generator().manual_seed(seed)
    state = worlds.reset(first_window(SPEC, torch.tensor([[0.0, 0.0, 3.0, 0.0]]), 2))
    states, commands = [worlds.observe(state)], []
    for _ in range(50):
        commands.append(20 * torch.rand(1, 1, generator=draw) - 10)
        state, _, _ = worlds.step(state, commands[-1])
        states.append(worlds.observe(state))
    time_ns = torch.arange(51).numpy() * 20_000_000
    rows = torch.cat(states).double().numpy(), torch.cat(commands).double().numpy()
    return Episode(robot, SPEC, time_ns, *rows, Provenance(raw_sha256=f"{seed:064x}"))


@pytest.fixture(scope="module")
def logs() -> dict[str, list[Episode]]:
    return {robot: [shaken(robot, 10 * i + j) for j in range(3)] for i, robot in enumerate(("a", "b"))}


@pytest.fixture(scope="module")
def simulator(logs: dict[str, list[Episode]]) -> SimulatorParts:
    config = SimulatorConfig(updates=4, members=2, width=8, messages=4, memory=2, scene=2, rows=64)
    trained = train_simulator([e for clips in logs.values() for e in clips], config)
    parts, files = trained.to_files()
    return SimulatorManifest(name="tiny", dataset="d", **parts), files


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    options = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(num_cpus=2, object_store_memory=80_000_000, **options)
    yield
    ray.shutdown()


def test_robots_of_one_kind_are_stepped_together(logs: dict[str, list[Episode]], simulator: SimulatorParts) -> None:
    fleets = ground_all(Simulator.from_files(*simulator), SPEC, list(logs.values()))
    assert len(fleets) == 1
    worlds = fleets[0].sample(8, seed=0)
    assert worlds.robot.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]  # two members each
    state = worlds.reset(first_window(SPEC, torch.zeros(8, 4), 3), seed=1)
    command = torch.zeros(8, 1, requires_grad=True)
    state, _, _ = worlds.step(state, command)
    worlds.observe(state).sum().backward()
    assert (command.grad != 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_goes_on_to_the_identical_policy(
    logs: dict[str, list[Episode]], simulator: SimulatorParts, tmp_path: Path
) -> None:
    encoded = {robot: [encode_episode(e) for e in clips] for robot, clips in logs.items()}

    def train(folder: str, seen: list[float] | None = None) -> Trained:
        note = None if seen is None else lambda share, _: seen.append(share)
        return train_population(
            simulator, SPEC, encoded, SWINGUP, CONFIG, seeds=[3, 4], checkpoint=tmp_path / folder, progress=note
        )

    undisturbed = train("a")
    killed: list[int] = []
    killer = threading.Thread(target=kill_one_worker, args=(tmp_path / "b" / "seed-3.safetensors", killed))
    killer.start()
    seen: list[float] = []
    disturbed = train("b", seen)
    killer.join()
    assert len(killed) == 1
    assert 10 <= killed[0] < CONFIG.updates
    assert (disturbed.manifest, disturbed.weights, disturbed.values) == (
        undisturbed.manifest,
        undisturbed.weights,
        undisturbed.values,
    )
    assert seen == sorted(seen)
    assert undisturbed.manifest.seed == max(undisturbed.values, key=lambda seed: undisturbed.values[seed])
    assert PolicyRunner(undisturbed.manifest, undisturbed.onnx).manifest.history_steps == 3
    assert unpack_network(undisturbed.weights).features.history_steps == 3
    assert undisturbed.simulated.robots == 2


def kill_one_worker(checkpoint: Path, killed: list[int]) -> None:
    """SIGKILLs one of this process's own training workers once `checkpoint` is there; notes the updates it had made."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        done = progressed(checkpoint)
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::_train_one" in named(p)]
        if done >= 10 and workers:
            workers[0].kill()
            killed.append(done)
            return
        time.sleep(0.01)


def named(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_no_seeds_are_refused(simulator: SimulatorParts, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 seeds and 1 robots"):
        train_population(simulator, SPEC, {"a": []}, SWINGUP, CONFIG, seeds=[], checkpoint=tmp_path)
