"""The stand-in fleets that a campaign can be started on by name.

A stand-in runs in a process of its own and speaks to the engine over HTTP and S3 only; this module starts none.
"""

import json
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fleet_ingest.robot.cli import robot_argv
from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.standins.tasks import CARTPOLE, CARTPOLE_SWINGUP
from storage.contracts.errors import UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task


@dataclass(frozen=True)
class StandIn:
    """`factory` is `module:callable`, taking the serial; `oracle` is a file beside this module.

    Robots are compared on `evaluation_starts(task, evaluation_episodes, evaluation_seed)`; the noise seed is the index.
    """

    name: str
    spec: RobotSpec
    task: Task
    factory: str
    oracle: str
    evaluation_episodes: int = 8
    evaluation_seed: int = 2026

    def serial(self, index: int) -> str:
        """Serial number of robot `index`, counted from 1: `cartpole-0001`."""
        return f"{self.name}-{index:04d}"

    def open(self, serial: str) -> RobotDriver:
        """The driver of `serial`. Raises ImportError without the physics engine."""
        module, _, factory = self.factory.partition(":")
        return getattr(import_module(module), factory)(serial)  # type: ignore[no-any-return]

    def argv(self, serial: str, *, api: str, key_file: Path | str, state: Path | str, poll_s: float = 0.2) -> list[str]:
        """Command line of the robot process of `serial`, for this interpreter."""
        return robot_argv(self.driver, serial, api=api, key_file=key_file, state=state, poll_s=poll_s)

    @property
    def driver(self) -> str:
        """The name that `open_driver` takes."""
        return f"standin:{self.name}"

    def oracle_return(self) -> float | None:
        """Mean return of the committed oracle, None where there is no result for this task (its digest is checked)."""
        return self._oracle("oracle_return")

    def random_return(self) -> float | None:
        return self._oracle("random_return")

    def _oracle(self, name: str) -> float | None:
        if not self.oracle_file.is_file():
            return None
        result = json.loads(self.oracle_file.read_text(encoding="utf-8"))
        return float(result[name]) if result["task_digest"] == self.task.digest else None

    @property
    def oracle_file(self) -> Traversable:
        """JSON with `oracle_return` and `random_return`, written by `python -m tests.benchmarks.oracle_cartpole`."""
        return files("fleet_ingest.standins") / self.oracle


STANDINS: dict[str, StandIn] = {
    "cartpole": StandIn(
        name="cartpole",
        spec=CARTPOLE,
        task=CARTPOLE_SWINGUP,
        factory="fleet_ingest.standins.cartpole:CartPoleStandIn",
        oracle="cartpole_oracle.json",
    ),
}


def standin(name: str) -> StandIn:
    """The stand-in called `name`. Raises UnknownName with those there are."""
    if name not in STANDINS:
        raise UnknownName("robot", name, STANDINS)
    return STANDINS[name]
