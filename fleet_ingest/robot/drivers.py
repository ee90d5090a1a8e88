"""Opens a driver by name: a stand-in, a Gymnasium or dm_control environment, or a robot maker's own class.

Names: `standin:cartpole`, `gymnasium:InvertedPendulum-v5`, `dm_control:cartpole-swingup`,
`python:package.module:factory`. Environments take an action repeat: `dm_control:cartpole-swingup?repeat=2`.
A maker's module may lie in the current directory. Physics engines and environments are imported only when their driver
is asked for.
"""

import sys
from importlib import import_module
from pathlib import Path

from fleet_ingest.robot.driver import RobotDriver
from storage.contracts.errors import InputError, UnknownName

SCHEMES = ("standin", "gymnasium", "dm_control", "python")


def open_driver(name: str, serial: str) -> RobotDriver:
    """The driver `name` of robot `serial`. Raises UnknownName or InputError with what would be right."""
    scheme, _, rest = name.partition(":")
    if scheme not in SCHEMES:
        raise UnknownName(
            "driver", scheme, SCHEMES, remedy="Give --driver as SCHEME:NAME, for example standin:cartpole."
        )
    if not rest:
        raise InputError(f"driver '{name}' lacks a name after the colon", remedy="For example standin:cartpole.")
    try:
        if scheme == "standin":
            from fleet_ingest.standins.registry import standin

            return standin(rest).open(serial)
        if scheme == "python":
            module, _, factory = rest.partition(":")
            if str(Path.cwd()) not in sys.path:
                sys.path.append(str(Path.cwd()))
            return getattr(import_module(module), factory)(serial)  # type: ignore[no-any-return]
        return getattr(import_module("fleet_ingest.robot.environments"), scheme)(rest, serial)  # type: ignore[no-any-return]
    except ImportError as error:
        raise InputError(f"driver '{name}' needs a package that is not installed: {error}",
                         remedy="Install the extra: pip install 'sim2real-engine[standins]'.") from error  # fmt: skip
