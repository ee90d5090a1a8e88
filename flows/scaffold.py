"""`robot new` and `robot add`: the files of a new robot, and its registration."""

from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from flows.engine import Engine
from flows.services import admit_own
from storage.contracts.base import explain
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

M = TypeVar("M", RobotSpec, Task)
_FILES = {"spec.yaml": "spec.yaml", "task.yaml": "task.yaml", "driver.py": "driver.py.txt"}


def write_scaffold(name: str, folder: Path) -> list[Path]:
    """Writes the templates for `name`; files that exist are left alone and are an error. Returns what was written."""
    existing = [str(folder / f) for f in _FILES if (folder / f).exists()]
    if existing:
        raise InputError(f"already there: {', '.join(existing)}", remedy="Choose another folder with --folder.")
    texts = {
        f: files("flows.templates").joinpath(t).read_text(encoding="utf-8").replace("@NAME@", name)
        for f, t in _FILES.items()
    }
    _model(RobotSpec, texts["spec.yaml"], "spec.yaml")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
        written.append(folder / file)
    return written


def add_robots(engine: Engine, folder: Path, serials: list[str]) -> dict[str, Any]:
    """Registers the robots and their task. Raises InputError or ContractError that names the file and the field."""
    spec = _model(RobotSpec, _read(folder / "spec.yaml"), "spec.yaml")
    task = None
    if (folder / "task.yaml").exists():
        task = _model(Task, _read(folder / "task.yaml"), "task.yaml")
        task.check(spec)
        engine.catalog.artefacts.add("task", task.digest, task.to_json(), name=spec.name)
    for serial in serials:
        engine.catalog.robots.register(serial, spec, kind="robot")
    return {
        "spec": spec.name,
        "robots": serials,
        "task": task.name if task else None,
        "start": [_start_line(engine, s) for s in serials],
    }


def _start_line(engine: Engine, serial: str) -> str:
    """The robot's key is made and admitted here, for a robot that runs on this machine; one that runs elsewhere makes
    its own (leave --key-file out) and waits for `sim2real access admit`.
    """
    key = engine.home.path / "keys" / f"{serial}.key"
    admit_own(engine.catalog, key, serial)
    return f"sim2real-robot --driver python:driver:open_robot --serial {serial} --api {engine.api_url} --key-file {key}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", remedy="'sim2real robot new NAME' writes the files to start from."
        ) from error


def _model(model: type[M], text: str, where: str) -> M:
    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}") from error
    except ValidationError as error:
        raise ContractError(f"{where}: {explain(error)}") from error
