"""The loop in one process: what robots log there is what a fleet's robots log, and a killed loop goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.convert_robot_log import robot_log_to_episode
from fleet_ingest.formats.read import read_log
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment, Plan
from fleet_ingest.standins.registry import standin
from flows import local_store
from flows.local_loop import LocalLoop, LoopConfig
from policy.config import PolicyConfig
from policy.weights import pack_network
from simulator.config import SimulatorConfig
from storage.codecs.episodes import encode_episode
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import InputError
from storage.contracts.task import Task

FAMILY = standin("cartpole")
TINY = LoopConfig(
    simulator=SimulatorConfig(updates=6, warm_updates=4, members=4, width=16),
    policy=PolicyConfig(
        updates=4, worlds=8, windows=2, horizon_steps=4, evaluation_worlds=4, evaluation_steps=8, width=8
    ),
)


def loop_of(n: int = 1) -> LocalLoop:
    task = FAMILY.task.model_copy(update={"horizon_s": 1.0})
    return LocalLoop({FAMILY.serial(i + 1): FAMILY.open(FAMILY.serial(i + 1)) for i in range(n)}, task, TINY)


def test_logs_are_those_that_a_robot_process_would_upload(tmp_path: Path) -> None:
    loop, serial = loop_of(), FAMILY.serial(1)
    planned = loop.plan("excitation", 3, 2)
    (_, found) = loop.run(serial, planned)
    assignment = Assignment(id=9, key="any", robot=serial, plan=Plan(task=loop.task, episodes=tuple(planned)))
    data = write_log(run_episode(FAMILY.open(serial), assignment, planned[1], None))
    (tmp_path / "log.mcap").write_bytes(data)
    expected = robot_log_to_episode(read_log(tmp_path / "log.mcap"), sha256_hex(data))
    assert encode_episode(found) == encode_episode(expected)
    assert found.steps == 50
    assert loop.control_periods == 0  # nothing is kept for training unless the caller keeps it


def test_an_iteration_trains_and_deploys_and_the_loop_goes_on_from_disk(tmp_path: Path) -> None:
    loop = loop_of(2)
    for index, serial in enumerate(loop.robots):
        loop.episodes += loop.run(serial, loop.plan("excitation", index))
    with pytest.raises(InputError, match="no simulator"):
        loop.improve(0)
    loop.retrain(0)
    loop.improve(0)
    local_store.save(loop, tmp_path / "saved", {"note": 7})
    other = loop_of(2)
    assert local_store.restore(other, tmp_path / "saved") == {"note": 7}
    for one in (loop, other):
        one.episodes += one.run(FAMILY.serial(1), one.plan("exploration", 5), one.explorer)
        one.retrain(1)
        one.improve(1)
    assert loop.policy is not None
    assert other.policy is not None
    assert pack_network(loop.policy.network) == pack_network(other.policy.network)
    assert loop.policy.manifest.digest == other.policy.manifest.digest
    assert set(loop.seconds) == {"robots", "simulator", "policy"}
    assert np.isfinite(loop.returns(loop.episodes)).all()


def evaluated() -> LocalLoop:
    """A loop whose first policy has made one evaluation episode."""
    loop, serial = loop_of(), FAMILY.serial(1)
    loop.episodes += loop.run(serial, loop.plan("excitation", 1))
    loop.retrain(0)
    loop.improve(0)
    assert (loop.refuted, loop.proven) == (False, None)  # nobody has tried it yet
    loop.episodes += loop.run(serial, loop.plan("evaluation", 2), loop.policy)
    return loop


def test_a_policy_that_reality_refuted_is_no_candidate_again() -> None:
    loop = evaluated()
    assert loop.policy is not None
    (earned,) = loop.returns(loop.episodes[-1:])
    loop.policy = replace(loop.policy, promised=earned + 0.9, spread=1.0)
    assert loop.proven == pytest.approx(earned + 0.45)
    elsewhere = replace(loop, robots={FAMILY.serial(2): FAMILY.open(FAMILY.serial(2))})
    assert elsewhere.proven is None  # what it earned on another robot proves nothing here
    loop.policy = replace(loop.policy, promised=earned - 500.0)
    assert loop.proven == pytest.approx(earned), "that the simulator thought less of it takes nothing away"
    loop.policy = replace(loop.policy, promised=earned + 1.1)
    assert (loop.refuted, loop.proven) == (True, None)


def test_a_policy_that_has_proven_itself_gives_way_to_none_that_promises_less(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = evaluated()
    assert loop.policy is not None
    loop.policy = replace(loop.policy, promised=1e6, spread=2e6)
    kept = loop.policy
    assert loop.improve(1).simulated.mean < 1e5
    assert loop.policy is kept
    assert loop.explorer is not None
    assert loop.explorer.manifest.digest != kept.manifest.digest
    loop.policy = replace(loop.policy, promised=-1e6)
    monkeypatch.setattr(LocalLoop, "_earned", lambda self: [-1e6])
    trained = loop.improve(2)
    assert loop.policy.promised == trained.simulated.mean
    assert pack_network(loop.policy.network) == pack_network(trained.network)


def test_a_save_that_was_killed_between_its_renames_is_put_back(tmp_path: Path) -> None:
    loop = loop_of()
    local_store.save(loop, tmp_path / "saved", {"note": 1})
    (tmp_path / "saved").rename(tmp_path / ".saved.123.old")
    (tmp_path / ".saved.123.fresh").mkdir()
    assert local_store.restore(loop_of(), tmp_path / "saved") == {"note": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert local_store.restore(loop_of(), tmp_path / "nothing") is None


def test_a_loop_without_robots_is_refused() -> None:
    with pytest.raises(InputError, match="at least one robot"):
        LocalLoop({}, FAMILY.task, TINY)


def test_a_loop_that_has_seen_no_reward_explores_and_deploys_what_it_learned_last() -> None:
    """Where every logged reward is the same, a policy that promises no more takes the place of the one before."""
    loop, serial = loop_of(), FAMILY.serial(1)
    loop.task = Task(name="rare", reward_channel="cart.position", horizon_s=1.0)
    loop.episodes += [replace(e, reward=np.zeros(e.steps)) for e in loop.run(serial, loop.plan("excitation", 1))]
    deployed = []
    for iteration in range(2):
        loop.retrain(iteration)
        trained = loop.improve(iteration)
        assert trained.curious
        assert loop.policy is not None
        assert loop.explorer is not None
        assert pack_network(loop.policy.network) == pack_network(loop.explorer.network) == pack_network(trained.last)
        deployed.append(loop.policy.manifest.digest)
        tried = loop.run(serial, loop.plan("evaluation", 2 + iteration), loop.policy)
        loop.episodes += [replace(e, reward=np.zeros(e.steps)) for e in tried]
    assert deployed[0] != deployed[1]
    last = loop.episodes[-1]
    loop.episodes[-1] = replace(last, reward=np.linspace(0.0, 1.0, last.steps))
    loop.retrain(2)
    assert not loop.improve(2).curious
