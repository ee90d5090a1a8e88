"""Canonical JSON and digests: equal content has equal bytes, now and in later versions."""

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.contracts.canonical import canonical_json, digest_of
from storage.contracts.channel import Channel, Kind
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)

GOLDEN = "a5bd9ecd266c287de5bfd15deaff06fed6688b86eb2e81f9645e2850219513c7"


def test_golden_digest() -> None:
    """Changes only when the contract of a robot changes: then everything that is keyed by it is made anew.

    The text is spelled out, so that `printf '%s' TEXT | sha256sum` gives the digest.
    """
    lamp = RobotSpec(
        name="lamp", control_rate_hz=1, channels=(Channel(name="on", kind=Kind.CATEGORY, labels=("a", "ä")),)
    )
    text = (
        '{"channels":[{"derivative_of":null,"entity":"robot","frame":null,"kind":"category","labels":["a","ä"],'
        '"latency_s":0.0,"limits":null,"name":"on","rate_hz":null,"resolution":null,"role":"state","size":1,"unit":"1"}],'
        '"control_rate_hz":1.0,"entities":[{"axis":null,"damping":null,"features":{},"friction":null,"gear":null,'
        '"inertia_kgm2":null,"joint_type":null,"length_m":null,"limits":null,"mass_kg":null,"name":"robot","parent":null,'
        '"type":"other"}],"name":"lamp","safe_command":null,"source_text":"","version":1}'
    )
    assert lamp.to_json().decode() == text
    assert lamp.digest == hashlib.sha256(text.encode()).hexdigest() == GOLDEN


@given(JSON)
def test_canonical_json_is_json_and_stable(value: object) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_spelling_by_hand() -> None:
    value = {"b": (1, 2.5), "a": "ä\n", "c": 0.1 + 0.2}
    assert canonical_json(value).decode() == '{"a":"ä\\n","b":[1,2.5],"c":0.30000000000000004}'
    assert digest_of({}) == hashlib.sha256(b"{}").hexdigest()


NOT_JSON = [math.nan, math.inf, {1, 2}, b"bytes", object(), {"a": [math.nan]}, "\ud800", {("a",): 1}]


@pytest.mark.parametrize("value", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ContractError, match="cannot be written as canonical JSON"):
        canonical_json(value)


def test_endless_nesting_is_refused() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ContractError):
        canonical_json(nested)
    nested = []
    nested.append(nested)
    with pytest.raises(ContractError):
        canonical_json(nested)


def test_a_copy_has_a_digest_of_its_own(pendulum_spec: RobotSpec) -> None:
    assert pendulum_spec.state_layout.width == 2
    before = pendulum_spec.digest
    copy = pendulum_spec.model_copy(update={"channels": pendulum_spec.channels[:1]})
    assert copy.digest != before
    assert copy.state_layout.width == 1
    assert pendulum_spec.model_copy() == pendulum_spec
    assert pendulum_spec.model_copy().digest == before


def test_a_copy_is_validated(pendulum_spec: RobotSpec) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        pendulum_spec.model_copy(update={"control_rate_hz": -1})
    with pytest.raises(ValueError, match="Extra inputs"):
        pendulum_spec.model_copy(update={"colour": "red"})


def test_equal_content_has_equal_digests(pendulum_spec: RobotSpec) -> None:
    assert RobotSpec.from_json(pendulum_spec.to_json()).digest == pendulum_spec.digest
    assert pendulum_spec.model_copy(update={"control_rate_hz": 100.0}).digest == pendulum_spec.digest
