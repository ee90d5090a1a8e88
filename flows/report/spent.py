"""Where the time of a campaign went: seconds of wall clock by step and iteration. It measures nothing itself.

A step that was found done counts the seconds that it took when it ran.
"""

from collections.abc import Mapping, Sequence
from typing import Any

BETWEEN = "between steps"
"""What an iteration takes beside its steps: datasets, the catalog, the scheduler."""
_ORDER = ("train simulator", "score", "train policy", "robots", "score new logs", BETWEEN)
Record = Mapping[str, Any]


def between_steps(elapsed_s: float, by_step: Mapping[str, float]) -> float:
    """Seconds of an iteration that no step accounts for; 0 where it found steps done, which took their time before."""
    return round(max(0.0, elapsed_s - sum(by_step.values())), 3)


def step_names(records: Sequence[Record]) -> list[str]:
    """All steps of `records`, in the order in which they ran (the catalog keeps none), others first."""
    found = dict.fromkeys(name for record in records for name in record["wall_seconds_by_step"])
    return sorted(found, key=lambda name: _ORDER.index(name) if name in _ORDER else -1)


def time_table(records: Sequence[Record], before_s: float | None = None) -> dict[str, Any]:
    """Columns and rows: an iteration a row, and first what came before the iterations, where that is known."""
    names = step_names(records)
    rows = [
        [
            f"iteration {record['iteration']}",
            *(_seconds(record["wall_seconds_by_step"].get(name)) for name in names),
            _seconds(sum(record["wall_seconds_by_step"].values())),
        ]
        for record in records
    ]
    if before_s is not None:
        rows.insert(0, ["first logs", *("-" for _ in names), _seconds(before_s)])
    return {"columns": ["seconds", *names, "all"], "rows": rows}


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
