"""Which logs go when the disk is full: copies of what the server keeps, then the least urgent, the oldest first.

A log never pushes out one that is worth more. Pure functions; the spool does the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet_ingest.robot.protocol import PRIORITIES


@dataclass(frozen=True)
class Candidate:
    """A log on the disk; `verified`: the server keeps it too."""

    sha256: str
    size: int
    priority: str
    verified: bool


@dataclass(frozen=True)
class Tombstone:
    """A log that left the disk without an upload being the reason. `verified`: 1 when the server has it, else 0."""

    sha256: str
    size: int
    priority: str
    assignment: str
    episode: int
    name: str | None
    verified: int
    reason: str
    evicted_ns: int


def victims(candidates: Sequence[Candidate], missing: int, priority: str, *, displace: bool) -> list[Candidate] | None:
    """The logs (of `candidates`, oldest first) that make `missing` bytes of room for one of `priority`.

    `displace`: logs of equal priority may go as well. None when all that may go is not enough: then nothing goes.
    """
    urgency = PRIORITIES.index(priority)
    least = urgency if displace else urgency + 1
    may_go = [c for c in candidates if c.verified or PRIORITIES.index(c.priority) >= least]
    may_go.sort(key=lambda c: (not c.verified, -PRIORITIES.index(c.priority)))
    chosen: list[Candidate] = []
    for candidate in may_go:
        if missing <= 0:
            break
        chosen.append(candidate)
        missing -= candidate.size
    return chosen if missing <= 0 else None
