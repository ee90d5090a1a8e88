"""One episode on a driver whose physics is x' = x + u: requests, clamps, records, log bytes."""

import json
from io import BytesIO

import numpy as np
import pytest
from mcap.reader import make_reader

from fleet_ingest.robot.commands import RandomHold, Wander, clamp
from fleet_ingest.robot.driver import Outcome
from fleet_ingest.robot.episode import Interrupted, run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment, Noise, Plan, PlannedEpisode
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

SPEC = RobotSpec(
    name="adder",
    control_rate_hz=10,
    channels=(
        Channel(name="x", kind=Kind.LINEAR),
        Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND, limits=(-2, 2)),
    ),
)
TASK = Task(name="t", reward="x", horizon_s=1)


class Adder:
    """x' = x + u, 0.1 s a period."""

    spec = SPEC

    def __init__(self, end_at: int | None = None) -> None:
        self.applied: list[np.ndarray] = []
        self.stops = 0
        self.end_at = end_at

    def reset(self, start: dict[str, float], seed: int) -> None:
        self.x, self.step = start.get("x", 0.0), 0

    def read(self) -> tuple[int, np.ndarray]:
        return self.step * 100_000_000, np.array([self.x])

    def apply(self, command: np.ndarray) -> None:
        self.applied.append(command)
        self.x += float(command[0])
        self.step += 1

    def exogenous(self) -> np.ndarray:
        return np.zeros(0)

    def outcome(self) -> Outcome:
        return Outcome(terminated=self.step == self.end_at)

    def stop(self) -> None:
        self.stops += 1


class Script:
    """Stands where a policy runner stands; answers a list, and records what it was given."""

    def __init__(self, answers: list[float]) -> None:
        self.answers = answers
        self.seen: list[tuple[float, float]] = []

    def reset(self, state: np.ndarray) -> None:
        self.seen.clear()

    def act(self, state: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
        assert last is not None
        self.seen.append((float(state[0]), float(last[0])))
        return np.array([self.answers[len(self.seen) - 1]])


def planned(purpose: str = "evaluation", **changes: object) -> PlannedEpisode:
    values = {"index": 3, "seed": 5, "start": {"x": 1.0}, "duration_s": 0.4, "purpose": purpose}
    return PlannedEpisode.model_validate(values | changes)


def assignment(episode: PlannedEpisode) -> Assignment:
    plan = Plan(task=TASK, episodes=(episode,))
    return Assignment.model_construct(
        id=1, key="k/1", robot="adder-1", plan=plan, policy="ab" * 32, campaign="c", iteration=2
    )


def test_what_is_not_finite_becomes_the_safe_command_and_the_rest_is_clipped() -> None:
    driver, script = Adder(), Script([1.0, float("nan"), 5.0, float("-inf")])
    recording = run_episode(driver, assignment(planned()), planned(), script)  # type: ignore[arg-type]
    assert [float(c[0]) for c in driver.applied] == [1.0, 0.0, 2.0, 0.0]
    assert [float(s[0]) for s in recording.state] == [1.0, 2.0, 2.0, 4.0, 4.0]
    # The policy is told what was applied, not what it asked for.
    assert script.seen == [(1.0, 0.0), (2.0, 1.0), (2.0, 0.0), (4.0, 2.0)]
    assert recording.tags["commands_not_finite"] == "2"
    assert recording.tags["commands_clipped"] == "1"
    assert (recording.terminated, recording.truncated) == (False, True)
    assert driver.stops == 1


def test_clamp_takes_a_whole_command_or_none_of_it() -> None:
    spec = SPEC.model_copy(
        update={
            "channels": (
                *SPEC.channels,
                Channel(name="w", kind=Kind.EFFORT, role=Role.COMMAND, limits=(-1, 1)),
            ),
            "safe_command": (0.25, -0.5),
        }
    )
    spec = RobotSpec.model_validate(spec.model_dump())
    assert clamp(np.array([1.0, np.nan]), spec)[0].tolist() == [0.25, -0.5]
    assert clamp(np.array([3.0, 0.5]), spec)[0].tolist() == [2.0, 0.5]
    assert clamp(np.zeros(3), spec)[1]


def test_a_driver_that_ends_the_episode_ends_it() -> None:
    recording = run_episode(Adder(end_at=2), assignment(planned()), planned(), Script([1.0] * 4))  # type: ignore[arg-type]
    assert len(recording.command) == 2
    assert (recording.terminated, recording.truncated) == (True, False)


def test_a_stop_in_the_middle_drops_the_episode_and_stops_the_robot() -> None:
    driver = Adder()
    with pytest.raises(Interrupted):
        run_episode(driver, assignment(planned()), planned(), Script([1.0] * 4), lambda: len(driver.applied) == 2)  # type: ignore[arg-type]
    assert driver.stops == 1


def test_excitation_runs_without_a_policy_and_evaluation_does_not() -> None:
    noise = planned("excitation", noise={"std": 0.3, "time_constant_s": 0.2})
    recording = run_episode(Adder(), assignment(noise), noise, None)
    assert recording.policy is None
    assert len({float(c[0]) for c in recording.command}) == 4
    with pytest.raises(InputError, match="needs a policy"):
        run_episode(Adder(), assignment(planned()), planned(), None)
    plan = Plan(task=TASK, episodes=(planned(),)).to_json().decode()
    with pytest.raises(ContractError, match="need a policy"):
        Assignment.from_json('{"id": 1, "key": "k", "robot": "r", "plan": ' + plan + "}")


def test_wander_has_the_stated_spread_and_memory() -> None:
    source = Wander(SPEC, Noise(std=0.3, time_constant_s=0.2), 7)
    values = np.array([source.next()[0] for _ in range(40_000)])
    assert values.std() == pytest.approx(0.3 * 2.0, rel=0.03)  # share of the half range 2
    lag = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert lag == pytest.approx(np.exp(-0.1 / 0.2), abs=0.02)


def test_random_commands_are_held_and_fill_the_range() -> None:
    fast = RobotSpec.model_validate(SPEC.model_dump() | {"control_rate_hz": 50})
    source = RandomHold(fast, 1)
    values = np.array([source.next()[0] for _ in range(5000)])
    assert (values.reshape(-1, 5) == values.reshape(-1, 5)[:, :1]).all()
    assert values.std() == pytest.approx(4 / np.sqrt(12), rel=0.05)


def test_log_has_the_documented_topics_and_no_wall_time() -> None:
    run = lambda: run_episode(Adder(), assignment(planned()), planned(), Script([1.0, float("nan"), 5.0, 0.0]))  # type: ignore[arg-type]
    data = write_log(run())
    assert data == write_log(run())
    reader = make_reader(BytesIO(data))
    assert reader.get_header().profile == "sim2real"
    assert reader.get_header().library == "sim2real-robot"
    messages: dict[str, list[dict[str, object]]] = {}
    for _, channel, message in reader.iter_messages():
        assert message.log_time == message.publish_time
        messages.setdefault(channel.topic, []).append(json.loads(message.data))
        assert messages[channel.topic][-1]["t"] == message.log_time
    assert [m["v"] for m in messages["/state"]] == [[1.0], [2.0], [2.0], [4.0], [4.0]]
    assert [m["v"] for m in messages["/command_requested"]] == [[1.0], [None], [5.0], [0.0]]
    assert [m["v"] for m in messages["/command"]] == [[1.0], [0.0], [2.0], [0.0]]
    assert set(messages) == {"/state", "/command", "/command_requested"}
    (metadata,) = [m.metadata for m in reader.iter_metadata()]
    assert {k: json.loads(v) for k, v in metadata.items() if k != "spec"} == {
        "robot": "adder-1",
        "policy": "ab" * 32,
        "terminated": False,
        "truncated": True,
        "tags": {
            "purpose": "evaluation",
            "episode": "3",
            "seed": "5",
            "task": "t",
            "commands_not_finite": "1",
            "commands_clipped": "1",
        },
    }
    assert RobotSpec.from_json(metadata["spec"]) == SPEC
