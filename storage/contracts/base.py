"""The base of every contract model: frozen, strict about unknown fields, with a digest of its content."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.contracts.canonical import canonical_json, sha256_hex
from storage.contracts.errors import ContractError


class Contract(BaseModel):
    """Frozen value object. Two contracts with equal content have equal digests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """Canonical JSON, UTF-8."""
        return canonical_json(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return sha256_hex(self.to_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A validated copy with other values for some fields.

        Cached values (`digest`, layouts) are not carried over.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**values | dict(update or {}))

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Reads what `to_json` wrote.

        Raises ContractError that names each bad field, its value and what is expected.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise ContractError(f"not a valid {cls.__name__}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """One line per bad field: where, what is expected, what was given."""
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"]) or "(whole)"
        given = repr(item.get("input"))
        lines.append(f"{where}: {item['msg']} (given {given[:80]})")
    return "; ".join(lines)
