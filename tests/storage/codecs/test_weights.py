"""Weights as safetensors: exact, deterministic, and safe to read."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from storage.codecs.weights import decode_weights, encode_weights
from storage.contracts.errors import ContractError, DataError

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_]
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0, max_side=4)))


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), ARRAYS, max_size=5))
def test_round_trip_is_exact(weights: dict[str, np.ndarray]) -> None:
    weights.pop("__metadata__", None)
    data = encode_weights(weights)
    found = decode_weights(data)
    assert list(found) == sorted(weights)
    for name, array in weights.items():
        assert (found[name].dtype, found[name].shape, found[name].tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )
    assert encode_weights(dict(reversed(weights.items()))) == data


def test_memory_layout_does_not_matter() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    for same in (
        np.asfortranarray(grid),
        np.arange(24.0).reshape(3, 8)[:, :4] * 0 + grid,
        grid.astype(">f8"),
        grid[::1],
    ):
        assert encode_weights({"w": same}) == encode_weights({"w": grid})
    assert decode_weights(encode_weights({"w": grid.T}))["w"].tolist() == grid.T.tolist()


def test_bytes_do_not_depend_on_the_process() -> None:
    program = """
import hashlib, numpy as np
from storage.codecs.weights import encode_weights
print(hashlib.sha256(encode_weights({f"layer.{i}": np.full((3, i), i, np.float32) for i in range(20)})).hexdigest())
"""
    found = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(found) == 1


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.array(["a"]), np.array([1j])], ids=["object", "text", "complex"]
)
def test_types_that_are_not_numbers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ContractError, match="array 'w' has type"):
        encode_weights({"w": array})


def header(value: object, body: bytes = b"") -> bytes:
    text = json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        header([]),
        header({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"\0" * 8),
        header({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"w": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        encode_weights({"w": np.zeros(4)})[:-1],
        encode_weights({"w": np.zeros(4)}) + b"x",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a safetensors file"):
        decode_weights(data)


@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(DataError):
        decode_weights(noise)
