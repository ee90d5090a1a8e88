"""Robot processes against a real API and S3 server: what they upload and weigh, and that a kill changes nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fleet_ingest.harness import FLEET, Robot, Works, wait_for

HEAVY = ("torch", "ray", "boto3", "pyarrow", "sqlalchemy", "pandas", "typer", "prefect", "fastapi")


@pytest.mark.slow
def test_kills_and_an_outage_change_nothing(tmp_path: Path) -> None:
    works = Works(tmp_path, ["cartpole-0001", "cartpole-0002"], episodes=3)
    try:
        works.start()
        first, second = works.robots
        first.crash(lambda: first.logged()[0] >= 1, 0.3)  # in the middle of an episode
        first.crash(lambda: first.logged()[0] >= 3, 0.1)  # in the middle of uploads
        wait_for(lambda: second.logged()[1] >= 1, 60, "logs to upload")
        works.api.kill()
        works.s3.kill()
        second.crash(lambda: second.logged()[1] >= 1, 0.5)
        works.s3.start()
        works.api.start()
        wait_for(works.done, 90, "the completion of all assignments")
        wait_for(lambda: all(not list((r.state / "logs").iterdir()) for r in works.robots), 10, "empty spools")
        works.check()
        process = psutil.Process(first.child.pid)  # type: ignore[union-attr]
        assert process.memory_info().rss < 150 * 2**20
        if sys.platform == "linux":  # elsewhere a process' libraries are not shown
            loaded = {Path(m.path).name for m in process.memory_maps()}
            assert any("onnxruntime" in name for name in loaded), "no policy ran"
            assert not [name for name in loaded if "torch" in name]
            peak = Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
            assert int(peak) < 150 * 2**10
        first.kill(signal.SIGTERM)
        assert first.child is not None
        assert first.child.returncode == 0
    finally:
        works.stop()


def test_the_robot_process_imports_nothing_heavy() -> None:
    code = (
        "import sys; import fleet_ingest.robot.cli, fleet_ingest.robot.agent, fleet_ingest.robot.drivers;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"--driver": "standin:cartpol"}, "Did you mean 'cartpole'?"),
        ({"--driver": "stand:cartpole"}, "Did you mean 'standin'?"),
        ({"--driver": "standin"}, "lacks a name"),
        ({"--driver": "python:no_such_module:x"}, "not installed"),
        ({"--key-file": "/proc/nowhere/key"}, "key file"),
    ],
)
def test_wrong_words_give_a_clear_error(tmp_path: Path, change: dict[str, str], expected: str) -> None:
    robot = Robot("cartpole-0001", "http://127.0.0.1:9", tmp_path)
    for option, value in change.items():
        robot.argv[robot.argv.index(option) + 1] = value
    done = subprocess.run(robot.argv, capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_registry_starts_what_it_says() -> None:
    argv = FLEET.argv("cartpole-0007", api="http://x", key_file="t", state="s")
    assert argv[1:3] == ["-m", "fleet_ingest.robot"]
    assert FLEET.serial(7) == "cartpole-0007"
