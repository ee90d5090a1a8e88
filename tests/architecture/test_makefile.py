"""The make targets teach themselves and each makes what it needs first."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str) -> str:
    """As from a user's shell: the suite itself may run under make, whose variables would change what the inner one
    says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    return run.stdout


def test_make_alone_lists_every_target() -> None:
    said = make()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert {"setup", "demo", "test", "check"} <= set(targets)
    assert not [target for target in targets if target != "help" and f"make {target}" not in said]


@pytest.mark.parametrize("target", ["setup", "demo", "test", "check", "chaos", "bench"])
def test_each_target_sets_up_first(target: str) -> None:
    first = next(line for line in make("-n", target).splitlines() if line.strip())
    assert first.startswith("sh infra/setup.sh engine")


def test_the_demo_installs_no_developers_tools() -> None:
    assert "dev" not in make("-n", "demo")


def test_ci_runs_the_checks_and_the_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
    assert "make check\n" in text
    assert "make test\n" in text
    assert "REQUIRE_BROWSER=1" in text
