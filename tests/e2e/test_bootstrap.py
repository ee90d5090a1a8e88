"""The whole loop through the command, with real servers, real robot processes and real kills.

Two campaigns of equal arguments in two homes: one is left alone, in the other the command, a Ray worker, the S3 server
and the API are killed with SIGKILL in the middle of steps. Both must end with the same digests, every step done once,
no log lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ARGUMENTS = ["bootstrap", "--robot", "cartpole", "--fleet", "2", "--iterations", "2", "--quick", "--json"]
POISON = {
    "AWS_ACCESS_KEY_ID": "poison",
    "AWS_SECRET_ACCESS_KEY": "poison",
    "AWS_PROFILE": "poison",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_PROFILE": "poison",
    "RAY_ADDRESS": "127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


def command(home: Path, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"SIM2REAL_HOME": str(home)} | extra
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *arguments], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=(home.parent / f"{home.name}.log").open("a"), start_new_session=True,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]", home: Path, timeout_s: float = 420) -> dict[str, object]:
    stdout, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, (home.parent / f"{home.name}.log").read_text()[-4000:]
    return dict(json.loads(stdout.strip().splitlines()[-1]))


def status(home: Path) -> dict[str, object]:
    return finish(command(home, "status", "--json"), home, 60)


def digests(result: dict[str, object]) -> list[tuple[object, ...]]:
    keys = (
        "simulator",
        "policy",
        "dataset",
        "scorecards",
        "real_return",
        "sim_return",
        "sim_error",
        "new_log_error",
        "real_seconds",
    )
    return [tuple(record[key] for key in keys) for record in result["iterations"]]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    root = tmp_path_factory.mktemp("e2e")
    pair = (root / "calm", root / "stormy")
    yield pair
    for home in pair:
        command(home, "down").communicate(timeout=60)


@pytest.fixture(scope="module")
def calm(homes: tuple[Path, Path]) -> dict[str, object]:
    return finish(command(homes[0], *ARGUMENTS, **POISON), homes[0])


def wait_for(what: str, found: Callable[[], object], process: "subprocess.Popen[str]", timeout_s: float = 240) -> None:
    end = time.monotonic() + timeout_s
    while not found():
        assert process.poll() is None, f"the command ended with {process.returncode} before {what}"
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def step_begun(home: Path, title: str, count: int) -> Callable[[], bool]:
    log = home.parent / f"{home.name}.log"
    return lambda: log.exists() and log.read_text().count(f"{title} ...") >= count


def service_pid(home: Path, name: str) -> int:
    services = status(home)["services"]
    return next(s["pid"] for s in services if s["name"] == name)  # type: ignore[attr-defined, no-any-return]


def children_of_service(home: Path, name: str, text: str) -> list[psutil.Process]:
    """Live processes of the home's service whose command line holds `text`."""
    parent = psutil.Process(service_pid(home, name))
    return [p for p in [parent, *parent.children(recursive=True)] if text in " ".join(p.cmdline() or [])]


def kill(processes: list[psutil.Process]) -> int:
    for process in processes:
        process.kill()
    return len(processes)


def test_the_result_has_the_documented_shape(calm: dict[str, object]) -> None:
    assert set(calm) == {"campaign", "iterations", "oracle_return", "random_return"}
    for index, record in enumerate(calm["iterations"]):  # type: ignore[arg-type]
        assert record["iteration"] == index
        assert (
            set(record["sim_error"])
            == set(record["hold_last_error"])
            == set(record["new_log_error"])
            == {"0.1", "0.5", "1.0"}
        )
        assert record["real_return"]["n"] == 4  # two robots, two evaluation episodes each
        low, high = record["real_return"]["ci95"]
        assert low <= record["real_return"]["mean"] <= high


def test_killed_again_and_again_it_ends_with_the_same_digests(
    homes: tuple[Path, Path], calm: dict[str, object]
) -> None:
    home = homes[1]
    first = command(home, *ARGUMENTS)
    wait_for("simulator training", step_begun(home, "iteration 0: train the simulator", 1), first)
    time.sleep(1.0)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()

    second = command(home, *ARGUMENTS)
    wait_for("policy training", step_begun(home, "iteration 0: train the policy", 1), second)
    wait_for("a Ray worker at it", lambda: children_of_service(home, "ray", "ray::_train"), second, 60)
    assert kill(children_of_service(home, "ray", "ray::_train")) >= 1
    wait_for("robots at work", step_begun(home, "iteration 0: robots run it", 1), second)
    assert kill(children_of_service(home, "s3", "weed")) >= 1
    assert kill(children_of_service(home, "api", "fleet_ingest")) >= 1
    stormy = finish(second, home)

    assert digests(stormy) == digests(calm)


def test_the_same_command_again_prints_the_stored_result(homes: tuple[Path, Path], calm: dict[str, object]) -> None:
    start = time.monotonic()
    assert finish(command(homes[0], *ARGUMENTS), homes[0]) == calm
    assert time.monotonic() - start < 90
