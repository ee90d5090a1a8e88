"""Times of a log: to integer nanoseconds, in order, cut where the clock was set back or the log paused.

Logged clocks jitter, stand still, jump and start again; what was repaired is counted in flags. This module does not
resample.
"""

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fleet_ingest.formats.arrow import parse_numbers
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "min": 60e9}
_SUFFIX = {
    "s": "s", "sec": "s", "secs": "s", "seconds": "s", "ms": "ms", "msec": "ms", "millis": "ms", "us": "us", "µs": "us",
    "usec": "us", "micros": "us", "ns": "ns", "nsec": "ns", "nanos": "ns", "nanoseconds": "ns", "min": "min",
}  # fmt: skip
_NICE = sorted(
    {m * 10**e for e in range(-2, 5) for m in (1, 1.2, 1.25, 1.5, 2, 2.4, 2.5, 3, 4, 5, 6, 8)}
    | {333.0, 1 / 3 * 1e3, 90.0, 125.0}
)
_INT64_NS = 9.2e18
_CLOCK_TIME = re.compile(r"^\d?\d:\d\d:\d\d(\.\d+)?$")
_OFFSET = re.compile(r":\d\d(\.\d+)?\s*[+-]\d\d:?\d\d$")


def to_ns(values: np.ndarray, unit: str, column: str, format: str | None = None) -> np.ndarray:
    """float64 | int64 | datetime64 | text [n] -> int64 ns [n]; the least int64 where there is no time.

    Raises DataError: `time_not_numbers`, `time_out_of_range`.
    """
    missing = np.iinfo(np.int64).min
    if values.ndim != 1:
        raise DataError(f"time column '{column}' holds lists; times are one number a row", code="time_not_numbers")
    if values.dtype.kind == "M":
        return values.astype("datetime64[ns]").astype(np.int64)
    if format is not None:
        return _parsed(values, column, lambda text: datetime.strptime(text, format), f"as '{format}' says")
    if values.dtype == object:
        numbers, bad = parse_numbers(values)
        if unit == "iso8601" or bad.mean() > 0.5:
            return _iso(values, column)
        values = numbers
    elif unit == "iso8601":
        raise DataError(f"time column '{column}' holds numbers such as {values[0]}, not ISO 8601 texts",
                        code="time_not_numbers",
                        remedy="Set the unit to s, ms, us or ns.")  # fmt: skip
    factor = NS[guess_unit(values, column) if unit == "auto" else unit]
    finite = np.isfinite(values)
    if np.abs(np.where(finite, values, 0).astype(np.float64)).max(initial=0) * factor > _INT64_NS:
        raise DataError(
            f"time column '{column}' in '{unit}' reaches {float(np.nanmax(values)):g}, which is beyond the year 2262",
            code="time_out_of_range", remedy=f"Perhaps its unit is '{guess_unit(values, column)}'.",
        )  # fmt: skip
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * np.int64(factor)
    whole = np.floor(np.where(finite, values, 0))
    fraction = np.where(finite, values, 0) - whole
    ns = whole.astype(np.int64) * np.int64(factor) + np.rint(fraction * factor).astype(np.int64)
    return np.where(finite, ns, missing)


def named_unit(column: str) -> str | None:
    """The unit that a time column's name ends in: `t_ms`, `time [s]`."""
    ending = re.split(r"[_\s\[\](){}.]+", column.strip(" ])}").lower())[-1]
    return _SUFFIX[ending] if ending in _SUFFIX and ending != column.lower() else None


def guess_unit(values: np.ndarray, column: str) -> str:
    """The unit of a time column: by its name's ending, else by the size of dates since 1970, else by the usual step."""
    if (named := named_unit(column)) is not None:
        return named
    numbers = values[np.isfinite(values)].astype(np.float64)
    largest = float(np.abs(numbers).max(initial=0.0))
    for name, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if 6e8 * factor < largest < 5e9 * factor:  # 1989 to 2128
            return name
    steps = np.diff(numbers)
    steps = steps[steps > 0]
    step = float(np.median(steps)) if steps.size else 1.0
    whole = bool(np.all(numbers[:1000] == np.rint(numbers[:1000])))
    if step < 0.5 or (not whole and step < 1.0):
        return "s"
    return "ms" if step < 200 else "us" if step < 1e5 else "ns"


def _iso(values: np.ndarray, column: str) -> np.ndarray:
    """ISO 8601 texts, or times of day, which are counted from midnight."""
    texts = [
        "NaT" if v is None or not str(v).strip() else str(v).strip().replace(",", ".").removesuffix("Z") for v in values
    ]
    if all(text == "NaT" or _CLOCK_TIME.match(text) for text in texts):
        texts = [text if text == "NaT" else f"1970-01-01T{text if text[2] == ':' else '0' + text}" for text in texts]
    if not any(_OFFSET.search(text) for text in texts):
        with contextlib.suppress(ValueError):
            return np.array(texts, dtype="datetime64[ns]").astype(np.int64)
    return _parsed(np.array(texts, dtype=object), column, datetime.fromisoformat, "a number or ISO 8601")


def _parsed(values: np.ndarray, column: str, parse: Callable[[str], datetime], expected: str) -> np.ndarray:
    out = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        text = "NaT" if value is None else str(value).strip()
        try:
            out[row] = np.iinfo(np.int64).min if text in ("NaT", "") else _utc_ns(parse(text))
        except ValueError as error:
            raise DataError(
                f"time column '{column}': {text[:40]!r} in row {row + 1} is not {expected}",
                code="time_not_numbers",
                remedy="For example 2026-05-01T10:00:00.250Z; other ways of writing need 'time: {format: ...}'.",
            ) from error
    return out


def _utc_ns(when: datetime) -> int:
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


class Runs(NamedTuple):
    """Row numbers [n] of each run, in order of time, without repeats; and what was repaired on the way."""

    rows: list[np.ndarray]
    flags: tuple[QualityFlag, ...]


def order(time_ns: np.ndarray, group: np.ndarray, reset_ns: int) -> Runs:
    """Cuts int64 ns [n] into runs: by `group` [n] (equal numbers belong together), and where time goes back far.

    Far is by over `reset_ns`.

    Smaller steps back are sorted, repeated times leave the first row, rows without a time are left out.
    """
    flags: list[QualityFlag] = []
    present = time_ns != np.iinfo(np.int64).min
    if lost := int((~present).sum()):
        flags.append(QualityFlag(code="time_missing", count=lost, detail="rows without a time were left out"))
    rows = np.flatnonzero(present)
    rows = rows[np.argsort(group[rows], kind="stable")]
    step, same = np.diff(time_ns[rows]), np.diff(group[rows]) == 0
    resets = same & (step < -reset_ns)
    if resets.any():
        flags.append(
            QualityFlag(code="clock_reset", count=int(resets.sum()), detail="time went back; a new run begins there")
        )
    run_of = np.concatenate([[0], np.cumsum(resets | ~same)]) if rows.size else np.zeros(0, dtype=np.int64)
    if disorder := int((same & ~resets & (step < 0)).sum()):
        flags.append(QualityFlag(code="time_disordered", count=disorder, detail="rows out of order were sorted"))
    by_time = np.lexsort((time_ns[rows], run_of))
    rows, run_of = rows[by_time], run_of[by_time]
    first = (
        np.concatenate([[True], (np.diff(time_ns[rows]) != 0) | (np.diff(run_of) != 0)])
        if rows.size
        else np.zeros(0, dtype=bool)
    )
    if repeats := int((~first).sum()):
        flags.append(
            QualityFlag(code="time_repeated", count=repeats, detail="of rows with equal times the first was kept")
        )
    rows, run_of = rows[first], run_of[first]
    cuts = np.flatnonzero(np.diff(run_of)) + 1
    return Runs([part for part in np.split(rows, cuts) if part.size], tuple(flags))


def median_period_ns(runs: list[np.ndarray], column: str) -> float:
    """The median step over all runs of times, int64 ns. Raises DataError `too_short` when there is none."""
    steps = np.concatenate([np.diff(times) for times in runs]) if runs else np.zeros(0)
    if not steps.size:
        raise DataError(f"fewer than two rows with different times in '{column}'", code="too_short")
    return float(np.median(steps))


def usual_step_ns(time_ns: np.ndarray) -> float:
    """The median step forward from row to row of int64 ns [n], as logged; 0 when there is none."""
    steps = np.diff(time_ns[time_ns != np.iinfo(np.int64).min])
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0


def check_rate(period_ns: float, unit: str, column: str, expected_hz: float | None) -> None:
    """Raises DataError `time_unit` when the rate cannot be: above 20 kHz, or far off the rate that is expected."""
    rate = 1e9 / period_ns
    off = max(rate / expected_hz, expected_hz / rate) if expected_hz else 1.0
    if rate <= 20_000 and off < 50:
        return
    likely = next((u for u, f in NS.items() if u != "min" and 1 <= rate * NS.get(unit, 1e9) / f <= 2000), None)
    wanted = f", while {expected_hz:g} Hz is expected" if expected_hz else ""
    raise DataError(
        f"time column '{column}' read in '{unit}' gives a row every {period_ns * 1e-9:.3g} s ({rate:.3g} Hz){wanted}",
        code="time_unit",
        remedy=f"Perhaps 'time: {{unit: {likely}}}' is right." if likely else "Check the time column and its unit.",
    )  # fmt: skip


def sensible_rate(period_ns: float) -> float:
    """Hz: the nearest round rate within 4 %, else three significant digits."""
    rate = 1e9 / period_ns
    nearest = min(_NICE, key=lambda nice: abs(np.log(nice / rate)))
    return float(nearest) if abs(nearest / rate - 1) < 0.04 else float(f"{rate:.3g}")


def pieces(time_ns: np.ndarray, gap_ns: float) -> list[slice]:
    """The stretches of increasing int64 ns [n] without a step over `gap_ns`."""
    cuts = [0, *(np.flatnonzero(np.diff(time_ns) > gap_ns) + 1).tolist(), len(time_ns)]
    return [slice(a, b) for a, b in pairwise(cuts)]
