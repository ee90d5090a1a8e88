"""`simulator ask` and `simulator show` from end to end, on a tiny simulator kept in a folder; no server is started."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from flows.asking import parse_start, parse_sweep, read_commands
from flows.cli.main import app
from flows.report.calibration import LEVELS, _measure
from flows.report.rerun_log import Run, write_recording
from flows.report.simulator_charts import beliefs
from simulator.score import Outcomes
from storage.contracts.channel import Channel, Kind
from storage.contracts.errors import InputError, UnavailableError, UnknownName
from storage.contracts.robot import RobotSpec


def sim2real(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ask(bundle: Any, *arguments: object) -> dict[str, Any]:
    made = sim2real(
        "simulator", "ask", "--simulator", bundle.folder, "--spec", bundle.spec, "--prompt-episode", bundle.logs[0],
        "--worlds", 16, "--horizon", 0.4, "--json", *arguments,
    )  # fmt: skip
    if made.exception is not None:
        raise made.exception
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


def test_a_question_is_answered_in_words_numbers_and_a_picture(bundle: Any, tmp_path: Path) -> None:
    plot = tmp_path / "answer.png"
    sweeps = ("--sweep", "payload.mass=x1,x3", "--sweep", "link1.length=x0.8")
    found = ask(bundle, *sweeps, "--outcome", "final(link1.angle)", "--plot", plot)
    cases = found["answer"]["cases"]
    assert [(c["quantity"], c["change"]) for c in cases] == [
        ("payload.mass", "x1"), ("payload.mass", "x3"), ("link1.length", "x0.8"),
    ]  # fmt: skip
    assert (cases[0]["effect"]["mean"], cases[0]["effect"]["high"]) == (0, 0)
    assert cases[1]["effect"]["mean"] != 0
    assert found["sentences"][0] == "payload.mass x1: final link1.angle does not change, 16 worlds"
    assert "rad" in found["sentences"][1]
    assert found["prompt_seconds"] == 4.0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert ask(bundle, *sweeps, "--outcome", "final(link1.angle)")["answer"] == found["answer"]


def test_sensitivity_has_a_row_for_every_control_period(bundle: Any, tmp_path: Path) -> None:
    plot = tmp_path / "slope.svg"
    found = ask(bundle, "--sensitivity", "--outcome", "max(link1.rate)", "--plot", plot)
    assert np.array(found["sensitivity"]["mean"]).shape == (20, 1)
    assert found["sentences"][0].startswith("link1.torque: largest link1.rate answers most")
    assert plot.read_text().lstrip().startswith("<?xml")


def test_starts_edits_and_commands_are_the_askers(bundle: Any, tmp_path: Path) -> None:
    table = tmp_path / "commands.csv"
    table.write_text("torque\n" + "0.0\n" * 5)
    common = ("--sweep", "link1.mass=x2", "--outcome", "final(link1.angle)")
    still = ask(bundle, *common, "--start", "link1.angle=0.5", "--commands", table)
    safe = ask(bundle, *common, "--start", "link1.angle=0.5", "--commands", "safe")
    edited = ask(bundle, *common, "--start", "link1.angle=0.5", "--edit", "link1.mass=x2")
    assert still["answer"] == safe["answer"]
    assert edited["answer"]["base"]["mean"] == pytest.approx(safe["answer"]["cases"][0]["outcome"]["mean"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--sweep", "payload.mas=1", "--outcome", "link1.angle"), UnknownName, "Did you mean 'payload.mass'"),
        (("--sweep", "payload.mass=1", "--outcome", "link1.angel"), UnknownName, "Did you mean 'link1.angle'"),
        (("--sweep", "payload.mass=", "--outcome", "link1.angle"), InputError, "names no value"),
        (("--outcome", "link1.angle"), InputError, "nothing is asked"),
        (("--sweep", "payload.mass=1", "--outcome", "link1.angle", "--at", "9"), InputError, "log goes on"),
        (("--sweep", "payload.mass=1", "--outcome", "link1.angle", "--plot", "a.txt"), InputError, "endings"),
    ],
)  # fmt: skip
def test_wrong_questions_say_what_would_be_right(
    bundle: Any, arguments: tuple[str, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        ask(bundle, *arguments)


def test_words_of_a_command_become_numbers(bundle: Any, tmp_path: Path) -> None:
    assert parse_sweep(["a.b=0,0.2, x1.5", "a.b=+1"]) == {"a.b": ["0", "0.2", "x1.5", "+1"]}
    assert parse_start("a=1, b=-2") == {"a": 1.0, "b": -2.0}
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_start("a")
    wide = tmp_path / "wide.csv"
    wide.write_text("1,2\n")
    with pytest.raises(InputError, match="expected 1 numbers"):
        read_commands(wide, bundle.simulator.specs[0])


def test_show_is_one_page_that_loads_nothing_and_a_recording(bundle: Any, tmp_path: Path) -> None:
    out, recording = tmp_path / "show", tmp_path / "run.rrd"
    made = sim2real(
        "simulator", "show", "--simulator", bundle.folder, "--spec", bundle.spec, "--prompt-episode", bundle.logs[0],
        "--held-out", bundle.logs[1], "--held-out", bundle.logs[2], "--out", out, "--rerun", recording, "--json",
    )  # fmt: skip
    assert made.exception is None, made.exception
    html = (out / "index.html").read_text()
    assert html.count("<svg") == 7  # two fans and five plots
    assert not re.search(r'(?:src|href)="(?!#|data:)', html.replace("xlink:href", "href"))
    plots = {p.stem for p in out.glob("*.png")}
    assert plots == {"reliability", "pit", "error", "worlds", "posterior"}
    assert all((out / f"{n}.svg").read_text().startswith("<svg") for n in ("fan-1", "pit"))
    assert recording.read_bytes().startswith(b"RRF2")


def test_without_the_viewer_a_recording_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    empty = np.zeros((2, 1))
    run = Run("t", np.arange(2.0), empty, empty[None], empty[:1], ("a",), ("u",))
    with pytest.raises(UnavailableError) as caught:
        write_recording({"a": run}, tmp_path / "x.rrd")
    assert "viewer" in caught.value.remedy


def test_beliefs_are_drawn_with_the_truth_where_it_is_known(tmp_path: Path) -> None:
    drawn = beliefs({"payload.mass": np.linspace(0, 1, 50), "delay": np.ones(50)}, {"payload.mass": 0.3})
    first, second = drawn.axes[:2]
    truth = [line for line in first.lines if list(line.get_xdata()) == [0.3, 0.3]]
    assert len(truth) == 1
    assert len(second.lines) == 2  # the ends of the interval alone
    drawn.savefig(tmp_path / "beliefs.svg")


def test_coverage_and_pit_of_samples_that_are_right_and_of_ones_too_sure() -> None:
    """Truth and samples from one distribution cover as they say; samples half as wide cover 1 - 2 Phi(-0.822) = 59 %
    where they say 90 %. One channel is an angle across pi."""
    rng = np.random.default_rng(0)
    channels = (Channel(name="x", kind=Kind.LINEAR), Channel(name="a", kind=Kind.ANGLE))
    spec = RobotSpec(name="two", control_rate_hz=50, channels=channels)

    def wrapped(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[..., 1] = (values[..., 1] + 3.1 + np.pi) % (2 * np.pi) - np.pi
        return values

    truth = wrapped(0.4 * rng.standard_normal((4000, 2)))
    for width, expected in ((1.0, 0.9), (0.5, 0.589)):
        samples = wrapped(0.4 * width * rng.standard_normal((4000, 99, 2)))
        outcomes = Outcomes(truth, np.zeros_like(truth), samples, np.zeros(99), np.ones_like(truth, dtype=bool))
        coverage, pit, rmse, hold = _measure(spec, outcomes)
        assert coverage[LEVELS == 0.9][0] == pytest.approx(expected, abs=0.025)
        assert rmse == pytest.approx([0.4, 0.4], abs=0.02)
        assert hold[1] > 2.5
        tails = (np.minimum(pit, 1 - pit) < 0.05).mean()
        assert tails == pytest.approx(0.1 if width == 1 else 1 - expected, abs=0.03)
