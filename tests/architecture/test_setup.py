"""The setup script: what it finds half installed, what it says where something is missing. Installs nothing."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra"))

from setup_repair import forget_damaged, is_whole  # noqa: E402  (infra is no package)


def package(site: Path, name: str) -> Path:
    """Writes an installed package of two files, as pip leaves it, and returns its .dist-info."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / name).mkdir()
    (site / name / "code.py").write_text("x = 1\n")
    (info / "METADATA").write_text("Name: x\n")
    rows = [f"{name}/code.py,sha256=abc,6", f"{name}/__pycache__/code.pyc,,", f"{info.name}/METADATA,,8"]
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")
    return info


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "python3.11" / "site-packages"


def test_a_whole_package_is_kept(tmp_path: Path, site: Path) -> None:
    info = package(site, "good")
    assert is_whole(info)
    assert forget_damaged(tmp_path, pytest.fail) == []
    assert info.exists()


@pytest.mark.parametrize("damage", ["missing file", "short file", "no record", "empty record"])
def test_a_half_installed_package_is_forgotten(tmp_path: Path, site: Path, damage: str) -> None:
    good, bad = package(site, "good"), package(site, "bad")
    match damage:
        case "missing file":
            (site / "bad" / "code.py").unlink()
        case "short file":
            (site / "bad" / "code.py").write_text("x")
        case "no record":
            (bad / "RECORD").unlink()
        case _:
            (bad / "RECORD").write_text("")
    said: list[str] = []
    assert forget_damaged(tmp_path, said.append) == ["bad-1.0"]
    assert good.exists()
    assert not bad.exists()
    assert "bad-1.0" in said[0]


def test_what_pip_set_aside_is_removed(tmp_path: Path, site: Path) -> None:
    (site / "~umpy").mkdir(parents=True)
    forget_damaged(tmp_path, pytest.fail)
    assert not list(site.glob("~*"))


def test_the_environment_of_these_tests_is_whole() -> None:
    infos = list(Path(sys.prefix).glob("lib/python3*/site-packages/*.dist-info"))
    assert len(infos) > 100
    assert [info.name for info in infos if not is_whole(info)] == []


def clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "infra", tmp_path / "infra")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def setup(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "infra/setup.sh", "engine"], cwd=folder, env=environment, capture_output=True, text=True, timeout=30
    )


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_an_old_python_is_refused_with_a_remedy(tmp_path: Path) -> None:
    old = script(tmp_path / "old", 'case "$*" in *--version*) echo Python 3.8.1;; *) exit 1;; esac')
    answer = setup(clone(tmp_path / "clone"), PATH=os.environ["PATH"], PYTHON=str(old))
    assert answer.returncode == 1
    assert "needs Python 3.11 to 3.14, but found 'Python 3.8.1'" in answer.stderr
    assert "PYTHON=" in answer.stderr


@pytest.mark.parametrize("missing", ["git", "make"])
def test_a_missing_tool_is_named_with_its_remedy(tmp_path: Path, missing: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in {"git", "make", "dirname", "sh"} - {missing}:
        (tools / name).symlink_to(shutil.which(name) or "/bin/false")
    answer = setup(clone(tmp_path / "clone"), PATH=str(tools), PYTHON=sys.executable)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"setup: '{missing}' is missing: install it (Debian and Ubuntu: ")
    assert not (tmp_path / "clone" / ".venv").exists()


def test_two_at_once_wait_for_each_other_and_nothing_changed_costs_nothing(tmp_path: Path) -> None:
    """With pip replaced by a slow recorder, two setups run each step once; a third returns at once."""
    folder = clone(tmp_path / "clone")
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "pip").write_text(f"#!{binaries}/python\n")
    calls, busy = tmp_path / "calls", tmp_path / "busy"
    record = f"echo x >> {calls}; [ -e {busy} ] && echo overlap >> {calls}; touch {busy}; sleep 0.5; rm {busy}"
    script(binaries / "python", f'case "$*" in *" install "*) {record};; esac')
    command = ["/bin/sh", "infra/setup.sh", "engine"]
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    racers = [subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    said = [racer.communicate(timeout=60)[0].decode() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert calls.read_text().splitlines() == ["x"] * 3  # engine, PyTorch, the project
    assert sum("waiting for it" in text for text in said) == 1
    started = time.monotonic()
    assert setup(folder, **environment).stdout == ""
    assert time.monotonic() - started < 2
