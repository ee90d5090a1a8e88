"""Damage to log files, and what the validator makes of it: the part of `ingest_formats` that breaks files.

A damaged file is *flagged* when its verdict is not `accepted`, or carries a flag that the whole file does not. When it
is not flagged its contents are compared with the whole file's: equal ones are *harmless* (padding, unused bytes),
others are *silent*. Nothing here writes results.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from rosbags.rosbag1 import Reader as BagReader

from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.formats.read import read_log
from fleet_ingest.validate import Sandbox, Verdict

KILLED = {"too_costly", "breaks_reader"}


@dataclass
class Outcome:
    """Counts over the damaged copies of one file."""

    n: int = 0
    digest: int = 0
    flagged: int = 0
    harmless: int = 0
    silent: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    hung: int = 0
    states: Counter[str] = field(default_factory=Counter)
    salvage_n: int = 0
    salvage_whole: int = 0
    wrong_prefix: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


def truncations(data: bytes, count: int, rng: np.random.Generator) -> list[tuple[str, int, bytes]]:
    """(name, first byte lost, bytes)."""
    cuts = sorted(rng.choice(np.arange(1, len(data)), size=min(count, len(data) - 1), replace=False).tolist())
    return [(f"cut at {cut}", cut, data[:cut]) for cut in cuts]


def flips(data: bytes, count: int, rng: np.random.Generator) -> list[tuple[str, int, bytes]]:
    """(name, byte changed, bytes): one bit each."""
    made = []
    for at, bit in zip(rng.integers(0, len(data), count).tolist(), rng.integers(0, 8, count).tolist(), strict=True):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        made.append((f"bit {bit} of byte {at}", at, bytes(changed)))
    return made


def run(path: Path, cases: list[tuple[str, int, bytes]], sandbox: Sandbox, ends: list[int]) -> Outcome:
    """Damages the file at `path` in place, case by case, and restores it.

    `ends` are the bytes behind which each message or row is complete, sorted; empty where salvage is not judged.
    """
    whole = path.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    before, contents = sandbox.inspect(path), read_log(path)
    usual = Counter((flag.code, flag.channel) for flag in before.flags)
    outcome = Outcome()
    try:
        for name, at, data in cases:
            path.write_bytes(data)
            outcome.n += 1
            outcome.digest += hashlib.sha256(data).hexdigest() != digest
            _judge(outcome, name, at, sandbox.inspect(path), usual, path, contents, ends)
    finally:
        path.write_bytes(whole)
    return outcome


def _judge(
    outcome: Outcome, name: str, at: int, verdict: Verdict, usual: Counter[tuple[str, str | None]], path: Path,
    contents: RawLog, ends: list[int],
) -> None:  # fmt: skip
    outcome.states[verdict.state] += 1
    outcome.hung += verdict.code == "too_slow"
    if verdict.code in KILLED or "the reader failed on it" in verdict.detail:
        outcome.killed.append(f"{name}: {verdict.code}: {verdict.detail[:160]}")
    new = Counter((flag.code, flag.channel) for flag in verdict.flags) - usual
    if verdict.state != "accepted" or new:
        outcome.flagged += 1
    elif _same(read_log(path), contents):
        outcome.harmless += 1
    else:
        outcome.silent.append(name)
    if ends and verdict.state != "accepted":
        complete = int(np.searchsorted(ends, at, side="right"))
        if complete:
            outcome.salvage_n += 1
            kept = _kept(verdict)
            outcome.salvage_whole += kept >= complete
            if verdict.state == "salvaged" and at > ends[complete - 1] and not _begins_like(read_log(path), contents):
                outcome.altered.append(f"{name}: other values than the whole file has before its damage")
            if kept < complete:
                outcome.wrong_prefix.append(f"{name}: {kept} of {complete} ({verdict.code}: {verdict.detail[:100]})")


def _kept(verdict: Verdict) -> int:
    """Messages or rows that came out."""
    return sum(topic["decoded"] for topic in (verdict.card or {}).get("topics", ()))


def _begins_like(found: RawLog, whole: RawLog) -> bool:
    """Are the first rows of every series those of the whole file, the last tenth (where damage may lie) left out."""
    for name, series in found.series.items():
        other = whole.series.get(name)
        rows = int(len(series.values) * 0.9)
        if other is None or other.values.shape[1:] != series.values.shape[1:]:
            return False
        floats = other.values.dtype.kind == "f" and series.values.dtype.kind == "f"
        if not np.array_equal(series.values[:rows], other.values[:rows], equal_nan=floats):
            return False
    return True


def _same(found: RawLog, whole: RawLog) -> bool:
    if set(found.series) != set(whole.series) or found.metadata != whole.metadata:
        return False
    for name, series in whole.series.items():
        other = found.series[name]
        equal = other.values.dtype.kind == series.values.dtype.kind and other.values.shape == series.values.shape
        if not equal or not np.array_equal(other.values, series.values, equal_nan=series.values.dtype.kind == "f"):
            return False
        if (series.time_ns is None) != (other.time_ns is None):
            return False
        if series.time_ns is not None and not np.array_equal(series.time_ns, other.time_ns):
            return False
    return True


def mcap_ends(path: Path) -> list[int]:
    """Ends of the chunks, one entry a message, by the library's own summary."""
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
        chunks = sorted(summary.chunk_indexes, key=lambda c: c.chunk_start_offset)
        ends: list[int] = []
        for chunk in chunks:
            starts, stop = chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length
            with path.open("rb") as again:
                reader = make_reader(again)
                count = sum(1 for _ in reader.iter_messages(starting_at=chunk.message_start_time,
                                                            ending_at=chunk.message_end_time))  # fmt: skip
            ends += [stop] * count if starts >= 0 else []
    return ends


def bag_ends(path: Path) -> list[int]:
    """Ends of the chunks, one entry a message, by rosbags' reader; a chunk ends where its index records begin."""
    with BagReader(path) as reader:
        infos = sorted(reader.chunk_infos, key=lambda info: info.pos)
        data = path.read_bytes()
        ends: list[int] = []
        for info in infos:
            head = int.from_bytes(data[info.pos : info.pos + 4], "little")
            size = int.from_bytes(data[info.pos + 4 + head : info.pos + 8 + head], "little")
            ends += [info.pos + 8 + head + size] * sum(info.connection_counts.values())
    return ends


def ulog_ends(path: Path) -> list[int]:
    """Ends of the samples' frames, by the specification's framing."""
    data, at, ends = path.read_bytes(), 16, []
    while at + 3 <= len(data):
        size, kind = int.from_bytes(data[at : at + 2], "little"), data[at + 2]
        at += 3 + size
        ends += [at] if kind == ord("D") else []
    return ends


def csv_ends(path: Path) -> list[int]:
    """Ends of the rows, the header left out."""
    return [found.end() for found in re.finditer(rb"\n", path.read_bytes())][1:]


ENDS: dict[str, Callable[[Path], list[int]]] = {
    "mcap (CDR)": mcap_ends, "mcap (JSON)": mcap_ends, "mcap (protobuf)": mcap_ends, "rosbag1": bag_ends,
    "ulog": ulog_ends, "csv": csv_ends,
}  # fmt: skip
