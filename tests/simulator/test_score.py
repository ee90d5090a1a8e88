import math
from collections.abc import Callable

import numpy as np
import pytest

from simulator.config import SimulatorConfig, Stage
from simulator.prompt import Prompt
from simulator.score import Outcomes, _column, horizons_that_fit
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.channel import Channel, Kind
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.figures import Scorecard
from storage.contracts.robot import RobotSpec

Make = Callable[..., Episode]


def value(card: Scorecard, name: str, horizon_s: float, channel: str | None = None) -> float:
    found = card.value(name, horizon_s, channel=channel)
    assert found is not None
    return found


def test_a_trained_oscillator_beats_hold_last_fivefold(trained: Simulator, oscillator: Make) -> None:
    card = trained.score([oscillator(s) for s in range(100, 104)], (0.1, 0.5))
    assert value(card, "hold_last_nrmse", 0.5) > 5 * value(card, "nrmse", 0.5)
    assert value(card, "hold_last_nrmse", 0.1) > 5 * value(card, "nrmse", 0.1)
    found = card.find("rmse", 0.5, channel="mass.position")
    assert found is not None
    # 200 steps, 10 of history, 25 ahead, one window every 5 steps: 34 windows in each of 4 episodes
    assert (found.unit, found.n) == ("m", 4 * 34)


def test_hold_last_and_the_fixed_deviation_are_by_hand(trained: Simulator, episode_of: Make) -> None:
    """A position that rises 0.02 m every 20 ms: hold-last misses 0.1 m at 0.1 s; divided by 0.5 that is 0.2."""
    ramp = np.stack([0.02 * np.arange(60), np.ones(60)], axis=1)
    card = trained.score([episode_of(trained.specs[0], ramp, np.zeros((59, 1)))], (0.1,), {"mass.position": 0.5})
    assert value(card, "hold_last_nrmse", 0.1, "mass.position") == pytest.approx(0.2)


def outcomes(truth: np.ndarray, samples: np.ndarray) -> Outcomes:
    shape = (len(truth), 1)
    return Outcomes(
        truth[:, None], np.zeros(shape), samples[..., None], np.arange(samples.shape[1]) % 2, np.ones(shape, bool)
    )


def test_sample_statistics_of_a_gaussian_are_the_closed_forms() -> None:
    """Truth and samples from one N(0, 1): CRPS is 1/sqrt(pi), NLL 0.5 log(2 pi e), intervals cover what they say."""
    rng = np.random.default_rng(0)
    found = _column(
        outcomes(rng.standard_normal(4000), rng.standard_normal((4000, 100))), 0, False, np.ones(4000, bool)
    )
    assert found["crps"].mean() == pytest.approx(1 / math.sqrt(math.pi), rel=0.03)
    assert found["nll"].mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e), rel=0.03)
    for level in (50, 68, 90):
        assert found[f"cover{level}"].mean() == pytest.approx(level / 100, abs=0.03)


def test_angles_are_compared_on_the_circle() -> None:
    samples = np.array([[math.pi - 0.1, -math.pi + 0.1, math.pi - 0.1, -math.pi + 0.1]])
    found = _column(outcomes(np.array([-math.pi + 0.05]), samples), 0, True, np.ones(1, bool))
    assert found["error"][0] == pytest.approx(0.05)


def test_samples_of_a_noisy_system_cover_what_they_say(oscillator: Make, small: SimulatorConfig) -> None:
    config = small.model_copy(
        update={"updates": 800, "curriculum": (Stage(steps=4, share=0.6), Stage(steps=12, share=0.4))}
    )
    sim = train_simulator([oscillator(s, noise=0.03) for s in range(12)], config)
    clips = tuple(oscillator(s, noise=0.03) for s in (200, 201))
    prompts = {"toy": Prompt(clips[0].spec, clips)}
    held_out = [oscillator(s, noise=0.03) for s in range(100, 106)]
    card = sim.score(held_out, (0.1, 0.3), samples=40, prompts=prompts)
    for horizon in (0.1, 0.3):
        assert 0.78 < value(card, "coverage_90", horizon) < 0.98
        assert 0.36 < value(card, "coverage_50", horizon) < 0.66
        # no prediction of a measurement can be better than its noise of 0.03
        assert 0.03 * 0.85 < value(card, "rmse", horizon, "mass.velocity") < 0.045


def test_a_prompt_halves_the_error_on_a_fleet_with_hidden_masses(oscillator: Make, small: SimulatorConfig) -> None:
    """Twelve robots of 0.4 to 2.5 kg teach; two robots never seen are asked, with and without 8 s of their log."""
    masses = np.geomspace(0.4, 2.5, 12)
    fleet = [oscillator(10 * i + j, mass=m, robot=f"r{i}") for i, m in enumerate(masses) for j in range(3)]
    config = small.model_copy(update={"updates": 500, "rows": 256, "notes_drop": 0.2})
    sim = train_simulator(fleet, config)
    unseen = {"light": 0.55, "heavy": 1.9}
    clips = {
        name: (oscillator(900, mass=m, robot=name), oscillator(901, mass=m, robot=name)) for name, m in unseen.items()
    }
    tests = [oscillator(950 + i, mass=m, robot=name) for name, m in unseen.items() for i in range(2)]
    prompts = {name: Prompt(found[0].spec, found) for name, found in clips.items()}
    with_prompt, without = sim.score(tests, (0.5,), prompts=prompts), sim.score(tests, (0.5,))
    assert value(with_prompt, "nrmse", 0.5) < 0.5 * value(without, "nrmse", 0.5)
    spec = tests[0].spec
    none, one, both = (sim.ground(Prompt(spec, c)).deviation.mean() for c in ((), clips["heavy"][:1], clips["heavy"]))
    assert both < one < none


def test_the_horizons_that_fit_are_those_that_can_be_scored(trained: Simulator, oscillator: Make) -> None:
    short, long = oscillator(1, steps=20), oscillator(2, steps=40)
    rows = trained.ground(Prompt(long.spec)).frame.history_rows
    room = (40 - rows) / long.spec.control_rate_hz  # what is left of the longer one behind its history
    assert horizons_that_fit(trained, [short, long], (0.02, room, room + 0.02)) == (0.02, room)
    assert horizons_that_fit(trained, [short], (room,)) == ()
    assert trained.score([short, long], (room,)).find("nrmse", room) is not None
    with pytest.raises(InputError, match="no window"):
        trained.score([short, long], (room + 0.02,))


def test_too_short_logs_and_foreign_prompts_are_refused(trained: Simulator, oscillator: Make, episode_of: Make) -> None:
    with pytest.raises(InputError, match="no window"):
        trained.score([oscillator(1, steps=20)], (0.5,))
    other = RobotSpec(name="other", control_rate_hz=50, channels=(Channel(name="t", kind=Kind.SCALAR),))
    with pytest.raises(InputError, match="has channels"):
        Prompt(other, (oscillator(1),))
    wide = [Channel(name=f"t{i}", kind=Kind.SCALAR) for i in range(9)]
    with pytest.raises(InputError, match="slots per entity"):
        trained.ground(Prompt(RobotSpec(name="wide", control_rate_hz=50, channels=tuple(wide))))
