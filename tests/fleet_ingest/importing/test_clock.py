"""Clocks as loggers leave them: units, ISO dates, repeats, disorder, resets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_ingest import clock
from storage.contracts.errors import DataError

MISSING = np.iinfo(np.int64).min


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        (np.array([0.0, 0.002, 1.5]), "s", [0, 2_000_000, 1_500_000_000]),
        (np.array([0, 2, 3]), "ms", [0, 2_000_000, 3_000_000]),
        (np.array([1_700_000_000_123_456_789]), "ns", [1_700_000_000_123_456_789]),
        (np.array([0.5, np.nan]), "us", [500, MISSING]),
        (np.array(["2026-01-01T00:00:00.250Z", None], dtype=object), "iso8601", [1_767_225_600_250_000_000, MISSING]),
        (np.array(["2026-01-01 02:00:00,5+02:00"], dtype=object), "auto", [1_767_225_600_500_000_000]),
        (np.array(["0.5", "1"], dtype=object), "s", [500_000_000, 1_000_000_000]),
        (np.array([1_000], dtype="datetime64[ms]"), "auto", [1_000_000_000]),
    ],
)
def test_units(values: np.ndarray, unit: str, expected: list[int]) -> None:
    assert clock.to_ns(values, unit, "t").tolist() == expected


def test_times_of_day_and_written_dates() -> None:
    day = np.array(["9:59:59.5", "10:00:00", ""], dtype=object)
    assert clock.to_ns(day, "iso8601", "t").tolist() == [35_999_500_000_000, 36_000_000_000_000, MISSING]
    dates = np.array(["31/01/1970 00:00:01", "01/02/1970 00:00:00"], dtype=object)
    found = clock.to_ns(dates, "auto", "t", "%d/%m/%Y %H:%M:%S")
    assert found.tolist() == [(30 * 86_400 + 1) * 10**9, 31 * 86_400 * 10**9]
    with pytest.raises(DataError, match="in row 2 is not as '%H'"):
        clock.to_ns(np.array(["1", "x"], dtype=object), "auto", "t", "%H")


@pytest.mark.parametrize(
    ("values", "name", "unit"),
    [
        (np.arange(100) * 0.01, "t", "s"), (np.arange(100) * 10, "t", "ms"), (np.arange(100) * 2_000, "t", "us"),
        (np.arange(100) * 2_000_000, "t", "ns"), (np.arange(100) * 2.0, "t_s", "s"),
        (np.arange(100) * 2.0, "time [ms]", "ms"),
        (1_464_818_234.3 + np.arange(9) * 0.1, "Time", "s"), (1_464_818_234_000 + np.arange(9), "stamp", "ms"),
        (1_464_818_234_000_000_000 + np.arange(9), "stamp", "ns"),
    ],
)  # fmt: skip
def test_the_unit_is_told_from_the_name_the_date_or_the_step(values: np.ndarray, name: str, unit: str) -> None:
    assert clock.guess_unit(values, name) == unit


def test_unusable_times_say_why() -> None:
    with pytest.raises(DataError, match="'noon' in row 2") as caught:
        clock.to_ns(np.array(["2026-01-01", "noon"], dtype=object), "iso8601", "t")
    assert caught.value.code == "time_not_numbers"
    with pytest.raises(DataError, match="beyond the year 2262"):
        clock.to_ns(np.array([1.7e18]), "s", "t")
    with pytest.raises(DataError, match=r"500 MHz|5e\+08 Hz") as caught:
        clock.check_rate(2.0, "ns", "t", None)
    assert "ms" in caught.value.remedy
    with pytest.raises(DataError, match="while 500 Hz is expected"):
        clock.check_rate(2e9, "s", "t", 500.0)
    clock.check_rate(2e9, "s", "t", None)


def test_repeats_disorder_and_resets_are_repaired_and_counted() -> None:
    second = 10**9
    times = np.array([0, 1, 1, 3, 2, MISSING, 4, 100, 101, 0, 1]) * second
    times[5] = MISSING
    found = clock.order(times, np.zeros(11, dtype=np.int64), 5 * second)
    assert [rows.tolist() for rows in found.rows] == [[0, 1, 4, 3, 6, 7, 8], [9, 10]]
    assert {flag.code: flag.count for flag in found.flags} == {
        "time_missing": 1, "clock_reset": 1, "time_disordered": 1, "time_repeated": 1
    }  # fmt: skip


def test_groups_are_runs_of_their_own_even_when_interleaved() -> None:
    times = np.array([0, 0, 1, 1, 2, 2])
    found = clock.order(times, np.array([0, 1, 0, 1, 0, 1]), 10)
    assert [rows.tolist() for rows in found.rows] == [[0, 2, 4], [1, 3, 5]]
    assert not found.flags


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60), st.integers(0, 500))
def test_runs_increase_and_lose_only_repeats(times: list[int], reset: int) -> None:
    stamps = np.array(times, dtype=np.int64)
    found = clock.order(stamps, np.zeros(len(times), dtype=np.int64), reset)
    for rows in found.rows:
        assert (np.diff(stamps[rows]) > 0).all()
    lost = sum(flag.count for flag in found.flags if flag.code == "time_repeated")
    kept = [row for rows in found.rows for row in rows]
    assert len(kept) + lost == len(times)
    assert len(set(kept)) == len(kept)


@pytest.mark.parametrize(
    ("period_ns", "rate"),
    [(2e6, 500), (2.01e6, 500), (3.333e6, 300), (1e9 / 30, 30), (4e6, 250), (8e6, 125), (1e9 / 47, 47.0)],
)
def test_sensible_rates(period_ns: float, rate: float) -> None:
    assert clock.sensible_rate(period_ns) == pytest.approx(rate, rel=0.01)
