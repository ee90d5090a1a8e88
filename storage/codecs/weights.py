"""Named arrays as safetensors: nothing in such a file can be executed, and sizes are checked before memory is taken.

Equal arrays give equal bytes. This module knows no network and no framework.
"""

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from storage.contracts.errors import ContractError, DataError

_DTYPES = frozenset(
    {"float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"}
)


def encode_weights(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of named arrays of any shape. Raises ContractError that names an array of another type."""
    ordered = {}
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.name not in _DTYPES:
            raise ContractError(f"array '{name}' has type {array.dtype}; expected one of {', '.join(sorted(_DTYPES))}")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        ordered[name] = little if little.flags.c_contiguous else little.copy(order="C")
    return bytes(save(ordered))


def decode_weights(data: bytes) -> dict[str, np.ndarray]:
    """The arrays that `encode_weights` wrote, sorted by name. Raises DataError (code `weights`) on anything else."""
    try:
        loaded = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a safetensors file ({len(data)} bytes): {error}", code="weights") from error
    return {name: loaded[name] for name in sorted(loaded)}
