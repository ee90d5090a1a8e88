from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simulator.config import SimulatorConfig, Stage
from simulator.simulator import Simulator, joined
from simulator.train import has_room, train_simulator
from simulator.workers import split
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.episode import Episode
from storage.contracts.errors import ConflictError, DataError, IncompatibleError, InputError

Make = Callable[..., Episode]


class Stopped(Exception):
    """Stands for a kill in the middle of training."""


def test_same_seed_same_bits_and_another_seed_other_weights(oscillator: Make, small: SimulatorConfig) -> None:
    episodes = [oscillator(1), oscillator(2)]
    short = small.model_copy(update={"updates": 12})
    first, again = (train_simulator(episodes, short) for _ in range(2))
    assert first.files == again.files
    assert first.digest == again.digest
    assert train_simulator(episodes, short.model_copy(update={"seed": 1})).files != first.files


def test_killed_and_resumed_training_ends_with_the_same_bits(
    oscillator: Make, small: SimulatorConfig, tmp_path: Path
) -> None:
    episodes = [oscillator(1), oscillator(2)]
    config = small.model_copy(update={"updates": 40, "checkpoint_every": 10})
    path = tmp_path / "run" / "weights.safetensors"

    def stop(share: float, text: str) -> None:
        del text
        if share >= 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        train_simulator(episodes, config, checkpoint=path, progress=stop)
    resumed_from: list[float] = []
    resumed = train_simulator(episodes, config, checkpoint=path, progress=lambda share, _: resumed_from.append(share))
    assert torch.equal(resumed.model.theta, train_simulator(episodes, config).model.theta)
    assert resumed_from == [1.0]  # the first half was not done again
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_of_another_training_is_refused(oscillator: Make, small: SimulatorConfig, tmp_path: Path) -> None:
    config = small.model_copy(update={"updates": 3})
    train_simulator([oscillator(1)], config, checkpoint=tmp_path / "c")
    with pytest.raises(ConflictError, match="another training"):
        train_simulator([oscillator(2)], config, checkpoint=tmp_path / "c")
    (tmp_path / "c").write_bytes(b"no tensors")
    with pytest.raises(DataError, match="cannot be read"):
        train_simulator([oscillator(2)], config, checkpoint=tmp_path / "c")


def test_members_trained_apart_equal_members_trained_together(oscillator: Make, small: SimulatorConfig) -> None:
    config = small.model_copy(update={"updates": 5, "members": 3})
    whole = train_simulator([oscillator(1)], config)
    parts = joined([train_simulator([oscillator(1)], config, members=part) for part in split(3, 2)])
    assert parts.model.theta.shape == whole.model.theta.shape
    assert torch.allclose(parts.model.theta, whole.model.theta, atol=1e-4)
    assert not torch.allclose(whole.model.theta[0], whole.model.theta[1], atol=1e-2)  # members are independent


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_every_member_goes_to_one_worker(workers: int) -> None:
    assert [m for part in split(5, workers) for m in part] == list(range(5))


def test_a_parent_is_continued_with_its_scales(trained: Simulator, oscillator: Make, small: SimulatorConfig) -> None:
    config = small.model_copy(update={"warm_updates": 10, "warm_curriculum": (Stage(steps=16, share=1.0),)})
    child = train_simulator([oscillator(50)], config, parent=trained)
    key = next(iter(trained.model.scales))
    assert child.model.scales[key].to_json() == trained.model.scales[key].to_json()
    card = child.score([oscillator(70), oscillator(71)], (0.5,))
    scratch = train_simulator([oscillator(50)], config.model_copy(update={"updates": 10})).score(
        [oscillator(70)], (0.5,)
    )
    assert (card.value("nrmse", 0.5) or 9) < 0.5 * (scratch.value("nrmse", 0.5) or 0)


def test_a_parent_that_saw_no_rewards_goes_on_and_learns_to_predict_them(
    trained: Simulator, oscillator: Make, small: SimulatorConfig
) -> None:
    paid = [replace(e, reward=e.state[1:, 0] ** 2) for e in (oscillator(50), oscillator(51))]
    config = small.model_copy(update={"warm_updates": 4})
    child = train_simulator(paid, config, parent=trained)
    assert child.model.traits.rewarded
    assert not trained.model.traits.rewarded
    drift = (child.model.weights()["step.hidden"] - trained.model.weights()["step.hidden"]).abs().max()
    assert drift < 0.2  # four updates away from the parent, not from scratch


def test_the_first_members_of_a_larger_parent_go_on(
    trained: Simulator, oscillator: Make, small: SimulatorConfig
) -> None:
    config = small.model_copy(update={"warm_updates": 1, "members": 1})
    child = train_simulator([oscillator(50)], config, parent=trained)
    assert child.model.members == 1
    assert (child.model.theta - trained.model.theta[:1]).abs().max() < 1e-6  # the first update moves nothing


def test_who_has_room_for_whom(trained: Simulator, small: SimulatorConfig) -> None:
    spec = trained.specs[0]
    assert has_room(trained, spec, small)
    assert not has_room(trained, spec, small.model_copy(update={"width": 2 * small.width}))
    assert not has_room(trained, spec, small.model_copy(update={"members": 3}))
    assert not has_room(trained, spec.model_copy(update={"control_rate_hz": 200.0}), small)  # more is under way


def test_a_bundle_reads_back_as_it_was_and_is_checked(trained: Simulator) -> None:
    parts, files = trained.to_files()
    manifest = SimulatorManifest(name="osc", dataset="0" * 64, **parts)
    store = {manifest.digest: manifest.to_json(), manifest.files["weights"]: files["weights"]}

    class Store:
        def get_bytes(self, sha256: str) -> bytes:
            return store[sha256]

    again = Simulator.load(Store(), manifest.digest)
    assert again.files == files
    assert again.digest == manifest.digest
    with pytest.raises(DataError, match="not those of its manifest"):
        Simulator.from_files(manifest, {"weights": files["weights"][:-1] + b"x"})
    with pytest.raises(IncompatibleError, match="architecture 'other'"):
        Simulator.from_files(manifest.model_copy(update={"architecture": "other"}), files)


def test_nothing_to_learn_from_is_said(small: SimulatorConfig) -> None:
    with pytest.raises(InputError, match="no episodes"):
        train_simulator([], small)


def test_logs_of_a_few_rows_are_trained_on(oscillator: Make, small: SimulatorConfig) -> None:
    """Episodes that end after a few steps are all that a robot has which falls at once."""
    trained = train_simulator([oscillator(1, steps=4)], small.model_copy(update={"updates": 3, "notes_drop": 0.0}))
    assert all(torch.isfinite(theta).all() for theta in trained.model.theta)
