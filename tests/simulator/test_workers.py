from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.simulator import Simulator, joined
from simulator.train import train_simulator
from storage.codecs.episodes import encode_episode
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_members_trained_on_two_workers_are_those_trained_here(
    oscillator: Callable[..., Episode], small: SimulatorConfig, tmp_path: Path
) -> None:
    from simulator.workers import train_on_workers

    episodes = [oscillator(1), oscillator(2)]
    config = small.model_copy(update={"updates": 20})
    seen: list[float] = []
    manifest, files = train_on_workers(
        [encode_episode(e) for e in episodes], config, checkpoint=tmp_path / "c", workers=2, dataset="d" * 64,
        name="osc", progress=lambda share, _: seen.append(share),
    )  # fmt: skip
    here = joined([train_simulator(episodes, config, members=range(m, m + 1)) for m in range(2)])
    assert torch.equal(Simulator.from_files(manifest, files).model.theta, here.model.theta)
    assert (manifest.name, manifest.dataset, manifest.parent) == ("osc", "d" * 64, None)
    assert seen[-1] == 1.0
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["members-0-1.safetensors", "members-1-2.safetensors"]
    child, _ = train_on_workers(
        [encode_episode(episodes[0])], config.model_copy(update={"warm_updates": 3}), parent=(manifest, files),
        checkpoint=tmp_path / "d", workers=2,
    )  # fmt: skip
    assert child.parent == manifest.digest
    assert not child.pretrained_on_standins


def test_what_begins_with_stand_ins_says_so(
    oscillator: Callable[..., Episode], small: SimulatorConfig, tmp_path: Path
) -> None:
    from simulator.workers import train_on_workers

    config = small.model_copy(update={"updates": 2, "warm_updates": 2})
    parts, files = train_simulator([oscillator(1)], config).to_files()
    parent = SimulatorManifest(name="p", dataset="", pretrained_on_standins=True, **parts)
    child, _ = train_on_workers(
        [encode_episode(oscillator(2))], config, parent=(parent, files), checkpoint=tmp_path / "c", workers=1
    )
    assert child.pretrained_on_standins


def test_no_workers_is_refused(small: SimulatorConfig, tmp_path: Path) -> None:
    from simulator.workers import train_on_workers

    with pytest.raises(InputError, match="at least one worker"):
        train_on_workers([], small, checkpoint=tmp_path, workers=0)
