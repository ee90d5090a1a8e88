"""JSON messages become the same columns whether a batch is decoded by column or leaf by leaf."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_ingest.formats import decoders
from fleet_ingest.formats.columns import Columns
from fleet_ingest.formats.decoders import JsonDecoder

LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=3),
    st.lists(st.floats(-1e9, 1e9), max_size=3),
)  # fmt: skip
ROW = st.fixed_dictionaries({"a": LEAF, "b": LEAF, "c.d": LEAF})
ODD = st.dictionaries(st.sampled_from(["", "a", "b", "value"]), st.one_of(LEAF, ROW, st.lists(ROW, max_size=2)))


def decoded(rows: list[object]) -> dict[str, list[object]]:
    columns = Columns()
    bad = JsonDecoder().decode([json.dumps(row).encode() for row in rows], 0, columns)
    found = {name: values.tolist() for name, values in columns.finish(int((~bad).sum())).items()}
    return found | {"left out": [columns.left_out]}


@settings(max_examples=150, deadline=None)
@given(rows=st.one_of(st.lists(ROW, min_size=1, max_size=6), st.lists(ODD, min_size=1, max_size=4)))
def test_both_ways_give_the_same(rows: list[object]) -> None:
    by_column = decoded(rows)
    whole = decoders._alike
    try:
        decoders._alike = lambda values: None  # type: ignore[assignment]
        leaf_by_leaf = decoded(rows)
    finally:
        decoders._alike = whole
    np.testing.assert_equal(by_column, leaf_by_leaf)


@pytest.mark.parametrize(
    ("rows", "alike"),
    [
        ([{"a": 1.0}, {"a": 2.0}], True), ([{"a": 1.0}, {"b": 2.0}], False), ([{"a": {"b": 1}}], False),
        ([{"a": [{"b": 1}]}], False), ([{"": 1}], False), ([1, 2], False), ([], False),
    ],
)  # fmt: skip
def test_only_flat_objects_with_equal_keys_are_taken_by_column(rows: list[object], alike: bool) -> None:
    assert (decoders._alike(rows) is not None) == alike
