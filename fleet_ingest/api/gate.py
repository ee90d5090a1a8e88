"""Who calls, and what they may do: the check of every call's bearer token against keys and accounts as they stand now.

A robot's key that was revoked, or an account that was disabled, ends the sessions it opened with the very next call.
"""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet_ingest.api import tokens
from fleet_ingest.api.errors import Forbidden
from storage.catalog.catalog import Catalog
from storage.catalog.operators import ROLES
from storage.contracts.errors import UnknownName

ROBOT, INSTALLATION = "robot", "installation"
_REFUSALS_A_MINUTE = 60


@dataclass(frozen=True)
class Actor:
    """`name` as in the audit trail; `serial` for robots alone; `role`: robot, viewer, operator or admin."""

    name: str
    role: str
    serial: str | None = None

    def has(self, role: str) -> bool:
        """Whether a person with this role may do what needs `role`."""
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)


class Gate:
    """Opens or stays shut."""

    def __init__(self, secret: bytes, catalog: Catalog) -> None:
        self._secret = secret
        self._catalog = catalog
        self._minute, self._refusals = 0, 0

    def actor(self, token: str | None) -> Actor:
        """Who holds `token`. Raises Forbidden (401) without one, and for one that is not or no longer good."""
        if not token:
            raise Forbidden(401, "no bearer token was sent", "Send 'Authorization: Bearer TOKEN'.")
        if tokens.is_installation(self._secret, token):
            return Actor(INSTALLATION, "admin")
        claims = tokens.read(self._secret, token)
        if claims is None:
            raise Forbidden(401, "this token was not given by this installation", "Get one; see /openapi.json.")
        if claims.expires_ns < time.time_ns():
            raise Forbidden(401, "this token has expired", "Get another one.")
        return self._robot(claims) if claims.kind == "robot" else self._operator(claims)

    def robot(self, actor: Actor, serial: str, *, reading: bool = False) -> None:
        """Raises Forbidden (403) unless `actor` may act for robot `serial`, or with `reading` look at it."""
        if actor.serial == serial or actor.has("viewer" if reading else "operator"):
            return
        self.refuse(
            actor,
            f"robot {serial}",
            f"this token does not open robot '{serial}' or anything that belongs to it",
            "Use the token of this robot, or of an operator.",
        )

    def role(self, actor: Actor, role: str, what: str) -> None:
        """Raises Forbidden (403) unless `actor` is a person with at least this role."""
        if not actor.has(role):
            self.refuse(
                actor, what, f"{actor.name} ({actor.role}) may not do this: {what}", f"It takes the role '{role}'."
            )

    def refuse(self, actor: Actor, what: str, message: str, remedy: str) -> None:
        """Raises Forbidden (403) and writes it into the audit trail, which a flood of refusals does not fill."""
        minute = int(time.monotonic() // 60)
        self._minute, self._refusals = minute, 1 if minute != self._minute else self._refusals + 1
        if self._refusals <= _REFUSALS_A_MINUTE:
            self._catalog.audit.record(actor.name, "call", what, role=actor.role, outcome="refused", detail=message)
        raise Forbidden(403, message, remedy)

    def _robot(self, claims: tokens.Claims) -> Actor:
        try:
            key = self._catalog.keys.get(claims.key)
        except UnknownName:
            key = None
        if key is None or key.state != "admitted" or key.robot != claims.subject:
            raise Forbidden(
                401, f"the key of robot '{claims.subject}' is not admitted any more", "An operator has to admit one."
            )
        return Actor(f"robot:{claims.subject}", ROBOT, claims.subject)

    def _operator(self, claims: tokens.Claims) -> Actor:
        try:
            row = self._catalog.operators.get(claims.subject)
        except UnknownName:
            row = None
        if row is None or row.state != "active" or claims.issued_ns <= row.valid_from_ns:
            raise Forbidden(401, f"the session of operator '{claims.subject}' has been ended", "Sign in again.")
        return Actor(f"operator:{row.name}", row.role)


_SCHEME = HTTPBearer(auto_error=False, description="Robots: POST /robots/{serial}/token. People: POST /sign-in.")


def _actor(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_SCHEME)]) -> Actor:
    gate: Gate = request.app.state.gate
    return gate.actor(credentials.credentials if credentials else None)


Caller = Annotated[Actor, Security(_actor)]
"""Parameter of every endpoint that is not open to all."""
