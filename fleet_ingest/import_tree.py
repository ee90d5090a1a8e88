"""Imports files and folders of logs: finds them by the mapping's glob, checks the mapping on them, takes in each by
itself.

A mapping that fits no file is an error before anything is stored; a file that it does not fit, among others that it
does, is quarantined. This module opens no store and no catalog; it is given both.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fleet_ingest.ingest import QUARANTINED, IngestResult, Progress, Store, ingest_file
from fleet_ingest.mapping import Mapping
from fleet_ingest.path_pattern import PathPattern
from fleet_ingest.validate import Sandbox, Verdict
from storage.contracts.errors import ContractError, InputError

MAPPING_CODES = frozenset(
    {"missing_column", "missing_time", "missing_index", "not_numbers", "wrong_type", "width", "time_unit",
     "time_not_numbers", "time_out_of_range", "wrong_separator", "wrong_format", "header_mismatch", "different_topics",
     "mapping"}
)  # fmt: skip
"""Reasons that a mapping can be to blame for; the other ones are the file's."""

_RATE_FILES = 20
_NO_SHA = "0" * 64


def import_tree(
    paths: Sequence[Path],
    mapping: Mapping | None,
    *,
    store: Store,
    catalog: Any,
    robot: str | None = None,
    notes: str = "",
    progress: Progress | None = None,
    sandbox: Sandbox | None = None,
) -> list[IngestResult]:
    """Takes in every log under `paths`, in the order of their paths; one result a file.

    `robot` overrides the mapping's serial name; `notes` are an operator's words, kept with every episode (with a
    mapping).
    Raises InputError when a path does not exist, no file fits the glob, or the mapping fits none of the files.
    """
    tell = progress or (lambda share, text: None)
    files = find_logs(paths, mapping)
    with Sandbox() if sandbox is None else _Kept(sandbox) as child:
        if mapping is not None:
            tell(0.0, f"checking the mapping on {len(files)} files")
            mapping = fitted(files, mapping.with_notes(notes), child, robot)
        results = []
        for index, file in enumerate(files):
            tell(index / len(files), f"{index + 1} of {len(files)}: {file.name}")
            results.append(_one(file, mapping, robot, store, catalog, child))
    tell(1.0, summary(results))
    return results


def find_logs(paths: Sequence[Path], mapping: Mapping | None) -> list[Path]:
    """The files given, and those under the folders given that fit the mapping's glob (without one: `*.mcap`), sorted.

    Hidden files are left out, links out of a folder are not followed. Raises InputError that says what is there
    instead.
    """
    pattern = PathPattern(mapping.files if mapping is not None else "**/*.mcap")
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            found |= dict.fromkeys(p for p in _walk(path) if pattern.match(p.relative_to(path).as_posix()) is not None)
        else:
            raise InputError(f"no such file or folder: {path}")
    if not found:
        there = Counter(p.suffix or "(no ending)" for path in paths for p in _walk(path))
        listed = ", ".join(f"{n} {suffix}" for suffix, n in there.most_common(6)) or "nothing"
        where = ", ".join(str(p) for p in paths)
        remedy = "Correct 'files' in the mapping." if mapping is not None else "Give a mapping: --map MAP.yaml."
        raise InputError(f"no log under {where} fits '{pattern.text}'; there are {listed}", remedy=remedy)
    return sorted(found, key=lambda p: p.as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(root, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(root, name).is_file() and not Path(root, name).is_symlink()
        )


def fitted(files: Sequence[Path], mapping: Mapping, sandbox: Sandbox, robot: str | None = None) -> Mapping:
    """The mapping, with its rate fixed when it has none: the one that most of the first files have.

    Raises InputError with the first reason when the mapping fits none of the files; files that are broken say nothing
    about it.
    """
    first: tuple[Path, Verdict] | None = None
    rates: Counter[float] = Counter()
    with tempfile.TemporaryDirectory(prefix="fit-") as work:
        for file in files:
            verdict = _tried(file, mapping, sandbox, robot, Path(work))
            if verdict.state == QUARANTINED:
                if verdict.code in MAPPING_CODES:
                    first = first or (file, verdict)
                continue
            rates[verdict.rate_hz] += 1
            if mapping.rate_hz is not None or sum(rates.values()) >= _RATE_FILES:
                return mapping
    if rates:
        return mapping.at_rate(min(rates, key=lambda rate: (-rates[rate], rate)))
    if first is not None:
        many = f"; nor any other of {len(files)} files" if len(files) > 1 else ""
        message = f"the mapping does not fit {first[0]}: {first[1].detail}{many}"
        raise InputError(message, remedy=first[1].remedy)
    return mapping


def _tried(file: Path, mapping: Mapping, sandbox: Sandbox, robot: str | None, work: Path) -> Verdict:
    name = file.absolute().as_posix()
    try:
        mapping.facts_of(name, robot=robot)
    except ContractError as error:
        return Verdict("quarantined", "mapping", str(error), "Correct 'path' in the mapping, or give --robot.")
    return sandbox.read(file, mapping, raw_sha256=_NO_SHA, out=work, logical_path=name, robot=robot)


def _one(
    file: Path, mapping: Mapping | None, robot: str | None, store: Store, catalog: Any, sandbox: Sandbox
) -> IngestResult:
    try:
        return ingest_file(file, store=store, catalog=catalog, mapping=mapping, robot=robot, sandbox=sandbox)
    except InputError as error:
        if mapping is None:
            raise
        return IngestResult(str(file), robot or "", None, "", "quarantined", "mapping", str(error), error.remedy)


def summary(results: Sequence[IngestResult]) -> str:
    """One line: how many files became how many episodes and seconds of how many robots."""
    states = Counter(result.state for result in results)
    robots = {result.robot for result in results if result.episodes}
    seconds = sum(result.duration_s for result in results)
    episodes = sum(len(result.episodes) for result in results)
    parts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(results)} files ({parts}): {episodes} episodes, {seconds:.1f} s, {len(robots)} robots"


class _Kept:
    """A sandbox that somebody else closes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def __enter__(self) -> Sandbox:
        return self._sandbox

    def __exit__(self, *error: object) -> None:
        return None
