"""The benchmarks' statistics against values worked out by hand."""

import math

import numpy as np
import pytest

from tests.benchmarks.sim import statistics

LINE = np.array([False])
TURN = np.array([True])


def test_mmrv_takes_the_gap_of_the_real_values() -> None:
    real, simulated = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.8, 0.3])
    # only policies 1 and 2 change order; their real gap is 0.4: (0 + 0.4 + 0.4) / 3
    assert statistics.mmrv(real=real, simulated=simulated) == pytest.approx(0.8 / 3)
    # the other way round the gap is 0.5: the order of the arguments matters
    assert statistics.mmrv(real=simulated, simulated=real) == pytest.approx(1.0 / 3)
    assert statistics.mmrv(real=real, simulated=real * 7) == 0.0
    with pytest.raises(TypeError):
        statistics.mmrv(real, simulated)  # type: ignore[misc]


def test_balanced_accuracy_does_not_reward_the_frequent_class() -> None:
    truth = np.array([True] * 9 + [False])
    assert statistics.balanced_accuracy(truth, np.ones(10, dtype=bool)) == 0.5
    predicted = np.array([True] * 6 + [False] * 4)
    assert statistics.balanced_accuracy(truth, predicted) == pytest.approx((6 / 9 + 1) / 2)
    assert math.isnan(statistics.balanced_accuracy(np.ones(3, dtype=bool), np.ones(3, dtype=bool)))


def test_ranks_share_ties_and_spearman_sees_order_only() -> None:
    np.testing.assert_array_equal(statistics.ranks(np.array([3.0, 1.0, 3.0, 2.0])), [2.5, 0, 2.5, 1])
    assert statistics.spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 8, 27, 64])) == pytest.approx(1.0)
    # ranks 0 1 2 3 and 1 0 3 2: 1 - 6 * 4 / (4 * 15)
    assert statistics.spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 4, 3])) == pytest.approx(0.6)


@pytest.mark.parametrize("angle", [LINE, TURN])
def test_coverage_of_the_right_distribution_is_its_level_also_across_the_seam(angle: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    at = np.pi if angle[0] else 0.0
    samples = at + 0.3 * rng.standard_normal((4000, 19, 1))
    truth = at + 0.3 * rng.standard_normal((4000, 1))
    samples, truth = ((v + np.pi) % (2 * np.pi) - np.pi if angle[0] else v for v in (samples, truth))
    for level in statistics.LEVELS:
        assert statistics.covered(samples, truth, angle, level).mean() == pytest.approx(level / 100, abs=0.025)
    assert statistics.covered(samples, truth + 1.0, angle, 90).mean() < 0.1


def test_pit_is_the_rank_of_the_truth() -> None:
    samples = np.arange(9.0).reshape(1, 9, 1)
    value = statistics.pit(samples, np.array([[6.5]]), LINE, np.random.default_rng(0))[0, 0]
    assert 0.7 <= value <= 0.8  # seven of nine lie below: between 7/10 and 8/10


def test_energy_score_of_two_samples_by_hand() -> None:
    one = np.array([1.0])
    # |0-1| and |2-1| average 1; the pair is 2 apart: 1 - 2 / 2
    assert statistics.energy_score(np.array([[[0.0], [2.0]]]), np.array([[1.0]]), one, LINE)[0] == pytest.approx(0.0)
    # truth 3: (3 + 1) / 2 - 1 = 1, in units of 2: 0.5
    assert statistics.energy_score(np.array([[[0.0], [2.0]]]), np.array([[3.0]]), 2 * one, LINE)[0] == pytest.approx(
        0.5
    )
    # all samples half a turn off: the chord of pi is 2
    turned = statistics.energy_score(np.zeros((1, 5, 1)), np.array([[np.pi]]), one, TURN)
    assert turned[0] == pytest.approx(2.0)


def test_errors_are_wrapped_and_scaled() -> None:
    predicted, truth = np.array([[3.1, 1.0]]), np.array([[-3.1, 3.0]])
    got = statistics.errors(predicted, truth, np.array([1.0, 2.0]), np.array([True, False]))
    assert got[0] == pytest.approx(math.sqrt(((2 * math.pi - 6.2) ** 2 + 1.0) / 2))


def test_wasserstein_is_the_shift_on_the_line_and_the_short_way_round() -> None:
    x = np.random.default_rng(0).normal(0, 0.2, 4000)
    assert statistics.wasserstein(x, x + 0.5) == pytest.approx(0.5)
    assert statistics.wasserstein(x + 3.0, x - 3.0, angle=True) == pytest.approx(2 * math.pi - 6.0)
    # two points and one: half the mass goes 1, half goes 3
    assert statistics.wasserstein(np.array([0.0, 2.0]), np.array([3.0])) == pytest.approx(2.0)
    assert statistics.wasserstein(np.array([0.0, 2.0]), np.array([3.0]), angle=True) == pytest.approx(2.0)
    assert statistics.wasserstein(np.array([-3.0]), np.array([3.0, 1.5]), angle=True) == pytest.approx(
        (2 * math.pi - 6.0 + 2 * math.pi - 4.5) / 2
    )


def test_ratio_of_runs_is_geometric_and_paired() -> None:
    value, interval = statistics.ratio_of_runs([1.0, 8.0, 2.0], [2.0, 4.0, 2.0])
    assert value == pytest.approx(1.0)
    assert interval is not None
    assert interval[0] >= 0.5
    assert interval[1] <= 2.0
    assert statistics.ratio_of_runs([1.0], [2.0])[1] is None


def test_the_interval_of_a_mean_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = statistics.bootstrap(lambda i: float(values[i].mean()), 400) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_uniform_values_pass_and_bunched_ones_fail() -> None:
    rng = np.random.default_rng(2)
    p = [statistics.uniform_p(rng.random(60)) for _ in range(400)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert statistics.uniform_p(0.4 + 0.2 * rng.random(60)) < 1e-4
    # D = 0.3 with 20 points: lambda = (4.472 + 0.12 + 0.0246) 0.3 = 1.385; 2 (e^-3.836 - e^-15.3) = 0.0431
    shifted = np.linspace(0.3, 0.999, 20)
    assert statistics.uniform_p(shifted) == pytest.approx(0.0431, abs=0.005)
