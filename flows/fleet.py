"""The robots of a campaign: stand-ins and environments that the engine starts as processes, or robots of yours that
report by themselves.

This module loads no physics: what an environment is, a process of its own says.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fleet_ingest.robot.describe import describe
from fleet_ingest.standins.registry import STANDINS, StandIn
from flows.engine import Engine
from flows.services import robot_service
from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task
from storage.embedded.home import Home

Kind = Literal["standin", "environment", "robot"]
ENVIRONMENTS = {"gymnasium": "gym", "dm_control": "dmc"}
"""Schemes of drivers whose robots are environments -> what their serial numbers begin with."""
_EVALUATION_SEED = 2026
_APART = 1_000_003  # between the seeds of environments that are alike
_LONGEST_SERIAL = 34  # the name of its service has 40 letters at most


@dataclass(frozen=True)
class Fleet:
    """Robots of one specification, with the task they are to learn."""

    spec: RobotSpec
    task: Task
    serials: tuple[str, ...]
    standin: StandIn | None
    """Set when the robots are simulated stand-ins for reality."""
    environment: str | None = None
    """Name of the driver when the robots are Gymnasium or dm_control environments, which are all alike."""

    @property
    def kind(self) -> Kind:
        """What stands behind the serial numbers."""
        return "standin" if self.standin else "environment" if self.environment else "robot"

    @property
    def driver(self) -> str | None:
        """The driver of robots that the engine starts itself; None for robots of yours."""
        return self.standin.driver if self.standin else self.environment

    @property
    def evaluation_seed(self) -> int:
        """Draws the starts of evaluation episodes: the same in every iteration, campaign and for the oracle."""
        if self.environment:
            return _EVALUATION_SEED
        return self.standin.evaluation_seed if self.standin else 0

    def seed_offset(self, serial: str) -> int:
        """What is added to the seed of a plan that all robots are given.

        Robots differ, so equal seeds compare them. Environments are alike: equal seeds would run one episode twice.
        """
        return _APART * self.serials.index(serial) if self.environment else 0

    @property
    def oracle_return(self) -> float | None:
        return self.standin.oracle_return() if self.standin else None


def find_fleet(catalog: Catalog, robot: str, size: int) -> Fleet:
    """The stand-ins called `robot`, the environments that it names, or the registered robots whose specification has
    that name.

    Raises UnknownName for a robot that nobody registered, InputError for one without a task and for an environment
    that cannot be opened.
    """
    if robot in STANDINS:
        standin = STANDINS[robot]
        return Fleet(standin.spec, standin.task, tuple(f"{robot}-{i + 1:04d}" for i in range(size)), standin)
    if robot.partition(":")[0] in ENVIRONMENTS:
        return _environments(robot, size)
    rows = catalog.robots.list(spec_name=robot)
    if not rows:
        known = {row.spec.name for row in catalog.robots.list()} | set(STANDINS)
        raise UnknownName(
            "robot", robot, known,
            remedy="Import its logs with 'sim2real import', or add it with 'sim2real robot new'. "
            "Environments are named gymnasium:ID or dm_control:DOMAIN-TASK.",
        )  # fmt: skip
    tasks = catalog.artefacts.list("task", name=robot)
    if not tasks:
        raise InputError(
            f"robot '{robot}' has no task to train a policy for",
            remedy="Write one and add it: sim2real robot add DIR. "
            f"Without a task: sim2real simulator train --robot {robot}.",
        )
    task = Task.from_json(tasks[-1].manifest)
    return Fleet(rows[0].spec, task, tuple(row.serial for row in rows[:size]), None)


def _environments(driver: str, size: int) -> Fleet:
    found = _described(driver)
    if found.task is None:
        raise InputError(f"'{driver}' names no environment: it has no task of its own")
    serials = tuple(environment_serial(found.spec.name, i + 1) for i in range(size))
    return Fleet(found.spec, found.task, serials, None, driver)


_described = lru_cache(maxsize=16)(describe)


def environment_serial(spec_name: str, index: int) -> str:
    """Serial number of environment `index`, counted from 1: `gym-invertedpendulum-v5-0001`. Long names are cut, and
    told apart by a digest."""
    scheme, _, name = spec_name.partition(":")
    words, number = re.sub(r"[^a-z0-9]+", "-", name).strip("-"), f"{index:04d}"
    room = _LONGEST_SERIAL - len(f"{ENVIRONMENTS[scheme]}--{number}")
    if len(words) > room:
        words = f"{words[: room - 7]}-{hashlib.sha256(spec_name.encode()).hexdigest()[:6]}"
    return f"{ENVIRONMENTS[scheme]}-{words}-{number}"


def default_size(robot: str) -> int:
    """How many robots take part when nobody says: environments are alike, so one is as good as three."""
    return 1 if robot.partition(":")[0] in ENVIRONMENTS else 3


def check_robot(settings: Settings, robot: str, size: int) -> Kind:
    """The kind of the fleet. Raises what `find_fleet` raises, before any server is started for nothing."""
    with Catalog.open(settings.catalog_url or Home(settings.home).catalog_url) as catalog:
        return find_fleet(catalog, robot, size).kind


def start_fleet(engine: Engine, fleet: Fleet) -> None:
    """Registers the robots and starts the processes of stand-ins and environments that are not up. Idempotent."""
    for serial in fleet.serials:
        engine.catalog.robots.register(serial, fleet.spec, kind=fleet.kind)
    if fleet.environment is not None:
        task = fleet.task
        engine.catalog.artefacts.add("task", task.digest, task.to_json(), name=fleet.spec.name)
    if fleet.driver is not None:
        services = [
            robot_service(engine.home, engine.catalog, fleet.driver, serial, engine.api_url) for serial in fleet.serials
        ]
        engine.stack.ensure(services)


def stop_fleet(engine: Engine, fleet: Fleet) -> None:
    """Stops the processes that `start_fleet` started; robots of yours are left alone."""
    if fleet.driver is not None:
        engine.stack.remove([f"robot-{serial}" for serial in fleet.serials])
