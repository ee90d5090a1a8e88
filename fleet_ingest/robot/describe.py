"""`sim2real-robot describe`: what a driver says of its robot, as one line of JSON.

Who starts robots asks a process of its own, so that no physics engine enters theirs. It runs no episode.
"""

import argparse
import json
import os
import subprocess
import sys

from storage.contracts.base import Contract
from storage.contracts.errors import InputError, Sim2RealError, UnavailableError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

_LIMIT_S = 120.0


class Description(Contract):
    """The robot's specification, and for an environment its own task: its reward and ends, until its time is up."""

    spec: RobotSpec
    task: Task | None = None
    environment_steps_per_period: int = 1


def describe(driver: str, serial: str = "described") -> Description:
    """What driver `driver` says in a process of its own. Raises InputError with what the driver refused."""
    argv = [sys.executable, "-m", "fleet_ingest.robot", "describe", "--driver", driver, "--serial", serial]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S, env=environment)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"driver '{driver}' said nothing for {_LIMIT_S:.0f} s") from error
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        refused = json.loads(lines[-1]) if lines else {}
        raise InputError(
            refused.get("error", f"driver '{driver}' failed: {done.stderr.strip()[-400:]}"),
            remedy=refused.get("remedy", "See what it says: sim2real-robot describe --driver NAME."),
        )
    return Description.from_json(lines[-1])


def main(argv: list[str]) -> int:
    """Prints the description, or the error with its remedy; returns the exit code."""
    words = argparse.ArgumentParser(prog="sim2real-robot describe", description=__doc__)
    words.add_argument("--driver", required=True, help="for example gymnasium:InvertedPendulum-v5")
    words.add_argument("--serial", default="described")
    arguments = words.parse_args(argv)
    try:
        found = _describe(arguments.driver, arguments.serial)
    except Sim2RealError as error:
        sys.stdout.write(json.dumps({"error": str(error), "remedy": error.remedy}) + "\n")
        return error.exit_code
    sys.stdout.write(found.to_json().decode() + "\n")
    return 0


def _describe(name: str, serial: str) -> Description:
    from fleet_ingest.robot.drivers import open_driver
    from fleet_ingest.robot.environments import Environment, environment_steps_per_period, task_of

    driver = open_driver(name, serial)
    try:
        task = task_of(driver) if isinstance(driver, Environment) else None
        return Description(
            spec=driver.spec, task=task, environment_steps_per_period=environment_steps_per_period(driver)
        )
    finally:
        driver.stop()
