"""A campaign on Gymnasium environments through the command: processes that log reward and ends, and the whole loop."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.catalog.catalog import Catalog
from storage.contracts.task import Task

pytest.importorskip("gymnasium")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROBOT = "gymnasium:InvertedPendulum-v5"
ARGUMENTS = ["bootstrap", "--robot", ROBOT, "--fleet", "2", "--iterations", "1", "--quick", "--json"]


def sim2real(home: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments], env=os.environ | {"SIM2REAL_HOME": str(home)},
        capture_output=True, text=True, timeout=420,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("environments") / "home"
    yield folder
    sim2real(folder, "down")


@pytest.fixture(scope="module")
def campaign(home: Path) -> tuple[dict[str, object], str]:
    """The result, and what the command said."""
    code, out, said = sim2real(home, *ARGUMENTS, "--report", str(home.parent / "report.html"))
    assert code == 0, said[-4000:]
    return json.loads(out.splitlines()[-1]), out + said


def test_the_loop_runs_on_environments(home: Path, campaign: tuple[dict[str, object], str]) -> None:
    (record,) = campaign[0]["iterations"]  # type: ignore[misc]
    assert record["real_return"]["n"] == 4
    assert set(record["real_return"]["per_robot"]) == {f"gym-invertedpendulum-v5-{i:04d}" for i in (1, 2)}
    assert record["real_return"]["mean"] >= 1.0  # it stands for some steps at least, and each pays 1
    with Catalog.open(f"sqlite:///{home / 'catalog.sqlite'}") as catalog:
        assert {row.kind for row in catalog.robots.list()} == {"environment"}
        (artefact,) = catalog.artefacts.list("task", name=ROBOT.lower())
        task = Task.from_json(artefact.manifest)
        assert (task.reward_channel, task.horizon_s, task.start) == ("reward", 40.0, {})
        rows = catalog.episodes.find()
        # Environments are alike and each draws its own starts: no log came twice.
        assert len({row.raw_sha256 for row in rows}) == len(rows) == 2 * (1 + 2 + 1 + 3)
        assert [row.name for row in catalog.artefacts.list("policy")] == [ROBOT.lower()]


def test_nothing_calls_an_environment_a_real_robot(home: Path, campaign: tuple[dict[str, object], str]) -> None:
    page = (home.parent / "report.html").read_text(encoding="utf-8")
    sentence = "The robots are environments: simulated themselves, they stand for reality."
    assert sentence in page
    assert sentence in " ".join(campaign[1].split())
    for text in (page, campaign[1]):
        assert "real robot" not in text.lower()


def test_the_same_command_again_prints_the_stored_result(home: Path, campaign: tuple[dict[str, object], str]) -> None:
    code, out, said = sim2real(home, *ARGUMENTS)
    assert (code, json.loads(out.splitlines()[-1])) == (0, campaign[0]), said[-2000:]


def test_an_environment_that_does_not_exist_starts_no_server(tmp_path: Path) -> None:
    code, _, said = sim2real(tmp_path, "bootstrap", "--robot", "gymnasium:InvertedPendulom-v5")
    assert code == 2
    assert "no Gymnasium environment 'InvertedPendulom-v5'" in said
    assert "start the servers" not in said
