"""Bearer tokens: what they say is signed (HMAC-SHA256) with the installation's secret; whether it still holds, the gate
looks up on every call.

A robot's token lives minutes and names its key, an operator's lives a working day and names the account. The token of
the installation itself is for programs that can read its secret anyway; it never leaves the machine. This module reads
no catalog.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Literal, NamedTuple

Kind = Literal["robot", "operator"]
_PREFIX = "s2r1"


class Claims(NamedTuple):
    """`subject` is a serial or an operator's name; `key` the id of the robot's key, 0 for operators."""

    kind: Kind
    subject: str
    key: int
    issued_ns: int
    expires_ns: int


def issue(secret: bytes, kind: Kind, subject: str, *, key: int = 0, seconds: float) -> str:
    """A token that is good for `seconds`."""
    now = time.time_ns()
    body = _encode(json.dumps([kind, subject, key, now, now + int(seconds * 1e9)]).encode())
    return f"{_PREFIX}.{body}.{_sign(secret, 'token', body)}"


def read(secret: bytes, token: str) -> Claims | None:
    """What a token says, expired or not; None unless this installation signed it."""
    body = _signed_body(secret, "token", token)
    return None if body is None else Claims(*json.loads(body))


def new_nonce(secret: bytes, serial: str, *, seconds: float) -> str:
    """A nonce for `serial`. Nothing is stored until it is used: asking for many costs nothing."""
    body = _encode(json.dumps([serial, time.time_ns() + int(seconds * 1e9), secrets.token_hex(12)]).encode())
    return f"{_PREFIX}.{body}.{_sign(secret, 'nonce', body)}"


def nonce_expiry_ns(secret: bytes, nonce: str, serial: str) -> int | None:
    """Until when the nonce is good; None unless this installation made it for `serial`."""
    body = _signed_body(secret, "nonce", nonce)
    if body is None:
        return None
    owner, expires_ns, _ = json.loads(body)
    return int(expires_ns) if owner == serial else None


def installation_token(secret: bytes) -> str:
    """The token of programs on this machine that hold the secret: all rights, 64 hex digits."""
    return hmac.new(secret.strip(), b"operator", hashlib.sha256).hexdigest()


def is_installation(secret: bytes, token: str) -> bool:
    return hmac.compare_digest(token.encode(), installation_token(secret).encode())


def _signed_body(secret: bytes, purpose: str, token: str) -> bytes | None:
    prefix, _, rest = token.partition(".")
    body, _, signature = rest.partition(".")
    wanted = _sign(secret, purpose, body)
    if prefix != _PREFIX or not hmac.compare_digest(signature.encode(), wanted.encode()):
        return None
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def _sign(secret: bytes, purpose: str, body: str) -> str:
    return _encode(hmac.new(secret.strip(), f"{purpose}/{body}".encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
