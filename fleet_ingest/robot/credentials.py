"""Who a sender is: a robot's key pair, with which it gets short tokens, or a token that somebody gave it.

The private key (Ed25519, RFC 8032) lies in one file that only its owner may read and never leaves the robot. This
module speaks no HTTP; the client hands it a function that does.
"""

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fleet_ingest.robot.protocol import Challenge, SignedNonce, TokenGiven, token_message
from storage.contracts.base import Contract
from storage.contracts.errors import InputError

RENEW_BEFORE_S = 60.0
Ask = Callable[[str, Contract | None], bytes]
"""(path, body) -> the JSON answer of a POST without credentials."""


class Credentials(Protocol):
    """`token` gives a bearer token, asking for a new one when there is none; `reject` says that it was refused."""

    def token(self, ask: Ask) -> str: ...
    def reject(self) -> bool:
        """Forgets the token. True if another one can be asked for."""


class FixedToken:
    """A token as it is, for operators."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, ask: Ask) -> str:
        return self._token

    def reject(self) -> bool:
        return False


class RobotKey:
    """The key pair of robot `serial`."""

    def __init__(self, serial: str, private: Ed25519PrivateKey, note: str = "") -> None:
        self.serial = serial
        self._private = private
        self._note = note
        self._token = ""
        self._good_until = 0.0

    @classmethod
    def load(cls, path: Path, serial: str, *, note: str = "") -> "RobotKey":
        """The key in `path`, made there (mode 0600) when there is none. Raises InputError for another file."""
        try:
            if not path.exists():
                _write(path)
            private = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise InputError(f"cannot use the key file {path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InputError(
                f"{path} holds no Ed25519 private key: {error}",
                remedy="Move it away; a new key is made then, which an operator has to admit.",
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InputError(f"{path} holds a key of another kind than Ed25519")
        return cls(serial, private, note)

    @property
    def public_key(self) -> str:
        """Base64, 44 characters."""
        return base64.b64encode(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def token(self, ask: Ask) -> str:
        """A token that is good for another minute at least. Raises what `ask` raises, e.g. while nobody admitted it."""
        if time.monotonic() < self._good_until:
            return self._token
        challenge = Challenge.from_json(ask(f"/robots/{self.serial}/challenge", None))
        given = TokenGiven.from_json(ask(f"/robots/{self.serial}/token", self.signed(challenge.nonce)))
        self._token = given.token
        self._good_until = time.monotonic() + given.expires_s - min(RENEW_BEFORE_S, given.expires_s / 2)
        return self._token

    def signed(self, nonce: str) -> SignedNonce:
        signature = self._private.sign(token_message(self.serial, nonce))
        return SignedNonce(
            public_key=self.public_key,
            nonce=nonce,
            signature=base64.b64encode(signature).decode(),
            note=self._note,
        )

    def reject(self) -> bool:
        fresh = self._token != ""
        self._token, self._good_until = "", 0.0
        return fresh


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
