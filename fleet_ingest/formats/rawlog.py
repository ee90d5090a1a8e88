"""What every log format is read into: named series of numbers, text or times, before any meaning is given to them.

A table gives one series a column, all with `time_ns` None: which column is the time is the mapping's business. A
message log gives one series a field of a topic, each with its own times. This module gives no units and drops no
samples.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

Integrity = Literal["checksums", "partial", "none"]
"""Do checksums of the file cover all of its data, a part of it, or none."""


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


@dataclass(frozen=True)
class Topic:
    """One topic, or the table as a whole: how many messages or rows were decoded and how many the file says there are.

    `said` is None where the file keeps no statistics; `reason` says why messages could not be decoded.
    """

    name: str
    decoded: int
    said: int | None = None
    type: str = ""
    encoding: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Salvage:
    """What was kept of a broken file: `kept` messages or rows; data were lost from byte `lost_from_byte` on."""

    kept: int
    lost_from_byte: int | None
    file_bytes: int


@dataclass(frozen=True)
class Media:
    """A clip that belongs to the log and stays a file of its own.

    `start_ns` and `end_ns` are when the clip begins and ends on the clock of the episode (or of the log, where
    `episode` is None).
    """

    name: str
    path: Path
    sha256: str
    media_type: str
    start_ns: int
    end_ns: int
    frames: int
    episode: int | None = None


@dataclass(frozen=True, eq=False)
class RawLog:
    """A log as read.

    Attributes:
        names: every series the file holds, also those that were not asked for.
        metadata: the file's own facts, as text.
        salvage: what was wrong and could be read around; empty for a sound file.
        topics: counts beside the file's own statistics.
        integrity: whether checksums cover the data.
        salvaged: where data were lost, None for a whole file.
        media: clips beside the log.
    """

    format: str
    series: dict[str, Series]
    names: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    salvage: tuple[QualityFlag, ...] = ()
    topics: tuple[Topic, ...] = ()
    integrity: Integrity = "none"
    salvaged: Salvage | None = None
    media: tuple[Media, ...] = ()

    @property
    def is_table(self) -> bool:
        """One table whose rows share their times, rather than topics that each have their own."""
        return all(series.time_ns is None for series in self.series.values())


def too_large(what: str, given: int, limit: int) -> DataError:
    """DataError(code="too_large") for a count or size over its limit."""
    return DataError(
        f"{what}: {given:,} is over the limit of {limit:,}; the file was not read",
        code="too_large",
        remedy="Split the log into smaller files, or leave out the columns that no channel uses.",
    )


def count_flags(topics: tuple[Topic, ...]) -> tuple[QualityFlag, ...]:
    """A flag for each topic whose decoded count is not what the file says, or that could not be decoded."""
    flags = []
    for topic in topics:
        if topic.said is not None and topic.decoded != topic.said:
            code = "undecoded_topic" if topic.decoded == 0 and topic.reason else "count_mismatch"
            why = f": {topic.reason}" if topic.reason else ""
            detail = f"'{topic.name}': {topic.decoded:,} read, the file says {topic.said:,}{why}"
            lost = abs(topic.said - topic.decoded)
            flags.append(QualityFlag(code=code, channel=topic.name or None, count=lost, detail=detail[:500]))
    return tuple(flags)


class Damaged(DataError):
    """DataError `truncated` or `corrupt` of a file whose complete records before byte `offset` are sound."""

    def __init__(self, message: str, *, code: str, offset: int, remedy: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.offset = offset
