"""Recalibration on runs of their own: an ensemble that is too sure of itself, and one that is not sure enough."""

from collections.abc import Callable

import pytest

from simulator.calibrate import calibrated, prompts_of, with_temperature
from simulator.config import SimulatorConfig
from simulator.model import Temperature
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError

Make = Callable[..., Episode]


@pytest.fixture(scope="module")
def noisy(oscillator: Make, small: SimulatorConfig) -> Simulator:
    config = small.model_copy(update={"updates": 3 * small.updates})
    return train_simulator([oscillator(s, noise=0.03) for s in range(8)], config)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_wrong_spread_is_mended_on_other_runs(noisy: Simulator, oscillator: Make, factor: float) -> None:
    wrong = with_temperature(noisy, Temperature(process=factor, scene=factor))
    own = [oscillator(s, noise=0.03) for s in range(8)]
    mended = calibrated(wrong, [oscillator(s, noise=0.03) for s in (50, 51, 52)], prompts=prompts_of(own))
    held_out = [oscillator(s, noise=0.03) for s in range(100, 104)]

    def miss(simulator: Simulator) -> float:
        covered = simulator.score(held_out, (0.3,), prompts=prompts_of(own)).value("coverage_90", 0.3)
        return abs((covered or 0.0) - 0.9)

    assert miss(mended) < min(0.1, miss(wrong))
    assert (mended.model.temperature.process < wrong.model.temperature.process) == (factor > 1)


def test_factors_travel_with_the_bundle(noisy: Simulator, oscillator: Make) -> None:
    from storage.contracts.bundles import SimulatorManifest

    warm = with_temperature(noisy, Temperature(process=2.0, scene=1.5))
    parts, files = warm.to_files()
    again = Simulator.from_files(SimulatorManifest(name="n", dataset="", **parts), files)
    assert again.model.temperature == Temperature(process=2.0, scene=1.5)
    assert warm.digest != noisy.digest


def test_nothing_to_calibrate_on_is_said(noisy: Simulator) -> None:
    with pytest.raises(InputError, match="no runs to calibrate on"):
        calibrated(noisy, [])
