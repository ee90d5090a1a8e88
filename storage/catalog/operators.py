"""People who may use the installation, by name, role and secret; secrets are kept as scrypt hashes (RFC 7914).

Nothing here issues tokens. Raising `valid_from_ns` ends every session of an operator.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import operators
from storage.contracts.errors import ConflictError, ContractError, UnknownName

ROLES = ("viewer", "operator", "admin")
"""Each may do what the ones before it may."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,63}")
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_UNKNOWN = "0" * 32 + "$" + "0" * 43 + "="


@dataclass(frozen=True)
class OperatorRow:
    """`state`: active or disabled; `role`: one of ROLES."""

    name: str
    role: str
    state: str
    valid_from_ns: int
    created_ns: int
    updated_ns: int


class Operators(Repository):
    """The operators' accounts."""

    def add(self, name: str, role: str) -> str:
        """Makes an account and returns its secret, which is kept nowhere. Raises ConflictError if the name is taken."""
        _check(name, role)
        secret, now = _new_secret(), now_ns()
        values = {"name": name, "role": role, "state": "active", "secret": _hashed(secret), "valid_from_ns": 0}
        times = {"created_ns": now, "updated_ns": now}
        if not self._db.write(lambda c: self._db.insert_if_absent(c, operators, values | times)):
            raise ConflictError(
                f"there is an operator '{name}' already",
                remedy=f"Give it a new secret: sim2real access secret {name}.",
            )
        return secret

    def first(self, name: str = "local") -> str | None:
        """The secret of a first account with all rights, made when there is none at all; else None."""
        if self.list():
            return None
        try:
            return self.add(name, "admin")
        except ConflictError:
            return None

    def renew(self, name: str) -> str:
        """A new secret; the old one and all sessions end. Raises UnknownName."""
        secret = _new_secret()
        self._change(name, secret=_hashed(secret), valid_from_ns=now_ns())
        return secret

    def set_role(self, name: str, role: str) -> OperatorRow:
        _check(name, role)
        return self._change(name, role=role)

    def disable(self, name: str) -> OperatorRow:
        return self._change(name, state="disabled", valid_from_ns=now_ns())

    def enable(self, name: str) -> OperatorRow:
        return self._change(name, state="active")

    def end_sessions(self, name: str) -> OperatorRow:
        return self._change(name, valid_from_ns=now_ns())

    def verify(self, name: str, secret: str) -> OperatorRow | None:
        """The account if the secret is right and it is active; takes as long for names that do not exist."""
        stored = self._db.read(lambda c: c.execute(select(operators.c.secret).where(operators.c.name == name)).scalar())
        right = _matches(secret, stored or _UNKNOWN)
        row = self.get(name) if stored is not None and right else None
        return row if row is not None and row.state == "active" else None

    def get(self, name: str) -> OperatorRow:
        """Raises UnknownName; the names that exist are not told."""
        return self._db.read(lambda connection: _get(connection, name))

    def list(self) -> list[OperatorRow]:
        query = select(operators).order_by(operators.c.name)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(query)])

    def _change(self, name: str, **values: object) -> OperatorRow:
        def action(connection: Connection) -> OperatorRow:
            _get(connection, name)
            connection.execute(update(operators).where(operators.c.name == name).values(**values, updated_ns=now_ns()))
            return _get(connection, name)

        return self._db.write(action)


def _check(name: str, role: str) -> None:
    if not _NAME.fullmatch(name):
        raise ContractError(f"'{name[:80]}' cannot be an operator's name: lower-case letters, digits, _ . @ - (64)")
    if role not in ROLES:
        raise UnknownName("role", role, ROLES)


def _new_secret() -> str:
    """Five groups of five: 125 bits over 32 letters that are not mistaken for each other."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(5))


def _hashed(secret: str) -> str:
    salt = secrets.token_hex(16)
    return f"{salt}${_scrypt(secret, salt)}"


def _matches(secret: str, stored: str) -> bool:
    salt, _, wanted = stored.partition("$")
    return hmac.compare_digest(_scrypt(secret, salt), wanted)


def _scrypt(secret: str, salt: str) -> str:
    found = hashlib.scrypt(secret.encode(errors="replace"), salt=bytes.fromhex(salt), **_SCRYPT)
    return base64.b64encode(found).decode()


def _get(connection: Connection, name: str) -> OperatorRow:
    row = connection.execute(select(operators).where(operators.c.name == name)).first()
    if row is None:
        raise UnknownName("operator", name, None, remedy="sim2real access operators lists them.")
    return _row(row)


def _row(row: object) -> OperatorRow:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    del values["secret"]
    return OperatorRow(**values)
