"""What the k-th robot of a fleet costs: the statistics by hand, and a killed fleet that goes on as if nothing was."""

from pathlib import Path

import pytest
import torch

from fleet_ingest.standins.tasks import CARTPOLE_SWINGUP
from flows import local_store
from flows.local_loop import LocalLoop, LoopConfig
from policy.config import PolicyConfig
from simulator.config import SimulatorConfig
from storage.codecs.episodes import encode_episode
from storage.contracts.errors import InputError
from tests.benchmarks import kth_robot, readme
from tests.benchmarks.kth_robot import Unit
from tests.benchmarks.learning import growing_fleet
from tests.benchmarks.learning.arms import Row
from tests.benchmarks.learning.growing_fleet import Arm, Cost, GrowingFleet, Protocol

TINY = LoopConfig(
    simulator=SimulatorConfig(updates=2, warm_updates=2, members=2, width=8),
    policy=PolicyConfig(
        updates=2, worlds=4, windows=1, horizon_steps=2, evaluation_worlds=2, evaluation_steps=4, width=4
    ),
)
TASK = CARTPOLE_SWINGUP.model_copy(update={"horizon_s": 1.0})
PROTOCOL = Protocol(timed=(1, 3), limit_s=3.0, contribution_s=4.0, evaluation_episodes=1)


def row(robot_s: float, earned: float, trained: float = 1.0) -> Row:
    return {"robot_s": robot_s, "return": earned, "trained": trained}


def fleet_in(work: Path, oracle: float = 1e6, protocol: Protocol = PROTOCOL) -> GrowingFleet:
    """A return beyond reach, unless told otherwise."""
    return GrowingFleet(0, TINY, work, protocol, lambda serial: oracle, task=TASK)


def timeless(arm: Arm) -> dict[int, list[Row]]:
    return {k: [{n: v for n, v in r.items() if n != "wall_s"} for r in rows] for k, rows in arm.curves.items()}


def seconds_of(arm: Arm, serial: str) -> list[float]:
    return [e.steps / 50 for e in arm.loop.episodes if e.robot == serial]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_first_row_that_passes_is_the_cost_else_the_last_is_a_bound() -> None:
    curve = [row(2, 50), row(7, 90), row(12, 40), row(17, 95)]
    assert growing_fleet.cost_of(curve, 90.0) == Cost(7, False)
    assert growing_fleet.cost_of(curve, 90.1) == Cost(17, False)
    assert growing_fleet.cost_of(curve, 96.0) == Cost(17, True)
    with pytest.raises(ValueError, match="no rows"):
        growing_fleet.cost_of([], 1.0)


def test_a_robot_is_done_when_it_passed_or_when_all_its_seconds_were_learned_from() -> None:
    def done(*curve: Row) -> bool:
        return growing_fleet.finished(curve, threshold=90.0, limit_s=10.0, episode_s=5.0)

    assert not done()
    assert done(row(2, 90, trained=0))
    assert not done(row(2, 89))
    assert not done(row(2, 89), row(5, 89))  # another 5 s fit exactly
    assert done(row(2, 89), row(7, 89))
    assert not done(row(7, 89, trained=0))
    assert done(row(2, 91), row(3, 10))


def test_iterations_grow_with_what_there_is_and_never_exceed_the_limit() -> None:
    def spent(limit_s: float) -> list[float]:
        seconds, collected = [2.0], 0
        while more := growing_fleet.episodes_next(collected, seconds[-1], limit_s, 5.0):
            collected += more
            seconds.append(seconds[-1] + 5.0 * more)
        return seconds

    assert spent(112.0) == [2, 7, 12, 17, 22, 32, 42, 57, 72, 92, 112]
    assert spent(50.0) == [2, 7, 12, 17, 22, 32, 42, 47]


def test_factors_are_geometric_means_over_draws() -> None:
    figure = kth_robot.ratio([(Cost(2, False), Cost(8, False)), (Cost(2, False), Cost(2, False))])
    # A quarter and one: a half; the draws of two are both a quarter, one each, or both one.
    assert (figure.value, figure.ci95, figure.n) == (0.5, (0.25, 1.0), 2)
    # 64, 32, 16, 8 s for robots 1, 2, 4, 8 halve with each doubling; 2 to the mean of slopes -1 and 0 beside.
    halving = {k: Cost(64 / k, False) for k in (1, 2, 4, 8)}
    level = {k: Cost(5.0, True) for k in (1, 2, 4, 8)}
    assert kth_robot.per_doubling([halving]).value == 0.5
    assert kth_robot.per_doubling([halving, level]).value == pytest.approx(0.5**0.5, abs=1e-4)


def test_what_was_cut_off_is_told() -> None:
    found = kth_robot.spread("r", [Cost(30, False), Cost(112, True), Cost(7, False)])
    assert {name: figure.value for name, figure in found.items()} == {
        "r: median": 30, "r: fewest": 7, "r: most": 112, "r: cut off": 1,
    }  # fmt: skip
    open_, cut = Cost(7, False), Cost(112, True)
    pairs = [(open_, open_), (open_, cut), (open_, cut), (cut, open_), (cut, cut)]
    assert kth_robot.bounds(pairs) == {"exact": 1, "at most": 2, "at least": 1, "unknown": 1}


def units(last: list[Cost]) -> list[Unit]:
    """Robot 1 takes 40 s, robot 2 as given, and from scratch more than 112 s."""
    first, never = Cost(40, False), Cost(112, True)
    return [Unit({1: first, 2: one}, {1: first, 2: never}, {2: 0.5}, 60.0) for one in last]


def test_a_factor_is_met_only_below_one_with_its_interval_and_no_open_end() -> None:
    fast, slow, cut = Cost(10, False), Cost(50, False), Cost(30, True)
    result = kth_robot.report(units([fast, fast]), [0, 1])
    assert result["missed"] == []
    assert result["figures"]["robot 2 over robot 1"]["value"] == 0.25
    assert result["figures"]["robot 2, fleet over from scratch"]["value"] == round(10 / 112, 4)
    assert result["bounds"]["robot 2, fleet over from scratch"]["at most"] == 2
    # Fast and slow: the geometric mean lies below 1, its interval does not.
    named = ["robot 2 over robot 1", "factor per doubling of the fleet"]
    assert kth_robot.report(units([fast, slow]), [0, 1])["missed"] == named
    # Cut off at 30 of 40: nothing says that it would not have taken longer than the first.
    assert "robot 2 over robot 1" in kth_robot.report(units([cut, cut]), [0, 1])["missed"]


def test_the_table_names_bounds_and_what_is_not_there() -> None:
    result = kth_robot.report(units([Cost(10, False), Cost(12, False)]), [0, 1])
    table = readme.kth_robot_table(result | {"timed": [1, 2], "limit_s": 112.0}).splitlines()
    assert table[4] == "| 1 | 40 [40, 40] | 2 of 2 | 40 [40, 40] | 2 of 2 |  |  |"
    begin, end = "| 2 | 11 [10, 12] | 2 of 2 | at least 112 [112, 112] | 0 of 2 | 0.0978 [", "] | 0.50 |"
    assert table[5].startswith(begin)
    assert table[5].endswith(end)


@pytest.mark.slow
def test_a_fleet_killed_before_every_second_save_is_the_fleet_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fleet_in(tmp_path / "whole").grown()
    save, saves, kills = local_store.save, 0, 0

    def dying(loop: LocalLoop, folder: Path, facts: dict[str, object]) -> None:
        nonlocal saves
        saves += 1
        if saves % 2 == 0:
            raise KeyboardInterrupt
        save(loop, folder, facts)

    with monkeypatch.context() as patch:
        patch.setattr(local_store, "save", dying)
        while kills < 10:
            saves = 0
            try:
                again = fleet_in(tmp_path / "killed").grown()
                break
            except KeyboardInterrupt:
                kills += 1
    # Five iterations and three robots that were settled, each saved once.
    assert kills == 7
    assert timeless(again) == timeless(whole)
    assert [encode_episode(e) for e in again.loop.episodes] == [encode_episode(e) for e in whole.loop.episodes]


def test_seconds_count_once_and_stay_with_the_fleet(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path)
    arm = fleet.grown()
    assert [(r["robot_s"], r["trained"]) for r in arm.curves[1]] == [(2, 1), (3, 1)]
    assert [(r["robot_s"], r["trained"]) for r in arm.curves[3]] == [(2, 0), (2, 1), (3, 1)]
    # Timed, then topped up to 4 s; not timed; the last one has nobody after it.
    assert seconds_of(arm, fleet.serial(1)) == [2, 1, 1]
    assert seconds_of(arm, fleet.serial(2)) == [2, 1, 1]
    assert seconds_of(arm, fleet.serial(3)) == [2, 1]
    assert list(arm.loop.robots) == [fleet.serial(k) for k in (1, 2, 3)]
    # The first robot of a fleet is one from scratch; from scratch, nothing of the others is known.
    assert timeless(fleet.from_scratch(1))[1] == timeless(arm)[1]
    alone = fleet.from_scratch(3)
    assert {e.robot for e in alone.loop.episodes} == {fleet.serial(3)}
    assert [r["trained"] for r in alone.curves[3]] == [1, 1]


def test_a_policy_that_is_good_at_once_costs_the_prompt_and_no_training(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path, oracle=-1.0)  # whoever moves not at all earns more
    arm = fleet.grown()
    assert [growing_fleet.cost_of(arm.curves[k], fleet.threshold(k)) for k in (1, 3)] == [Cost(2, False)] * 2
    assert [r["trained"] for r in arm.curves[3]] == [0]
    with pytest.raises(InputError, match="other settings or another oracle"):
        fleet_in(tmp_path, oracle=-2.0).grown()
