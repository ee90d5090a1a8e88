"""What every log format is read into: named series of numbers, text or times, before any meaning is given to them.

A table gives one series a column, all with `time_ns` None: which column is the time is the mapping's business. A
message log gives one series a field of a topic, each with its own times. This module gives no units and drops no
samples.
"""

from dataclasses import dataclass, field

import numpy as np

from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError


@dataclass(frozen=True)
class Limits:
    """What a file may cost to read; beyond, it is refused with code `too_large`. Bytes, counts and seconds."""

    file_bytes: int = 4 << 30
    rows: int = 20_000_000
    values: int = 200_000_000
    columns: int = 10_000
    record_bytes: int = 64 << 20
    chunk_bytes: int = 256 << 20
    expanded_bytes: int = 2 << 30
    memory_bytes: int = 6 << 30
    cpu_s: float = 240.0
    wall_s: float = 300.0


@dataclass(frozen=True, eq=False)
class Series:
    """One signal as logged.

    Attributes:
        values: [n] or [n, k]; float64 or int64 numbers, datetime64[ns], or objects (str or None).
        time_ns: int64 [n], None for a column of a table.
        group: the topic; empty for a table.
    """

    values: np.ndarray
    time_ns: np.ndarray | None = None
    group: str = ""


@dataclass(frozen=True, eq=False)
class RawLog:
    """A log as read.

    Attributes:
        names: every series the file holds, also those that were not asked for.
        metadata: the file's own facts, as text.
        salvage: what was wrong and could be read around; empty for a sound file.
    """

    format: str
    series: dict[str, Series]
    names: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    salvage: tuple[QualityFlag, ...] = ()


def too_large(what: str, given: int, limit: int) -> DataError:
    """DataError(code="too_large") for a count or size over its limit."""
    return DataError(
        f"{what}: {given:,} is over the limit of {limit:,}; the file was not read",
        code="too_large",
        remedy="Split the log into smaller files, or leave out the columns that no channel uses.",
    )
