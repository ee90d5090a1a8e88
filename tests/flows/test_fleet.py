"""Fleets of environments: what they are, what their robots are called, what each is asked to run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_ingest.robot.plan import Plan
from fleet_ingest.standins.registry import standin
from flows.campaign_config import CollectionConfig
from flows.collect import evaluation_plan, excitation_plan
from flows.fleet import Fleet, default_size, environment_serial, find_fleet
from storage.catalog.catalog import Catalog
from storage.contracts.canonical import digest_of
from storage.contracts.errors import InputError
from storage.embedded.service import ServiceSpec


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as catalog:
        yield catalog


@pytest.fixture(scope="module")
def pendulums(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    pytest.importorskip("gymnasium")
    with Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.sqlite'}") as catalog:
        return find_fleet(catalog, "gymnasium:Pendulum-v1?repeat=2", 2)


def test_an_environment_is_a_fleet_with_its_own_task(pendulums: Fleet) -> None:
    assert (pendulums.kind, pendulums.driver) == ("environment", "gymnasium:Pendulum-v1?repeat=2")
    assert pendulums.serials == ("gym-pendulum-v1-repeat-2-0001", "gym-pendulum-v1-repeat-2-0002")
    task = pendulums.task
    assert (task.reward_channel, task.terminated_channel, task.start) == ("reward", "terminated", {})
    # 200 steps of 0.05 s, two in each control period
    assert (task.horizon_s, task.horizon_steps(pendulums.spec)) == (10.0, 100)
    assert (pendulums.oracle_return, default_size(str(pendulums.driver)), default_size("cartpole")) == (None, 1, 3)


def test_a_time_limit_that_the_repeat_does_not_divide_is_kept_whole(empty: Catalog) -> None:
    pytest.importorskip("gymnasium")
    fleet = find_fleet(empty, "gymnasium:Pendulum-v1?repeat=7", 1)
    assert fleet.task.horizon_steps(fleet.spec) == 29  # 28 periods of 7 steps, and 4 steps


def test_plans_of_environments_set_no_start_and_differ_between_equal_robots(pendulums: Fleet) -> None:
    config, task = CollectionConfig(evaluation_episodes=3), pendulums.task
    plans = []
    for serial in pendulums.serials:
        offset = pendulums.seed_offset(serial)
        found = evaluation_plan(task, config, pendulums.evaluation_seed + offset, 5 + offset)
        plans.append(Plan.model_validate(found))
    assert all(episode.start == {} for plan in plans for episode in plan.episodes)
    assert plans[0].episodes[0].seed == 2_026_000  # the same in every iteration and campaign
    seeds = [episode.seed for plan in plans for episode in plan.episodes]
    assert len(set(seeds)) == len(seeds) == 10
    excited = excitation_plan(task, pendulums.spec, config, 1, episodes=2, wide=True)
    assert all(episode.start == {} for episode in Plan.model_validate(excited).episodes)


def test_stand_ins_are_compared_from_equal_seeds_as_ever(empty: Catalog) -> None:
    fleet = find_fleet(empty, "cartpole", 3)
    assert (fleet.kind, fleet.driver) == ("standin", "standin:cartpole")
    assert [fleet.seed_offset(serial) for serial in fleet.serials] == [0, 0, 0]
    plan = evaluation_plan(fleet.task, CollectionConfig(), fleet.evaluation_seed, 7)
    # Plans of before environments were robots: campaigns that were run then are found again.
    assert digest_of(plan) == "925dd6231c4e64d8c7f6a1c18a3db1e576ab0c23478c5d914756d11cd3042418"
    assert fleet.evaluation_seed == standin("cartpole").evaluation_seed == 2026


@pytest.mark.parametrize("name", ["gymnasium:a", "dm_control:cartpole-swingup:repeat-12", "gymnasium:" + "long-" * 13])
def test_serial_numbers_fit_into_the_names_of_services(name: str) -> None:
    serial = environment_serial(name, 64)
    assert serial.endswith("-0064")
    ServiceSpec(name=f"robot-{serial}", argv=("true",))
    assert environment_serial(f"{name}x", 64) != serial


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gymnasium:InvertedPendulum-v55", "no Gymnasium environment"),
        ("dm_control:cartpole-swngup", "no dm_control task 'cartpole-swngup'"),
        ("gymnasium:CartPole-v1", "only boxes"),
        ("gymnasium:Pendulum-v1?sped=2", "unknown option of an environment 'sped'"),
    ],
)
def test_what_is_no_environment_is_refused_with_what_would_be(empty: Catalog, name: str, words: str) -> None:
    pytest.importorskip("gymnasium")
    with pytest.raises(InputError, match=words):
        find_fleet(empty, name, 1)
