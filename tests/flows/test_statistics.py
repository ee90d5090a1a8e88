import numpy as np
import pytest

from flows.statistics import return_statistics
from storage.contracts.errors import ContractError


def test_mean_is_over_all_episodes_and_robots_are_the_units_of_the_interval() -> None:
    # Robot a: mean 1, robot b: mean 3. Overall (0+2+3+3+3)/5 = 2.2; resampled means are 1, 2 or 3.
    found = return_statistics({"a": [0.0, 2.0], "b": [3.0, 3.0, 3.0]})
    assert found.mean == pytest.approx(2.2)
    assert (found.n, found.robots) == (5, 2)
    assert found.ci95 == (1.0, 3.0)
    assert found.per_robot == {"a": 1.0, "b": 3.0}


def test_interval_covers_the_true_mean_of_a_large_fleet() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        robots = {str(i): [float(rng.normal(10.0, 2.0))] for i in range(30)}
        low, high = return_statistics(robots, seed=trial).ci95
        hits += low <= 10.0 <= high
    assert 48 <= hits <= 60


def test_a_single_robot_is_resampled_by_episode() -> None:
    low, high = return_statistics({"a": [0.0, 1.0, 2.0, 3.0]}).ci95
    assert low < 1.5 < high


def test_nothing_to_average_is_an_error() -> None:
    with pytest.raises(ContractError, match="no episode"):
        return_statistics({"a": []})
