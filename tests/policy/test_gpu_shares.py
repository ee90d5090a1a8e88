"""Shares of GPUs on a real Ray cluster that is told to have two: all of a population runs at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.workers import gpu_share

ray = pytest.importorskip("ray")


@pytest.fixture
def two_gpus() -> Iterator[None]:
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(num_cpus=8, num_gpus=2, object_store_memory=80_000_000, **quiet)
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("gpus", "tasks", "share"),
    [(0, 3, 0.0), (1, 1, 1.0), (1, 2, 0.5), (1, 3, 0.3333), (2, 3, 0.5), (8, 2, 1.0), (4, 5, 0.5), (1, 7, 0.1428)],
)
def test_the_share_is_that_of_the_fullest_gpu(gpus: float, tasks: int, share: float) -> None:
    assert gpu_share(gpus, tasks) == share


@pytest.mark.slow
@pytest.mark.usefixtures("two_gpus")
def test_all_of_a_population_runs_at_once_on_the_gpus_there_are(tmp_path: Path) -> None:
    @ray.remote(num_cpus=1)
    def meet(folder: str, index: int, of: int) -> str:
        """Waits for all others; the GPU that it was given."""
        (Path(folder) / str(index)).touch()
        end = time.monotonic() + 30
        while len(list(Path(folder).iterdir())) < of and time.monotonic() < end:
            time.sleep(0.02)
        assert len(list(Path(folder).iterdir())) == of, "some are still waiting for a GPU"
        return str(ray.get_gpu_ids()[0])

    for tasks in (3, 7):
        folder = tmp_path / str(tasks)
        folder.mkdir()
        remote = meet.options(num_gpus=gpu_share(ray.cluster_resources()["GPU"], tasks))
        found = ray.get([remote.remote(str(folder), i, tasks) for i in range(tasks)])
        assert set(found) == {"0", "1"}
