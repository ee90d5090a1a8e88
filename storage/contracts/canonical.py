"""Canonical JSON and digests: equal content has equal bytes, hence equal SHA-256.

Keys are sorted, there is no white space, floats are written by `repr` (shortest form that reads back), NaN and
infinity are refused. This module does not hash arrays; codecs turn arrays into bytes first.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from storage.contracts.errors import ContractError


def canonical_json(value: Any) -> bytes:
    """UTF-8 bytes of `value` (JSON types, pydantic models, tuples). Raises ContractError on anything else or NaN."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ContractError(f"cannot be written as canonical JSON: {error}") from error


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 lower-case hex digits."""
    return sha256_hex(canonical_json(value))


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not a JSON type")
