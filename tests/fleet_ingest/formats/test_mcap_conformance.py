"""The format's official conformance suite, read by our reader: every record with every field as expected."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleet_ingest.formats.mcap_records import read_records
from fleet_ingest.formats.rawlog import Limits

SUITE = Path(__file__).parents[4] / "shared" / "data" / "mcap_conformance"
FILES = sorted(SUITE.rglob("*.mcap"))

pytestmark = pytest.mark.skipif(
    not FILES, reason="the MCAP conformance suite is not at ../shared/data/mcap_conformance"
)


def as_text(value: Any) -> Any:
    """Fields in the suite's notation: numbers as decimal text, bytes as lists of such."""
    if isinstance(value, bytes):
        return [str(byte) for byte in value]
    if isinstance(value, dict):
        return {str(key): as_text(inner) for key, inner in value.items()}
    return value if isinstance(value, str) else str(value)


def described(record: Any) -> dict[str, Any]:
    fields = {key: as_text(value) for key, value in vars(record).items()}
    return {"type": type(record).__name__, "fields": sorted([key, value] for key, value in fields.items())}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_records_are_as_expected(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())["records"]
    with path.open("rb") as file:
        found = [described(record) for record in read_records(file, path.name, Limits())]
    assert len(FILES) == 416
    wanted = [{"type": r["type"], "fields": sorted([k, v] for k, v in r.get("fields", []))} for r in expected]
    assert found == wanted
