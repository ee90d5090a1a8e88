"""A simulator of stand-ins from recipe to folder and back, and its sampled futures: a training of a few updates."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")

from fleet_ingest.standins.families import population
from simulator.simulator import Simulator
from storage.contracts.errors import InputError
from tests.benchmarks.sim.bundle import load_simulator
from tests.benchmarks.sim.training import Recipe, episodes_of, trained
from tests.benchmarks.sim.windows import futures, unseen, windows_of

RECIPE = Recipe(families=("pendulum", "cartpole"), robots=4, seconds=10.0, updates=4, members=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def simulator(work: Path) -> Simulator:
    return trained(RECIPE, work)


def test_what_was_trained_is_found_again(simulator: Simulator, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.sim.training.train_simulator", None)
    assert trained(RECIPE, work).digest == simulator.digest
    assert load_simulator(work / f"simulator-{RECIPE.key}").files == simulator.files
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_simulator(work)


def test_a_specialist_sees_one_robot_of_the_test_split_and_others_none() -> None:
    bodies = population(4, 0, RECIPE.families, "test")
    alone = episodes_of(Recipe(RECIPE.families, 4, 10.0, 4, only=3))
    assert {episode.robot for episode in alone} == {bodies[3].serial}
    assert not {episode.robot for episode in episodes_of(RECIPE)} & {body.serial for body in bodies}


def test_futures_give_every_member_equal_voice_and_repeat(simulator: Simulator) -> None:
    robot = unseen(population(1, 0, ["cartpole"], "test")[0], 1, 4.0, seed=0)
    cases = windows_of(robot.logs, 20, 5)
    scene = simulator.ground(robot.prompt())
    first, again = (futures(scene, cases, 7, [5, 20, 1], seed=3) for _ in range(2))
    assert first.samples.shape == (5, 8, 3, 4)
    assert np.bincount(first.members).tolist() == [4, 4]
    np.testing.assert_array_equal(first.samples, again.samples)
    # after one step a robot is nearly where it was, after twenty it is not: the chosen steps are in order
    moved = np.abs(first.samples[..., 0] - cases.now[:, None, None, 0]).mean((0, 1))
    assert moved[0] < moved[2]


def test_a_prompt_is_other_logs_than_those_tested_on() -> None:
    robot = unseen(population(1, 0, ["pendulum"], "test")[0], 2, 4.0, seed=0)
    prompt = robot.prompt(robot.body.true_spec, seconds=2.0)
    assert prompt.episodes[0].duration_s == pytest.approx(2.0)
    assert prompt.episodes[0].spec == robot.body.true_spec
    assert robot.prompt(seconds=0.0).episodes == ()
    assert all(not np.array_equal(log.episode.state[:10], robot.clip.state[:10]) for log in robot.logs)
