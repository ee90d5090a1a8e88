"""The peer that trains on robots directly: what it sees, counts and returns."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from fleet_ingest.robot.driver import Outcome
from fleet_ingest.robot.drivers import open_driver
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

sac = pytest.importorskip("tests.benchmarks.peers.sac", reason="stable-baselines3 is in the extra 'bench'")

SPEC = RobotSpec(
    name="counter",
    control_rate_hz=10,
    channels=(
        Channel(name="turn", kind=Kind.ANGLE, unit="rad"),
        Channel(name="place", kind=Kind.LINEAR, unit="m", limits=(-4, 2)),
        Channel(name="push", kind=Kind.EFFORT, unit="N", role=Role.COMMAND, limits=(-2, 6)),
    ),
)
NEAR_ZERO = Task(name="near-zero", reward="0 - abs(place)", horizon_s=0.5, terminated="place > 100")


class Counter:
    """place' = push, whatever it was before. Logs the outcomes that it is given, the last one again and again."""

    def __init__(self, outcomes: list[Outcome] | None = None) -> None:
        self.outcomes, self.steps, self.starts = outcomes or [Outcome()], 0, list[float]()
        self.place = 0.0

    spec = SPEC

    def reset(self, start: dict[str, float], seed: int) -> None:
        self.starts.append(start.get("place", 0.0))
        self.place, self.at = self.starts[-1], 0

    def read(self) -> tuple[int, np.ndarray]:
        return self.at * 100_000_000, np.array([np.pi / 2, self.place])

    def apply(self, command: np.ndarray) -> None:
        self.place, self.steps, self.at = float(command[0]), self.steps + 1, self.at + 1

    def exogenous(self) -> np.ndarray:
        return np.zeros(0)

    def outcome(self) -> Outcome:
        return self.outcomes[min(self.at, len(self.outcomes)) - 1]

    def stop(self) -> None:
        return


def test_the_window_holds_turned_states_and_commands_in_unit_range() -> None:
    window = sac.Window(SPEC, 2)
    # place, cos(turn), sin(turn), command; 2 N is the middle of -2 to 6.
    assert window.begin(np.array([np.pi / 2, 1.5]), np.array([2.0])) == pytest.approx([1.5, 0, 1, 0] * 2, abs=1e-6)
    pushed = window.push(np.array([np.pi, -3.0]), np.array([6.0]))
    assert pushed == pytest.approx([1.5, 0, 1, 0, -3, -1, 0, 1], abs=1e-6)
    assert window.known.tolist() == [4, 1, 1, 1] * 2  # the larger limit of `place`
    assert [window.to_command(np.array([a])).item() for a in (-1.0, 0.0, 1.0, 9.0)] == [-2, 2, 6, 6]


def test_scales_come_from_the_limits_else_from_what_was_seen() -> None:
    scale = sac.Scale(gymnasium.spaces.Box(-np.inf, np.inf, (3,)), np.array([4.0, np.nan, np.nan]))
    scale.fit(np.array([[1.0, -20.0, 1e-3], [2.0, 5.0, 0.0]]))
    # 4 as known, 20 as seen, and a channel of thousandths is not blown up a thousandfold.
    assert scale(torch.tensor([[2.0, 10.0, 0.1]])).tolist() == [[0.5, 0.5, 1.0]]


def test_only_an_end_terminates_and_only_time_truncates() -> None:
    env = sac.RobotEnv(Counter(), NEAR_ZERO, 1, 0)
    env.reset()
    flags = [env.step(np.array([0.5]))[1:4] for _ in range(5)]
    # 0.5 of the half range is 4 N, so place is 4; the horizon of 0.5 s at 10 Hz is five steps.
    assert flags == [(-4.0, False, False)] * 4 + [(-4.0, False, True)]
    logged = Task(name="logged", reward_channel="reward", terminated_channel="terminated", horizon_s=0.5)
    for last, expected in (
        (Outcome(3.0, True, False), (3.0, True, False)),
        (Outcome(3.0, False, True), (3.0, False, True)),
    ):
        env = sac.RobotEnv(Counter([Outcome(1.0), last]), logged, 1, 0)
        env.reset()
        assert [env.step(np.array([0.0]))[1:4] for _ in range(2)] == [(1.0, False, False), expected]
    # An end in the very step of the horizon is an end.
    env = sac.RobotEnv(Counter([Outcome(1.0)] * 4 + [Outcome(1.0, True)]), logged, 1, 0)
    env.reset()
    assert [env.step(np.array([0.0]))[2:4] for _ in range(5)][-1] == (True, False)


def test_an_environment_behind_our_driver_is_the_environment() -> None:
    """Step for step what Gymnasium's own environment gives for the same seed and torques."""
    task = Task(name="t", reward_channel="reward", horizon_s=10.0)
    ours = sac.RobotEnv(open_driver("gymnasium:Pendulum-v1", "p"), task, 1, 0)
    theirs: Any = gymnasium.make("Pendulum-v1")
    ours.reset()
    first = ours.robot.read()[1]
    # The driver drew its start by a seed of ours; the other one is put there.
    theirs.reset(seed=0)
    theirs.unwrapped.state = np.array([np.arctan2(first[1], first[0]), first[2]])
    rng = np.random.default_rng(0)
    for step in range(200):
        action = rng.uniform(-1, 1, 1)
        seen, reward, terminated, truncated, _ = ours.step(action)
        expected = theirs.step((2 * action).astype(np.float32))
        assert seen[:3] == pytest.approx(expected[0], abs=1e-3)
        assert reward == pytest.approx(expected[1], abs=1e-3)
        assert (terminated, truncated) == (False, step == 199)


def test_it_learns_counts_every_step_and_repeats_itself() -> None:
    settings = sac.SacSettings(history=2, learning_starts=60, learning_rate=5e-3, batch_size=32, net_arch=(32,))
    task = NEAR_ZERO.model_copy(update={"start": {"place": (-1.0, 1.0)}})

    def run() -> tuple[list[float], list[list[float]], list[Counter]]:
        robots, judge = [Counter(), Counter()], Counter()

        def evaluate(predictor: Any) -> float:
            return float(sac.predictor_return(judge, task, predictor, {"place": 1.0}, 0)[0])

        _, curve = sac.train_sac(robots, task, steps=360, seed=1, evaluate=evaluate, every=180, settings=settings)
        return [p.value for p in curve], [[p.steps for p in curve]], robots

    values, steps, robots = run()
    assert steps == [[180, 360]]
    assert [robot.steps for robot in robots] == [180, 180]
    # Starts are drawn anew each episode and differ between the robots.
    assert len({round(s, 9) for r in robots for s in r.starts}) == len(robots[0].starts) + len(robots[1].starts)
    # Best is -2 N short of the middle of the range: 0 in five steps; standing in the middle would pay -10.
    assert values[-1] > -2.0
    assert run()[0] == values
