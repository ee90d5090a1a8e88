"""The programs of the README run as written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "simulator" / "pretrained" / "manifest.json"
pretrained = pytest.mark.skipif(not BUNDLE.is_file(), reason="no bundle: python -m tests.benchmarks.sim.pretrain")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("import_log", "16 episodes of 2 robots"),
        ("read_any_log", "cut.mcap: mcap, salvaged"),
        ("train_and_score", "1.0 s ahead: error"),
        ("ask_simulator", "90 % interval"),
        ("train_policy", "commands agree"),
        pytest.param("what_if", "answers most to the command at", marks=pretrained),
    ],
)
def test_example_runs(name: str, expected: str) -> None:
    # threads that wait for each other take six times as long where something else runs
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert expected in done.stdout
