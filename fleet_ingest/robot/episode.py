"""Runs one planned episode on a driver: asks the policy, adds noise, clamps, applies, records.

Nothing that is not finite and within limits reaches the driver. This module knows no network and no disk.
"""

from collections.abc import Callable

import numpy as np

from fleet_ingest.robot.commands import RandomHold, Wander, clamp
from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.robot.log import Recording
from fleet_ingest.robot.plan import POLICY_PURPOSES, Assignment, PlannedEpisode
from policy.runtime.runner import PolicyRunner
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec


class Interrupted(Exception):
    """The process was asked to stop in the middle of an episode; what was recorded is dropped and run again."""


class Requests:
    """What is asked for in each period of `planned`: the policy, policy and noise, noise alone, held random values."""

    def __init__(self, spec: RobotSpec, planned: PlannedEpisode, policy: PolicyRunner | None) -> None:
        if policy is None and planned.purpose in POLICY_PURPOSES:
            raise InputError(f"episode {planned.index} is for {planned.purpose} and needs a policy")
        self._policy = policy if planned.purpose in POLICY_PURPOSES else None
        self._held = RandomHold(spec, planned.seed) if planned.purpose == "random" else None
        self._noise = Wander(spec, planned.noise, planned.seed) if planned.noise and self._held is None else None
        self._centre = spec.safe

    def begin(self, state: np.ndarray) -> None:
        if self._policy is not None:
            self._policy.reset(state)

    def next(self, state: np.ndarray, last: np.ndarray) -> np.ndarray:
        """[C] the command asked for in `state` [S], after `last` [C] was applied."""
        if self._held is not None:
            return self._held.next()
        asked = self._centre if self._policy is None else self._policy.act(state, last)
        return asked if self._noise is None else asked + self._noise.next()


def run_episode(
    driver: RobotDriver,
    assignment: Assignment,
    planned: PlannedEpisode,
    policy: PolicyRunner | None,
    stopping: Callable[[], bool] = lambda: False,
) -> Recording:
    """The recording of `planned`. The robot is stopped safely at its end, also when something is raised.

    Raises Interrupted when `stopping()` turns true between two periods.
    """
    spec = driver.spec
    ran = assignment.policy if planned.purpose in POLICY_PURPOSES else None
    recording = Recording(assignment.robot, spec, ran, tags_of(assignment, planned))
    requests = Requests(spec, planned, policy)
    driver.reset(planned.start, planned.seed)
    try:
        _live(driver, requests, recording, max(1, round(planned.duration_s * spec.control_rate_hz)), stopping)
    finally:
        driver.stop()
    return recording


def _live(
    driver: RobotDriver, requests: Requests, recording: Recording, steps: int, stopping: Callable[[], bool]
) -> None:
    spec, last = driver.spec, driver.spec.safe
    time_ns, state = driver.read()
    recording.time_ns.append(time_ns)
    recording.state.append(state)
    requests.begin(state)
    not_finite = outside = 0
    for step in range(steps):
        if stopping():
            raise Interrupted
        asked = requests.next(state, last)
        last, bad, clipped = clamp(asked, spec)
        not_finite, outside = not_finite + bad, outside + clipped
        driver.apply(last)
        time_ns, state = driver.read()
        outcome = driver.outcome()
        recording.requested.append(asked)
        recording.command.append(last)
        recording.exogenous.append(driver.exogenous())
        recording.reward.append(outcome.reward)
        recording.time_ns.append(time_ns)
        recording.state.append(state)
        recording.terminated = outcome.terminated
        recording.truncated = not outcome.terminated and (outcome.truncated or step + 1 == steps)
        if outcome.terminated or outcome.truncated:
            break
    recording.tags |= {"commands_not_finite": str(not_finite), "commands_clipped": str(outside)}


def tags_of(assignment: Assignment, planned: PlannedEpisode) -> dict[str, str]:
    """Facts for queries; all values are text. What is not the robot's doing (who asked, in which campaign) is left out,
    so that equal runs give equal logs; the catalog links an assignment to its logs.
    """
    return {
        "purpose": planned.purpose,
        "episode": str(planned.index),
        "seed": str(planned.seed),
        "task": assignment.plan.task.name,
    }
