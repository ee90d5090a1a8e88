"""Routes of access: sign-in, keys of robots, accounts, quotas, the audit trail."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import Query
from fastapi.routing import APIRouter

from fleet_ingest.api.access import Access, fingerprint
from fleet_ingest.api.answers import (
    AuditLine,
    AuditPage,
    Identifier,
    KeyAnswer,
    Me,
    NewOperator,
    OperatorAnswer,
    OperatorChange,
    OperatorName,
    OperatorSecret,
    QuotaAnswer,
    Serial,
    SignIn,
)
from fleet_ingest.api.gate import Caller, Gate
from fleet_ingest.robot.protocol import SERIAL, TokenGiven
from storage.catalog.catalog import Catalog
from storage.catalog.keys import KeyRow
from storage.catalog.operators import OperatorRow
from storage.catalog.quotas import Quota
from storage.contracts.errors import ConflictError

_PLAIN = r"^[\x20-\x7e]{1,200}$"


def session_routes(access: Access) -> APIRouter:
    router = APIRouter(tags=["access"])

    @router.post("/sign-in")
    def sign_in(body: SignIn) -> TokenGiven:
        """A session of an operator."""
        return access.sign_in(body.name, body.secret)

    @router.post("/sign-out", status_code=204)
    def sign_out(actor: Caller) -> None:
        """Ends all sessions of the operator."""
        access.sign_out(actor)

    @router.get("/me")
    def me(actor: Caller) -> Me:
        return Me(actor=actor.name, role=actor.role)

    return router


def key_routes(catalog: Catalog, access: Access, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/keys", tags=["access"])

    @router.get("")
    def keys(
        actor: Caller,
        robot: Annotated[str | None, Query(pattern=SERIAL)] = None,
        state: Literal["waiting", "admitted", "revoked"] | None = None,
    ) -> list[KeyAnswer]:
        """Keys of robots, newest first."""
        gate.role(actor, "viewer", "list keys")
        return [_key(row) for row in catalog.keys.list(robot, state)]

    @router.post("/{identifier}/admit")
    def admit(identifier: Identifier, actor: Caller) -> KeyAnswer:
        """Lets the robot in that holds this key. Compare the mark first."""
        gate.role(actor, "operator", f"admit key {identifier}")
        return _key(access.admit(actor, catalog.keys.get(identifier)))

    @router.post("/{identifier}/revoke")
    def revoke(identifier: Identifier, actor: Caller) -> KeyAnswer:
        """Ends the key for good, and every session that it opened with the next call."""
        gate.role(actor, "operator", f"revoke key {identifier}")
        return _key(access.revoke(actor, catalog.keys.get(identifier)))

    return router


def operator_routes(catalog: Catalog, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/operators", tags=["access"])

    @router.get("")
    def operators(actor: Caller) -> list[OperatorAnswer]:
        gate.role(actor, "admin", "list operators")
        return [_operator(row) for row in catalog.operators.list()]

    @router.post("")
    def add(body: NewOperator, actor: Caller) -> OperatorSecret:
        """Makes an account; its secret is in the answer and nowhere else."""
        gate.role(actor, "admin", f"add operator {body.name}")
        secret = catalog.operators.add(body.name, body.role)
        catalog.audit.record(actor.name, "add operator", body.name, role=actor.role, detail=body.role)
        return OperatorSecret(operator=_operator(catalog.operators.get(body.name)), secret=secret)

    @router.patch("/{name}")
    def change(name: OperatorName, body: OperatorChange, actor: Caller) -> OperatorSecret:
        """Another role, another secret, disabled or active again. Nobody takes the last admin's rights."""
        gate.role(actor, "admin", f"change operator {name}")
        secret = _change(catalog, name, body)
        asked = ", ".join(f"{k}={v}" for k, v in body.model_dump(exclude_defaults=True).items())
        catalog.audit.record(actor.name, "change operator", name, role=actor.role, detail=asked)
        return OperatorSecret(operator=_operator(catalog.operators.get(name)), secret=secret)

    return router


def quota_routes(catalog: Catalog, gate: Gate) -> APIRouter:
    router = APIRouter(tags=["access"])

    @router.get("/robots/{serial}/quota")
    def quota(serial: Serial, actor: Caller) -> QuotaAnswer:
        gate.robot(actor, serial, reading=True)
        return _quota(catalog, serial)

    @router.put("/robots/{serial}/quota")
    def set_quota(serial: Serial, body: QuotaAnswer, actor: Caller) -> QuotaAnswer:
        """Sets the limits; what is used is ignored in the request."""
        gate.role(actor, "admin", f"set the quota of {serial}")
        catalog.quotas.set(serial, Quota(body.bytes_per_day, body.files_per_day, body.open_uploads))
        catalog.audit.record(actor.name, "set quota", serial, role=actor.role, detail=body.to_json().decode())
        return _quota(catalog, serial)

    return router


def audit_routes(catalog: Catalog, gate: Gate) -> APIRouter:
    router = APIRouter(tags=["access"])

    @router.get("/audit")
    def audit(
        actor: Caller,
        who: Annotated[str | None, Query(pattern=_PLAIN)] = None,
        action: Annotated[str | None, Query(pattern=_PLAIN)] = None,
        subject: Annotated[str | None, Query(pattern=_PLAIN)] = None,
        before: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 100,
    ) -> AuditPage:
        """Who did what, newest first."""
        gate.role(actor, "admin", "read the audit trail")
        rows = catalog.audit.list(who, action, subject, before, limit)
        lines = tuple(AuditLine(**asdict(row)) for row in rows)
        return AuditPage(rows=lines, next=rows[-1].id if len(rows) == limit else None)

    return router


def _change(catalog: Catalog, name: str, body: OperatorChange) -> str | None:
    row = catalog.operators.get(name)
    admins = [o.name for o in catalog.operators.list() if o.role == "admin" and o.state == "active"]
    if admins == [row.name] and (body.state == "disabled" or body.role not in (None, "admin")):
        raise ConflictError(f"'{name}' is the last admin", remedy="Make another admin first.")
    if body.role is not None:
        catalog.operators.set_role(name, body.role)
    if body.state is not None:
        (catalog.operators.enable if body.state == "active" else catalog.operators.disable)(name)
    return catalog.operators.renew(name) if body.new_secret else None


def _key(row: KeyRow) -> KeyAnswer:
    return KeyAnswer.model_validate(
        {
            "id": row.id, "robot": row.robot, "mark": fingerprint(row.public_key), "state": row.state,
            "note": row.note, "asked_ns": row.asked_ns, "decided_ns": row.decided_ns, "decided_by": row.decided_by,
        }
    )  # fmt: skip


def _operator(row: OperatorRow) -> OperatorAnswer:
    values = {"name": row.name, "role": row.role, "state": row.state, "created_ns": row.created_ns}
    return OperatorAnswer.model_validate(values)


def _quota(catalog: Catalog, serial: str) -> QuotaAnswer:
    limits, used = catalog.quotas.get(serial), catalog.quotas.usage(serial)
    return QuotaAnswer(**asdict(limits), bytes_used=used.bytes, files_used=used.files, open_used=used.open)
