"""Bearer tokens: HMAC-SHA256 of the installation's secret over a robot's serial; the operator's is over `operator`.

A token opens its own robot alone, the operator's opens all. Nothing is stored, and nothing expires: a new secret ends
all tokens at once.
"""

import hashlib
import hmac

OPERATOR = "operator"


def robot_token(secret: bytes, serial: str) -> str:
    """The token of robot `serial`, 64 hex digits."""
    return _token(secret, f"robot/{serial}")


def operator_token(secret: bytes) -> str:
    """The token that opens every robot, 64 hex digits."""
    return _token(secret, OPERATOR)


def opens(secret: bytes, token: str, serial: str) -> bool:
    """Whether `token` may act for `serial`; takes equal time for every wrong token."""
    own = hmac.compare_digest(token.encode(), robot_token(secret, serial).encode())
    return own | is_operator(secret, token)


def is_operator(secret: bytes, token: str) -> bool:
    return hmac.compare_digest(token.encode(), operator_token(secret).encode())


def _token(secret: bytes, name: str) -> str:
    return hmac.new(secret.strip(), name.encode(), hashlib.sha256).hexdigest()
