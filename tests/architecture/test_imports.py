"""The import rules of pyproject.toml hold, and the checker that says so can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("storage", "simulator", "policy", "fleet_ingest", "flows")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_import_rules_hold() -> None:
    answer = lint_imports(ROOT)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-1000:]


@pytest.mark.parametrize(
    ("place", "line", "broken"),
    [
        ("storage/planted.py", "import flows.planted", "imports go downwards"),
        ("storage/contracts/planted.py", "import boto3", "contracts are numpy and pydantic"),
        ("policy/runtime/planted.py", "import torch", "never reach torch"),
        ("policy/planted.py", "import mujoco", "no physics engine"),
        ("simulator/planted.py", "import ray", "ray only in workers"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, line: str, broken: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        for inner in (package, "storage/contracts", "policy/runtime"):
            (tmp_path / inner).mkdir(parents=True, exist_ok=True)
            (tmp_path / inner / "__init__.py").touch()
        (tmp_path / package / "planted.py").touch()
    for module in ("catalog", "objects", "codecs", "embedded"):
        (tmp_path / "storage" / f"{module}.py").touch()
    assert lint_imports(tmp_path).returncode == 0
    (tmp_path / place).write_text(line + "\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode != 0
    verdict = [text for text in answer.stdout.splitlines() if broken in text and text.endswith("BROKEN")]
    assert verdict, answer.stdout[-2000:]
