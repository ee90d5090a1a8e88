"""The simulator that a training begins with, where it does not begin from chance: found, stored, checked.

`pretrained` is the bundle that comes with the project; it has seen drawn stand-ins and no real robot. Nothing is
trained here.
"""

from pathlib import Path

import simulator
from flows.artefacts import load_simulator, store_simulator
from flows.engine import Engine
from flows.sources import read_folder
from simulator.config import SimulatorConfig
from simulator.simulator import Simulator
from simulator.train import has_room
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

PRETRAINED = Path(simulator.__file__).parent / "pretrained"


def stored_parent(engine: Engine, reference: str, spec: RobotSpec, config: SimulatorConfig) -> str:
    """Digest of the simulator that `reference` names: `pretrained`, a folder (it is stored), `name@version` or a
    digest.

    Raises UnknownName when there is none, InputError when it has no room for the robot, which would begin from chance.
    """
    folder = PRETRAINED if reference == "pretrained" else Path(reference)
    if folder.is_dir():
        manifest, files = read_folder(folder)
        found = Simulator.from_files(manifest, files)
        digest = store_simulator(engine, manifest, files, parents=[])
    else:
        digest = engine.catalog.artefacts.resolve(reference, "simulator").digest
        found = load_simulator(engine, digest)
    if not has_room(found, spec, config):
        raise InputError(
            f"simulator '{reference}' has no room for robot '{spec.name}', whose parts have more or other channels, "
            "quantities or delays than those that it was trained on",
            remedy="Leave --parent out: the training then begins from chance.",
        )
    return digest
