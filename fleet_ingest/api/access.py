"""How robots and people get in: nonces signed with a robot's key, names and secrets of operators; keys and accounts.

Every way in leaves a row in the audit trail, taken or refused. Nonces are used once; a key that nobody admitted waits.
"""

import base64
import hashlib
import threading
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fleet_ingest.api import tokens
from fleet_ingest.api.errors import Forbidden, TooMuch
from fleet_ingest.api.gate import Actor
from fleet_ingest.robot.protocol import Challenge, SignedNonce, TokenGiven, token_message
from storage.catalog.catalog import Catalog
from storage.catalog.keys import KeyRow

NONCE_S = 120.0
_FREE_TRIES, _WAIT_S = 5, 30.0


class Access:
    """Gives tokens for proofs. `robot_token_s` and `operator_token_s` are how long they last, seconds."""

    def __init__(self, secret: bytes, catalog: Catalog, *, robot_token_s: float, operator_token_s: float) -> None:
        self._secret = secret
        self._catalog = catalog
        self._robot_s, self._operator_s = robot_token_s, operator_token_s
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    def challenge(self, serial: str) -> Challenge:
        return Challenge(nonce=tokens.new_nonce(self._secret, serial, seconds=NONCE_S), expires_s=int(NONCE_S))

    def robot_token(self, serial: str, body: SignedNonce) -> TokenGiven:
        """A token for robot `serial`. Raises Forbidden: 401 for a bad or used nonce or signature, 403 for the key."""
        actor = f"robot:{serial}"
        expires_ns = tokens.nonce_expiry_ns(self._secret, body.nonce, serial)
        if expires_ns is None or expires_ns < time.time_ns():
            raise Forbidden(401, "this nonce was not given to this robot, or has expired", "Ask for another challenge.")
        if not _is_signed(body, serial):
            raise Forbidden(401, "the signature does not fit the nonce and the key", "Sign `token_message` with it.")
        if not self._catalog.keys.spend(body.nonce, expires_ns):
            self._audit(actor, "token", serial, "refused", "a nonce was sent again")
            raise Forbidden(401, "this nonce was used before", "Ask for another challenge.")
        key = self._catalog.keys.ask(serial, body.public_key, body.note)
        if key.state != "admitted":
            self._audit(actor, "token", serial, "refused", f"key {key.id} ({fingerprint(key.public_key)}) {key.state}")
            raise _not_admitted(key)
        self._audit(actor, "token", serial, "done", f"key {key.id}")
        token = tokens.issue(self._secret, "robot", serial, key=key.id, seconds=self._robot_s)
        return TokenGiven(token=token, expires_s=int(self._robot_s), actor=actor, role="robot")

    def sign_in(self, name: str, secret: str) -> TokenGiven:
        """A session of an operator. Raises Forbidden (401), and TooMuch after several wrong tries."""
        self._wait_if_wrong_before(name)
        row = self._catalog.operators.verify(name, secret)
        with self._lock:
            count, _ = self._failures.pop(name, (0, 0.0))
            if row is None:
                if len(self._failures) > 10_000:
                    self._failures.clear()
                self._failures[name] = (count + 1, time.monotonic())
        if row is None:
            self._audit("nobody", "sign-in", name, "refused", "wrong name or secret")
            raise Forbidden(
                401, "this name and secret do not go together", "On the server: sim2real access secret NAME."
            )
        self._audit(f"operator:{name}", "sign-in", name, "done", "")
        token = tokens.issue(self._secret, "operator", name, seconds=self._operator_s)
        return TokenGiven(token=token, expires_s=int(self._operator_s), actor=f"operator:{name}", role=row.role)

    def sign_out(self, actor: Actor) -> None:
        """Ends all sessions of an operator."""
        if actor.name.startswith("operator:"):
            self._catalog.operators.end_sessions(actor.name.removeprefix("operator:"))
            self._audit(actor.name, "sign-out", actor.name, "done", "")

    def admit(self, actor: Actor, key: KeyRow) -> KeyRow:
        row = self._catalog.keys.admit(key.robot, key.public_key, actor.name)
        self._audit(actor.name, "admit key", key.robot, "done", f"key {key.id} {fingerprint(key.public_key)}")
        return row

    def revoke(self, actor: Actor, key: KeyRow) -> KeyRow:
        row = self._catalog.keys.revoke(key.id, actor.name)
        self._audit(actor.name, "revoke key", key.robot, "done", f"key {key.id} {fingerprint(key.public_key)}")
        return row

    def _wait_if_wrong_before(self, name: str) -> None:
        with self._lock:
            count, since = self._failures.get(name, (0, 0.0))
        left = since + _WAIT_S - time.monotonic()
        if count >= _FREE_TRIES and left > 0:
            raise TooMuch(
                "slow_down", f"{count} wrong secrets for '{name}'", f"Try again in {left:.0f} s.", retry_s=left
            )

    def _audit(self, actor: str, action: str, subject: str, outcome: str, detail: str) -> None:
        self._catalog.audit.record(actor, action, subject, outcome=outcome, detail=detail)


def fingerprint(public_key: str) -> str:
    """What people compare: the first 20 characters of the key's SHA-256, in groups."""
    digits = hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:20]
    return "-".join(digits[i : i + 5] for i in range(0, 20, 5))


def _is_signed(body: SignedNonce, serial: str) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(body.public_key))
        key.verify(base64.b64decode(body.signature), token_message(serial, body.nonce))
    except (InvalidSignature, ValueError):
        return False
    return True


def _not_admitted(key: KeyRow) -> Forbidden:
    mark = fingerprint(key.public_key)
    if key.state == "revoked":
        return Forbidden(
            403,
            f"key {mark} of robot '{key.robot}' was revoked by {key.decided_by}",
            "Remove the robot's key file; it makes a new key then, which an operator has to admit.",
            code="key_revoked",
        )
    return Forbidden(
        403,
        f"key {mark} of robot '{key.robot}' waits for an operator",
        f"Compare the mark, then: sim2real access admit {key.robot} (or on the page, under Robots).",
        code="key_waiting",
    )
