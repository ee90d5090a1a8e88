"""What the code imports is declared in pyproject.toml: nothing is there only because something else brought it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = {"storage", "simulator", "policy", "fleet_ingest", "flows", "tests", "examples"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWNERS = packages_distributions()
OPTIONAL = {"simulator/adapters/sb3.py": "bench", "flows/report/rerun_log.py": "viewer"}
"""Modules that nothing imports unasked, and the further extra that each needs."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {canonical(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]


def imported(source: str) -> set[str]:
    """Returns the top names that a source imports, at any depth of it, relative imports apart."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OWN


def undeclared(names: set[str], allowed: set[str]) -> list[str]:
    return sorted(name for name in names if not {canonical(found) for found in OWNERS.get(name, [name])} & allowed)


@pytest.mark.parametrize("folder", ["storage", "simulator", "policy", "fleet_ingest", "flows", "examples"])
def test_every_import_is_declared(folder: str) -> None:
    common = ("engine", "standins", "environments")
    for path in sorted((ROOT / folder).rglob("*.py")):
        further = OPTIONAL.get(path.relative_to(ROOT).as_posix())
        allowed = declared(*common, *([further] if further else []))
        assert not undeclared(imported(path.read_text()), allowed), path


def test_an_undeclared_import_is_found() -> None:
    source = "import os, numpy.linalg\ndef f():\n    from starlette.requests import Request\n"
    assert undeclared(imported(source), {"numpy"}) == ["starlette"]
