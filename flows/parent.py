"""The simulator that a training begins with, where it does not begin from chance: found, stored, checked.

Nothing is trained here.
"""

from flows.artefacts import load_simulator, store_simulator
from flows.engine import Engine
from flows.sources import read_folder, simulator_folder
from simulator.config import SimulatorConfig
from simulator.simulator import Simulator
from simulator.train import has_room
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec


def stored_parent(engine: Engine, reference: str, spec: RobotSpec, config: SimulatorConfig) -> str:
    """Digest of the simulator that `reference` names: `pretrained`, a folder (it is stored), `name@version` or a
    digest.

    Raises UnknownName when there is none, InputError when it has no room for the robot, which would begin from chance.
    """
    folder = simulator_folder(reference)
    if folder is None:
        digest = engine.catalog.artefacts.resolve(reference, "simulator").digest
        _check_room(load_simulator(engine, digest), reference, spec, config)
        return digest
    manifest, files = read_folder(folder)
    _check_room(Simulator.from_files(manifest, files), reference, spec, config)
    return store_simulator(engine, manifest, files, parents=[])


def _check_room(parent: Simulator, reference: str, spec: RobotSpec, config: SimulatorConfig) -> None:
    if not has_room(parent, spec, config):
        raise InputError(
            f"simulator '{reference}' has no room for robot '{spec.name}', whose parts have more or other channels, "
            "quantities or delays than those that it was trained on",
            remedy="Leave --parent out: the training then begins from chance.",
        )
