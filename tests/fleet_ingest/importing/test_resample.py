"""Signals on a grid, against closed forms."""

import numpy as np
import pytest

from fleet_ingest.resample import Track, on_grid
from storage.contracts.channel import Kind

RNG = np.random.default_rng(5)


def jittery(rate: float, seconds: float) -> np.ndarray:
    steps = (1e9 / rate) * RNG.uniform(0.7, 1.3, int(rate * seconds))
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)


def grid(rate: float, seconds: float) -> np.ndarray:
    return np.arange(int(rate * seconds) + 1) * int(1e9 / rate)


def column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


@pytest.mark.parametrize("rate", [100.0, 200.0, 400.0])
def test_interpolation_converges_with_the_square_of_the_step(rate: float) -> None:
    """|error| <= h^2 / 8 * max|f''|, here f = sin(2 pi t), h = 1.3 / rate."""
    time = jittery(rate, 2.0)
    found = on_grid(Track(time, column(np.sin(2e-9 * np.pi * time))), Kind.LINEAR, "linear", grid(100, 1.9))
    error = np.abs(found.values[:, 0] - np.sin(2 * np.pi * grid(100, 1.9) * 1e-9)).max()
    assert found.valid.all()
    assert error <= (1.3 / rate) ** 2 / 8 * (2 * np.pi) ** 2 * 1.01


def test_wrapped_angles_are_unwrapped_before_interpolation() -> None:
    time = grid(100, 2.0)
    angle = 3.0 + 7.0 * time * 1e-9
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    found = on_grid(Track(time, column(wrapped)), Kind.ANGLE, "linear", grid(130, 1.5))
    np.testing.assert_allclose(found.values[:, 0], 3.0 + 7.0 * grid(130, 1.5) * 1e-9, atol=1e-9)
    naive = on_grid(Track(time, column(wrapped)), Kind.LINEAR, "linear", grid(130, 1.5))
    assert np.abs(naive.values[:, 0] - found.values[:, 0]).max() > 1.0


def test_commands_are_held() -> None:
    track = Track(np.array([0, 30, 50]), column(np.array([1.0, 2.0, 3.0])))
    found = on_grid(track, Kind.EFFORT, "hold", np.array([0, 10, 29, 30, 49, 50, 60]), held_valid=True)
    assert found.values[:, 0].tolist() == [1, 1, 1, 2, 2, 3, 3]


def test_mean_is_the_integral_of_the_held_signal() -> None:
    track = Track(np.array([0, 30, 50]), column(np.array([1.0, 2.0, 4.0])))
    found = on_grid(track, Kind.EFFORT, "mean", np.array([0, 40, 80]), held_valid=True)
    assert found.values[:2, 0] == pytest.approx([(30 * 1 + 10 * 2) / 40, (10 * 2 + 30 * 4) / 40])


def test_missing_runs_are_masked_and_short_ones_bridged() -> None:
    time = grid(100, 1.0)
    values = np.linspace(0.0, 1.0, 101)
    values[50] = np.nan
    values[70:90] = np.nan
    found = on_grid(Track(time, column(values)), Kind.LINEAR, "linear", time)
    assert found.valid[50]
    assert found.values[50, 0] == pytest.approx(0.5)
    assert not found.valid[70:90].any()
    assert found.valid[:70].all()
    assert found.valid[90:].all()
    assert np.isfinite(found.values).all()


def test_slower_signals_are_held_and_valid_only_where_a_sample_came() -> None:
    slow = Track(grid(10, 1.0), column(np.arange(11.0)))
    found = on_grid(slow, Kind.SCALAR, "linear", grid(100, 1.0))
    assert found.valid.sum() == 11
    assert found.valid[::10].all()
    assert found.values[39, 0] == 3.0
    command = on_grid(slow, Kind.EFFORT, "hold", grid(100, 1.0), held_valid=True)
    assert command.valid.all()


def test_a_command_that_is_missing_is_not_valid() -> None:
    values = np.ones(101)
    values[20:30] = np.nan
    found = on_grid(Track(grid(100, 1.0), column(values)), Kind.EFFORT, "hold", grid(100, 1.0), held_valid=True)
    assert np.flatnonzero(~found.valid).tolist() == list(range(20, 30))


def test_a_sparse_command_among_fast_rows_stays_in_force() -> None:
    values = np.full(501, np.nan)
    values[3::5] = np.arange(100.0)
    found = on_grid(Track(grid(500, 1.0), column(values)), Kind.EFFORT, "hold", grid(100, 1.0), held_valid=True)
    assert found.values[1:100, 0].tolist() == np.arange(99.0).tolist()
    assert found.valid[1:].all()
    assert not found.valid[0]


def test_quaternions_keep_their_sign_and_length() -> None:
    time = grid(50, 1.0)
    half = 0.5 * time * 1e-9
    values = np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=1)
    values[::2] *= -1
    found = on_grid(Track(time, values), Kind.ORIENTATION, "linear", grid(60, 0.9)).values
    at = 0.5 * grid(60, 0.9) * 1e-9
    expected = np.stack([np.cos(at), np.sin(at), 0 * at, 0 * at], axis=1)
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=1)), 1.0, atol=1e-7)
    assert (np.sum(found[1:] * found[:-1], axis=1) > 0.99).all()


def test_events_fall_into_their_interval() -> None:
    track = Track(np.array([0, 14, 20, 35]), column(np.array([0.0, 1.0, 0.0, 1.0])))
    ends = on_grid(track, Kind.EVENT, "hold", np.array([0, 10, 20, 30, 40]))
    assert ends.values[:, 0].tolist() == [0, 0, 1, 0, 1]
    begins = on_grid(track, Kind.EVENT, "hold", np.array([0, 10, 20, 30, 40]), held_valid=True)
    assert begins.values[:, 0].tolist() == [0, 1, 0, 1, 0]


def test_never_measured() -> None:
    found = on_grid(Track(grid(10, 1.0), np.full((11, 2), np.nan)), Kind.LINEAR, "linear", grid(10, 1.0), fill=2.5)
    assert not found.valid.any()
    assert (found.values == 2.5).all()
