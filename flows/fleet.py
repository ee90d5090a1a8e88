"""The robots of a campaign: stand-ins that the engine starts as processes, or robots of yours that report by
themselves.
"""

from dataclasses import dataclass

from fleet_ingest.standins.registry import STANDINS, StandIn
from flows.engine import Engine
from flows.services import robot_service
from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task
from storage.embedded.home import Home


@dataclass(frozen=True)
class Fleet:
    """Robots of one specification, with the task they are to learn."""

    spec: RobotSpec
    task: Task
    serials: tuple[str, ...]
    standin: StandIn | None
    """Set when the robots are simulated stand-ins for reality."""

    @property
    def evaluation_seed(self) -> int:
        """Draws the starts of evaluation episodes: the same in every iteration, campaign and for the oracle."""
        return self.standin.evaluation_seed if self.standin else 0

    @property
    def oracle_return(self) -> float | None:
        return self.standin.oracle_return() if self.standin else None


def find_fleet(catalog: Catalog, robot: str, size: int) -> Fleet:
    """The stand-ins called `robot`, or the registered robots whose specification has that name.

    Raises UnknownName for a robot that nobody registered, InputError for one without a task.
    """
    if robot in STANDINS:
        standin = STANDINS[robot]
        return Fleet(standin.spec, standin.task, tuple(f"{robot}-{i + 1:04d}" for i in range(size)), standin)
    rows = catalog.robots.list(spec_name=robot)
    if not rows:
        known = {row.spec.name for row in catalog.robots.list()} | set(STANDINS)
        raise UnknownName(
            "robot", robot, known, remedy="Import its logs with 'sim2real import', or add it with 'sim2real robot new'."
        )
    tasks = catalog.artefacts.list("task", name=robot)
    if not tasks:
        raise InputError(
            f"robot '{robot}' has no task to train a policy for",
            remedy="Write one and add it: sim2real robot add DIR. "
            f"Without a task: sim2real simulator train --robot {robot}.",
        )
    task = Task.from_json(tasks[-1].manifest)
    return Fleet(rows[0].spec, task, tuple(row.serial for row in rows[:size]), None)


def check_robot(settings: Settings, robot: str, size: int) -> None:
    """Raises what `find_fleet` raises, before any server is started for nothing."""
    with Catalog.open(settings.catalog_url or Home(settings.home).catalog_url) as catalog:
        find_fleet(catalog, robot, size)


def start_fleet(engine: Engine, fleet: Fleet) -> None:
    """Registers the robots and starts stand-in processes that are not up. Idempotent."""
    for serial in fleet.serials:
        engine.catalog.robots.register(serial, fleet.spec, kind="standin" if fleet.standin else "robot")
    if fleet.standin is not None:
        services = [
            robot_service(engine.home, engine.catalog, fleet.standin, serial, engine.api_url)
            for serial in fleet.serials
        ]
        engine.stack.ensure(services)


def stop_fleet(engine: Engine, fleet: Fleet) -> None:
    """Stops the stand-in processes; robots of yours are left alone."""
    if fleet.standin is not None:
        engine.stack.remove([f"robot-{serial}" for serial in fleet.serials])
