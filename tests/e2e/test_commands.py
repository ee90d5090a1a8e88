"""The command as a user meets it: what wrong input says, two at once, Ctrl-C, what `--help` and `status` load."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from examples.pendulum import write_logs

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).resolve().parents[2]


def start(home: Path, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *arguments],
        env=os.environ | {"SIM2REAL_HOME": str(home)} | extra,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def sim2real(home: Path, *arguments: str, **extra: str) -> tuple[int, str, str]:
    process = start(home, *arguments, **extra)
    out, error = process.communicate(timeout=200)
    return process.returncode, out, error


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("commands") / "home"
    yield folder
    sim2real(folder, "down")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder, runs=4, seconds=3.0)
    return folder


def one_screen(error: str) -> str:
    assert len(error.splitlines()) < 24
    assert "Traceback" not in error
    return error


def test_import_takes_in_the_good_and_keeps_the_truncated(home: Path, logs: Path, tmp_path: Path) -> None:
    whole = next(iter(sorted(logs.rglob("*.csv")))).read_bytes()
    tree = tmp_path / "pendulum-a"
    tree.mkdir()
    (tree / "good.csv").write_bytes(whole)
    (tree / "cut.parquet").write_bytes(b"PAR1" + b"\0" * 3000)
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        (logs / "map.yaml").read_text().replace("{run}.csv", "{run}.{ending}").replace("**/*.csv", "**/*")
    )
    code, out, _ = sim2real(home, "import", str(tree), "--map", str(mapping), "--json")
    found = {Path(f["path"]).name: f for f in json.loads(out.splitlines()[-1])["files"]}
    assert code == 3
    assert (found["good.csv"]["state"], len(found["good.csv"]["episodes"])) == ("accepted", 1)
    assert (found["cut.parquet"]["state"], found["cut.parquet"]["code"]) == ("quarantined", "truncated")


def test_two_commands_at_once_share_one_home(home: Path, logs: Path) -> None:
    pair = [start(home, "import", str(logs), "--map", str(logs / "map.yaml"), "--json") for _ in range(2)]
    answers = [process.communicate(timeout=200) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], answers
    first, second = (json.loads(out.splitlines()[-1])["files"] for out, _ in answers)
    assert [f["episodes"] for f in first] == [f["episodes"] for f in second]
    _, out, _ = sim2real(home, "fleet", "--json")
    assert {r["serial"]: r["logs"] for r in json.loads(out)["robots"]} == {"pendulum-a": 4, "pendulum-b": 4}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("simulator", "score", "--robot", "penduIum"), 2, ["unknown robot 'penduIum'", "pendulum"]),
        (("bootstrap", "--robot", "cartpol"), 2, ["unknown robot 'cartpol'", "Did you mean 'cartpole'?"]),
        (("simulator", "score", "--robot", "pendulum", "--horizons", "soon"), 2, ["'soon'", "0.1,0.5,1.0"]),
        (("lineage", "nothing@1"), 2, ["nothing"]),
        (("import", "/no/such/folder"), 2, ["no such file or folder"]),
    ],
)
def test_wrong_names_are_answered_with_right_ones(
    home: Path, logs: Path, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    found, _, error = sim2real(home, *arguments)
    assert found == code, error
    for word in words:
        assert word in one_screen(error)


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ("torque_Nm", "torque_Ncm", ["torque_Ncm", "torque_Nm"]),
        ("unit: deg/s", "unit: deg/sec", ["deg/sec", "deg/s"]),
        ("kind: angle", "kind: angel", ["angel", "angle"]),
    ],
)
def test_a_wrong_mapping_names_the_column_or_unit(
    home: Path, logs: Path, tmp_path: Path, wrong: str, right: str, words: list[str]
) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text((logs / "map.yaml").read_text().replace(wrong, right))
    code, _, error = sim2real(home, "import", str(logs), "--map", str(mapping))
    assert code == 2, error
    for word in words:
        assert word in one_screen(error)


def test_an_unreachable_object_store_is_named(home: Path, logs: Path) -> None:
    begin = time.monotonic()
    settings = {"SIM2REAL_S3_ENDPOINT": "http://127.0.0.1:9", "SIM2REAL_S3_BUCKET": "mine"}
    keys = {"SIM2REAL_S3_ACCESS_KEY_ID": "a", "SIM2REAL_S3_SECRET_ACCESS_KEY": "b"}
    code, _, error = sim2real(home, "import", str(logs), "--map", str(logs / "map.yaml"), **settings, **keys)
    assert code == 4, error
    assert "http://127.0.0.1:9" in one_screen(error)
    assert time.monotonic() - begin < 60


def test_no_disk_space_for_the_embedded_store(tmp_path: Path, logs: Path) -> None:
    mapping = str(logs / "map.yaml")
    code, _, error = sim2real(
        tmp_path / "home", "import", str(logs), "--map", mapping, SIM2REAL_MIN_FREE_MB="999999999"
    )
    assert code == 4, error
    assert "MB free" in one_screen(error)


def test_a_catalog_newer_than_the_code_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    with sqlite3.connect(folder / "catalog.sqlite") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    code, out, error = sim2real(folder, "fleet", "--json")
    assert code == 6, error
    assert json.loads(out)["error"]["kind"] == "IncompatibleError"
    assert "newer" in one_screen(error)


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    process = start(folder, "simulator", "train", "--robot", "nobody")
    while not (folder / "stack" / "state.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    end = time.monotonic() + 60
    while left := [p.pid for p in psutil.process_iter() if _belongs_to(p, folder)]:
        assert time.monotonic() < end, left
        time.sleep(0.2)


def _belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in " ".join(process.cmdline())
    except psutil.Error:
        return False


HEAVY = {"torch", "ray", "prefect", "fastapi", "mujoco", "boto3", "onnxruntime", "pyarrow", "scipy", "matplotlib"}


@pytest.mark.parametrize(
    ("arguments", "without"),
    [(("--help",), HEAVY | {"sqlalchemy"}), (("simulator", "--help"), HEAVY | {"sqlalchemy"}), (("status",), HEAVY)],
)
def test_help_and_status_load_nothing_heavy(home: Path, arguments: tuple[str, ...], without: set[str]) -> None:
    """What makes them answer at once (benchmark `command_speed`), whatever else the machine is doing."""
    code, _, said = sim2real(home, *arguments, PYTHONPROFILEIMPORTTIME="1")
    assert code == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines() if "|" in line}
    assert "typer" in loaded
    assert not loaded & without
