"""Ray workers that train policies, killed again and again at random moments: the same policy in the end."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from policy.config import PolicyConfig
from policy.workers import _RETRIES, Trained
from tests.benchmarks import worker_kill

ray = pytest.importorskip("ray")
CONFIG = PolicyConfig(updates=60, worlds=24, windows=2, evaluate_every=4, evaluation_worlds=8, width=32)


@pytest.fixture(autouse=True)
def cluster() -> Iterator[None]:
    torch.set_num_threads(1)
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(num_cpus=2, object_store_memory=80_000_000, **quiet)
    yield
    ray.shutdown()


def storm(over: threading.Event, killed: list[int]) -> None:
    """Kills a random worker of this process's own every few seconds, as often as any one task may be tried again."""
    while not over.is_set() and len(killed) < _RETRIES:
        time.sleep(random.uniform(0.5, 4.0))
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::_train_one" in worker_kill.named(p)]
        if workers:
            victim = random.choice(workers)
            victim.kill()
            killed.append(victim.pid)


@pytest.mark.timeout(900)
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    logs = {serial: [worker_kill.shaken(serial, i) for i in range(3)] for serial in worker_kill.SERIALS}
    simulator = worker_kill.learned(logs, 20)

    def train(folder: str) -> Trained:
        return worker_kill.train(simulator, logs, CONFIG, tmp_path / folder, None)[0]

    calm = train("calm")
    for round_ in range(3):
        over, killed = threading.Event(), list[int]()
        thread = threading.Thread(target=storm, args=(over, killed))
        thread.start()
        stormy = train(f"storm-{round_}")
        over.set()
        thread.join()
        assert killed
        assert (stormy.manifest, stormy.weights, stormy.values) == (calm.manifest, calm.weights, calm.values)
