"""The README's generated parts are those of the committed results."""

import re
from importlib.util import find_spec
from typing import Any

from tests.benchmarks import readme


def figure(value: float, ci95: list[float] | None = None) -> dict[str, Any]:
    return {"value": value, "unit": "ratio", "n": 8, "ci95": ci95}


def test_readme_is_current() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run: python -m tests.benchmarks.readme"


def test_the_benchmarks_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"python -m (tests\.benchmarks[\w.]*[a-z_])", readme.README.read_text(encoding="utf-8")))
    assert len(named) > 10
    assert [name for name in sorted(named) if find_spec(name) is None] == []


def test_a_table_holds_what_has_a_target_and_names_what_was_not_measured() -> None:
    result = {
        "machine": "m",
        "commit": "c",
        "figures": {"error at 0.1 s": figure(0.8), "error at 1 s": figure(1.2, [0.9, 1.5]), "aside": figure(3.0)},
        "targets": {name: {"limit": 1.0, "better": "lower"} for name in ("error at 0.1 s", "error at 1 s", "gone")},
        "missed": ["error at 1 s", "gone"],
    }
    rows = readme.compact_table(result).splitlines()
    assert rows[2] == "| error | 0.1 s: 0.8 ratio<br>1 s: 1.2 [0.9, 1.5] ratio | 8 | at most 1 | **missed** at 1 s |"
    assert rows[3] == "| gone | not measured |  | at most 1 | **missed** |"
    assert "aside" not in "".join(rows)
    assert "| aside | 3 ratio | 8 |  |  |" in readme.compact_table(result, ("as.*",))


def test_formats_are_shown_by_their_worst() -> None:
    names = ["a: truncations kept", "b: truncations kept"]
    result = {
        "figures": dict(zip(names, (figure(1.0), figure(0.5)), strict=True)),
        "targets": {name: {"limit": 1.0, "better": "higher"} for name in names},
        "missed": names[1:],
    }
    worst = readme._worst_formats(result)
    assert worst["figures"] == {"truncations kept, worst format": figure(0.5) | {"n": 16}}
    assert worst["missed"] == ["truncations kept, worst format"]
