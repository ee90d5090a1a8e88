"""What the repositories of the catalog share: the clock, JSON in text columns, and `IN` over long lists."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from storage.catalog.database import Database
from storage.contracts.canonical import canonical_json

T = TypeVar("T")

_BATCH = 500


class Repository:
    """A group of tables of one catalog. Every public method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database


def now_ns() -> int:
    """UTC, nanoseconds since the epoch."""
    return time.time_ns()


def to_text(value: Any) -> str:
    """Canonical JSON text. Raises ContractError for what JSON cannot hold, NaN included."""
    return canonical_json(value).decode()


def from_text(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def batches(values: Iterable[T]) -> Iterator[Sequence[T]]:
    """Parts of at most 500, because a statement has a limited number of parameters."""
    found = list(values)
    for start in range(0, len(found), _BATCH):
        yield found[start : start + _BATCH]
