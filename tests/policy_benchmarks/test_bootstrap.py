"""The statistics of loops and curves against values worked out by hand."""

import numpy as np
import pytest

from tests.benchmarks.peers.bootstrap import area_under, iqm, stratified_bootstrap


def average(values: np.ndarray) -> float:
    return float(np.mean(values))


def test_the_interquartile_mean_cuts_a_quarter_at_either_end() -> None:
    assert iqm([100.0, 2.0, 3.0, -50.0]) == 2.5
    assert iqm([7.0]) == 7.0
    # Ten values: two are cut at either end, 2 to 7 are left.
    assert iqm([0, 1, 2, 3, 4, 5, 6, 7, 8, 1000]) == 4.5
    with pytest.raises(ValueError, match="no values"):
        iqm([])


def test_strata_keep_their_weight_in_every_draw() -> None:
    # Within a stratum all loops agree, so every draw is the same; without strata the draws would differ.
    value, interval = stratified_bootstrap({"a": [1.0, 1.0, 1.0], "b": [5.0]}, average)
    assert (value, interval) == (2.0, (2.0, 2.0))
    # One stratum of one 0 and one 1: a draw is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
    value, interval = stratified_bootstrap({"a": [0.0, 1.0]}, average)
    assert (value, interval) == (0.5, (0.0, 1.0))
    drawn = np.random.default_rng(3).normal(2.0, 1.0, 400)
    value, (low, high) = stratified_bootstrap({"a": drawn.tolist()}, average, seed=1)
    # The standard error of a mean of 400 with deviation 1 is 0.05.
    assert value == pytest.approx(drawn.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * drawn.std() / 20, rel=0.08)
    assert stratified_bootstrap({"a": drawn.tolist()}, average, seed=1) == (value, (low, high))
    with pytest.raises(ValueError, match="every stratum"):
        stratified_bootstrap({"a": [1.0], "b": []})


def test_the_area_ends_where_it_is_told() -> None:
    # A triangle of 10 x 4, then a rectangle of 5 x 4.
    assert area_under([0.0, 10.0], [0.0, 4.0], 10.0) == 20.0
    assert area_under([0.0, 10.0], [0.0, 4.0], 5.0) == 5.0
    assert area_under([0.0, 10.0], [0.0, 4.0], 15.0) == 40.0
    # It begins at the first point, wherever that lies.
    assert area_under([2.0, 4.0], [3.0, 3.0], 4.0) == 6.0
    with pytest.raises(ValueError, match="x must rise"):
        area_under([0.0, 0.0], [1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="x must rise"):
        area_under([5.0], [1.0], 1.0)
