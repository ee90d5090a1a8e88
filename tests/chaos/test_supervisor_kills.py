"""SIGKILL at random instants, to anybody in the stack, over and over. Afterwards all is well; then nothing is left."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded import s3
from storage.embedded.home import Home
from storage.embedded.probe import http_ok, wait_until
from storage.embedded.reap import family
from storage.embedded.service import ServiceSpec
from storage.embedded.stack import Stack
from storage.embedded.watched import mark_of

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parents[2]
COMMAND = """
import sys, time
from storage.embedded.home import Home
from storage.embedded.service import ServiceSpec
from storage.embedded.stack import Stack
with Stack(Home(sys.argv[1])) as stack:
    stack.ensure([ServiceSpec.from_json(text) for text in sys.argv[2:]])
    print("up", flush=True)
    time.sleep(600)
"""


def web(name: str) -> ServiceSpec:
    argv = (sys.executable, "-S", "-m", "http.server", "--bind", "127.0.0.1", "{port}")
    return ServiceSpec(
        name=name, argv=argv, ports=("http",), health=({"http": "/"},), cwd="{home}/work", stop_timeout_s=1
    )  # type: ignore[arg-type]


def start(home: Home, *specs: ServiceSpec) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(home.path), *(spec.to_json().decode() for spec in specs)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def members(home: Home) -> list[psutil.Process]:
    """Services, watchers and supervisors of a home."""
    supervisors = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "storage.embedded.supervisor" in (process.info["cmdline"] or [])
        and str(home.path) in process.info["cmdline"]
    ]
    return family(mark_of(home)) + supervisors


def kill(victims: list[psutil.Process]) -> None:
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home")
    found.work_dir.mkdir(exist_ok=True)
    yield found
    Stack(found).stop()
    kill(members(found))


@pytest.mark.parametrize("seed", range(3))
def test_random_kills_under_a_command(home: Home, seed: int) -> None:
    draw = random.Random(seed)
    with Stack(home) as stack:
        ports = stack.ensure([web("one"), web("two"), s3.s3_service(home)])
        for _ in range(8):
            time.sleep(draw.uniform(0.0, 12.0))
            kill(draw.sample(members(home), k=draw.choice([1, 1, 2])))
        assert wait_until(lambda: stack.endpoints() == ports, 60), stack.status()
        assert http_ok(ports["one"]["http"], "/")
        assert s3.is_ready(ports["s3"])
        stack.close(wait=True)
    assert members(home) == []
    assert not home.runtime_path.exists()


@pytest.mark.parametrize("seed", range(4))
def test_commands_killed_while_the_stack_starts(home: Home, seed: int) -> None:
    draw = random.Random(seed)
    commands = [start(home, web("one"), web(f"own-{index}")) for index in range(4)]
    for command in commands[1:]:
        time.sleep(draw.uniform(0.0, 1.5))
        victims = members(home)
        kill([draw.choice(victims)] if victims else [])
        command.send_signal(signal.SIGKILL)
        command.wait()
    survivor = commands[0]
    assert survivor.stdout is not None
    assert survivor.stdout.readline() == "up\n"
    survivor.kill()
    survivor.wait()
    for command in commands:
        if command.stdout is not None:
            command.stdout.close()
    assert wait_until(lambda: members(home) == [] and not home.runtime_path.exists(), 30), members(home)


def test_every_member_killed_at_once(home: Home) -> None:
    command = start(home, web("one"), s3.s3_service(home))
    assert command.stdout is not None
    assert command.stdout.readline() == "up\n"
    kill(members(home))
    command.kill()
    command.wait()
    command.stdout.close()
    assert wait_until(lambda: members(home) == [], 5)
    with Stack(home) as stack:
        ports = stack.ensure([s3.s3_service(home)])
        assert s3.is_ready(ports["s3"])
        assert set(ports) == {"s3"}
        stack.close(wait=True)
    assert members(home) == []
