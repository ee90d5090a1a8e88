"""Tasks of the sample-efficiency benchmark: a driver, the return to reach, and within how many environment steps.

Any other driver can be given on the command line with a threshold of its own; nothing below is known to the engine.
"""

import json
from dataclasses import dataclass
from typing import cast

from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.robot.drivers import open_driver
from fleet_ingest.robot.environments import Environment, task_of
from fleet_ingest.standins.registry import standin
from storage.contracts.task import Task


@dataclass(frozen=True)
class Goal:
    """`limit`: environment steps, all counted, within which the mean return of ten episodes is to pass `threshold`
    twice running. `repeat`: environment steps that one command is held for."""

    driver: str
    threshold: float
    limit: int
    repeat: int = 1

    @property
    def name(self) -> str:
        """`gymnasium:Pendulum-v1` as `gymnasium-pendulum-v1`."""
        return self.driver.lower().replace(":", "-")

    def open(self, serial: str) -> RobotDriver:
        scheme, _, rest = self.driver.partition(":")
        if scheme == "standin":
            return open_driver(self.driver, standin(rest).serial(1))
        return open_driver(self.driver if self.repeat == 1 else f"{self.driver}?repeat={self.repeat}", serial)

    def task(self, robot: RobotDriver) -> Task:
        """The stand-in's own task; of an environment its logged reward, for as long as it lets an episode last."""
        scheme, _, rest = self.driver.partition(":")
        if scheme == "standin":
            return standin(rest).task
        return task_of(cast(Environment, robot))


def cartpole_threshold() -> float:
    """90 % of what the committed oracle reaches on the first stand-in."""
    found = json.loads(standin("cartpole").oracle_file.read_text(encoding="utf-8"))
    return 0.9 * float(found["oracle_per_robot"][standin("cartpole").serial(1)])


GOALS = {
    goal.driver: goal
    for goal in (
        Goal("gymnasium:InvertedPendulum-v5", 1000.0, 1_500),
        Goal("gymnasium:Pendulum-v1", -200.0, 1_000),
        Goal("gymnasium:Reacher-v5", -5.0, 10_000),
        Goal("dm_control:cartpole-swingup", 840.0, 10_000, repeat=2),
        Goal("dm_control:pendulum-swingup", 800.0, 20_000, repeat=2),
        Goal("dm_control:reacher-easy", 930.0, 20_000, repeat=2),
        Goal("standin:cartpole", cartpole_threshold(), 3_000),
    )
}
