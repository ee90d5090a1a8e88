"""Where a command's simulator, robot, episodes and policy come from: files and folders, or the catalog.

The catalog and its object store are opened only when something is asked of them, so that questions about files need no
server. This module reads and never writes.
"""

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

import simulator
from simulator.simulator import Simulator
from storage.codecs.episodes import decode_episode
from storage.contracts.base import Contract, explain
from storage.contracts.bundles import PolicyManifest, SimulatorManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

if TYPE_CHECKING:
    from flows.engine import Engine

C = TypeVar("C", bound=Contract)
_DIGEST = 64
PRETRAINED = Path(simulator.__file__).parent / "pretrained"
"""The bundle that comes with the project; it has seen drawn stand-ins and no real robot."""


class Sources:
    """A context: what it opened is closed at its end."""

    def __init__(self, engine: "Engine | None" = None) -> None:
        self._given = engine
        self._stack = ExitStack()
        self._read: dict[str, Episode] = {}

    def __enter__(self) -> "Sources":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @cached_property
    def engine(self) -> "Engine":
        if self._given is not None:
            return self._given
        from flows.engine import open_engine
        from flows.services import STORAGE
        from flows.settings import Settings

        return self._stack.enter_context(open_engine(Settings(), STORAGE))

    def simulator(self, reference: str | None, robot: str | None = None) -> Simulator:
        """A folder with `manifest.json`, `pretrained`, `name@version`, a digest, or (None) the latest of the robot's
        kind."""
        if reference is not None and (folder := simulator_folder(reference)) is not None:
            return load_folder(folder)
        from flows.artefacts import load_simulator

        artefacts = self.engine.catalog.artefacts
        if reference is None:
            reference = f"{self.spec(robot).name}@latest"
        return load_simulator(self.engine, artefacts.resolve(reference, "simulator").digest)

    def spec(self, robot: str | None, file: Path | None = None) -> RobotSpec:
        """A specification file (YAML or JSON), or that of a serial or of a specification's name in the catalog."""
        if file is not None:
            return read_contract(RobotSpec, file)
        if robot is None:
            raise InputError("no robot given", remedy="Say --robot SERIAL, or --spec FILE with its specification.")
        rows = self.engine.catalog.robots.list()
        found = [row.spec for row in rows if row.serial == robot] or [
            row.spec for row in rows if row.spec.name == robot
        ]
        if not found:
            raise UnknownName("robot", robot, {n for row in rows for n in (row.serial, row.spec.name)})
        return found[-1]

    def episode(self, reference: str, robot: str | None = None) -> tuple[str, Episode]:
        """Digest and episode: a file, a digest or its first 8 or more digits, or `latest` of the robot. A file that was
        read is found by its digest too."""
        path = Path(reference)
        if path.is_file():
            data = path.read_bytes()
            self._read[sha256_hex(data)] = decode_episode(data)
            return sha256_hex(data), self._read[sha256_hex(data)]
        if reference in self._read:
            return reference, self._read[reference]
        digest = self._episode_digest(reference, robot)
        return digest, decode_episode(self.engine.store.get_bytes(digest))

    def noted_episode(self, reference: str, robot: str | None = None) -> Episode:
        """The episode, with the notes entered with its upload where it is one of the catalog: more than its digest
        tells, so not for what has to be the same again."""
        digest, episode = self.episode(reference, robot)
        if digest in self._read:
            return episode
        from flows.artefacts import said_of, with_notes

        return with_notes(episode, said_of(self.engine.catalog, [digest]).get(digest, ()))

    def held_out(self, robot: str | None) -> list[str]:
        """Digests of the test split of a robot's logs."""
        if robot is None:
            raise InputError("no held-out log given", remedy="Name logs with --held-out, or a --robot of the catalog.")
        from flows.retrain import dataset_of_robot

        return [ref.sha256 for ref in dataset_of_robot(self.engine, robot).of("test")]

    def _episode_digest(self, reference: str, robot: str | None) -> str:
        episodes = self.engine.catalog.episodes
        if reference == "latest":
            rows = sorted(episodes.find(robots=[robot] if robot else None), key=lambda row: (row.start_ns, row.sha256))
            if not rows:
                raise UnknownName("robot with episodes", str(robot), None)
            return rows[-1].sha256
        if len(reference) == _DIGEST:
            return episodes.get(reference).sha256
        found = [row.sha256 for row in episodes.find() if len(reference) >= 8 and row.sha256.startswith(reference)]
        if len(found) != 1:
            raise UnknownName(
                "episode", reference, None, remedy="Give a file, a digest (or 8 and more digits of one), or 'latest'."
            )
        return found[0]

    def policy(self, reference: str) -> tuple[PolicyManifest, bytes]:
        """A folder with `manifest.json` and `policy.onnx`, `name@version` or a digest."""
        folder = Path(reference)
        if folder.is_dir():
            manifest = PolicyManifest.from_json(_read(folder / "manifest.json"))
            return manifest, _read(folder / "policy.onnx")
        row = self.engine.catalog.artefacts.resolve(reference, "policy")
        manifest = PolicyManifest.from_json(self.engine.store.get_bytes(row.digest))
        return manifest, self.engine.store.get_bytes(manifest.onnx_sha256)

    def task(self, reference: str) -> Task:
        """A task file, or the task of a specification's name in the catalog."""
        if Path(reference).is_file():
            return read_contract(Task, Path(reference))
        return Task.from_json(self.engine.catalog.artefacts.resolve(f"{reference}@latest", "task").manifest)


def simulator_folder(reference: str) -> Path | None:
    """The folder that `reference` names, `pretrained` or a path; None where it is something of the catalog."""
    folder = PRETRAINED if reference == "pretrained" else Path(reference)
    return folder if folder.is_dir() else None


def load_folder(folder: Path) -> Simulator:
    """A simulator kept as `manifest.json` and one `<role>.safetensors` per file."""
    return Simulator.from_files(*read_folder(folder))


def read_folder(folder: Path) -> tuple[SimulatorManifest, dict[str, bytes]]:
    """Manifest and files of a simulator, as they are."""
    manifest = SimulatorManifest.from_json(_read(folder / "manifest.json"))
    return manifest, {role: _read(folder / f"{role}.safetensors") for role in manifest.files}


def read_contract(kind: type[C], path: Path) -> C:
    """From YAML or JSON. Raises ContractError that names the file and each bad field."""
    values = read_values(path)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ContractError(f"{path}: not a valid {kind.__name__}: {explain(error)}") from error


def read_values(path: Path) -> Any:
    """The plain values of a YAML or JSON file."""
    try:
        return yaml.safe_load(_read(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is neither YAML nor JSON: {str(error)[:200]}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
