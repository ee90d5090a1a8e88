"""Finds packages that a killed pip left half installed, so that the next run installs them afresh.

pip calls a package installed as soon as its ``.dist-info`` has metadata; whether its files are all there, only the
RECORD tells (https://packaging.python.org/en/latest/specifications/recording-installed-packages/). Does not download
or install.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path


def is_whole(info: Path) -> bool:
    """Whether every file that the RECORD of a ``.dist-info`` folder lists exists with the size it gives."""
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as handle:
            rows = [(row[0], row[2]) for row in csv.reader(handle) if len(row) == 3 and not row[0].endswith(".pyc")]
        return bool(rows) and all(_has(info.parent / name, size) for name, size in rows)
    except (OSError, ValueError):
        return False


def _has(path: Path, size: str) -> bool:
    return path.exists() and (not size or path.stat().st_size == int(size))


def forget_damaged(venv: Path, say: Callable[[str], None]) -> list[str]:
    """Removes the metadata of half-installed packages and pip's own leftovers from ``venv``. Returns their names."""
    forgotten = []
    for site in venv.glob("lib/python3*/site-packages"):
        for leftover in site.glob("~*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for info in site.glob("*.dist-info"):
            if not is_whole(info):
                shutil.rmtree(info)
                forgotten.append(info.name.removesuffix(".dist-info"))
    if forgotten:
        say(
            f"repairs {len(forgotten)} packages that an interrupted run left behind: {', '.join(sorted(forgotten)[:5])}"
        )
    return forgotten
