"""Routes of robots: who they are, how they get tokens, what they are to do."""

from fastapi import Response
from fastapi.routing import APIRouter

from fleet_ingest.api.access import Access
from fleet_ingest.api.answers import Identifier, MappingKept, RobotAnswer, RobotLine, Serial
from fleet_ingest.api.assignments import Assignments
from fleet_ingest.api.gate import Caller, Gate
from fleet_ingest.api.uploads import Uploads
from fleet_ingest.mapping import Mapping
from fleet_ingest.robot.plan import Assignment
from fleet_ingest.robot.protocol import (
    Challenge,
    CompleteAssignment,
    LostLogs,
    RefuseAssignment,
    SignedNonce,
    TokenGiven,
)
from storage.catalog.catalog import Catalog
from storage.contracts.errors import UnknownName
from storage.contracts.robot import RobotSpec
from storage.objects import ObjectStore


def proof_routes(access: Access) -> APIRouter:
    router = APIRouter(tags=["robots"])

    @router.post("/robots/{serial}/challenge")
    def challenge(serial: Serial) -> Challenge:
        """A nonce for the robot to sign with its key."""
        return access.challenge(serial)

    @router.post("/robots/{serial}/token")
    def token(serial: Serial, body: SignedNonce) -> TokenGiven:
        """A short token for a signed nonce. 403 `key_waiting` until an operator has admitted the key."""
        return access.robot_token(serial, body)

    return router


def robot_routes(catalog: Catalog, store: ObjectStore, uploads: Uploads, gate: Gate) -> APIRouter:
    router = APIRouter(tags=["robots"])

    @router.get("/robots")
    def robots(actor: Caller) -> list[RobotLine]:
        """The registered robots, by serial."""
        gate.role(actor, "viewer", "list robots")
        return [RobotLine(serial=r.serial, kind=r.kind, spec_name=r.spec_name) for r in catalog.robots.list()]

    @router.put("/robots/{serial}")
    def register(serial: Serial, spec: RobotSpec, actor: Caller) -> RobotAnswer:
        """Registers the robot, or a new version of its specification. Idempotent."""
        gate.robot(actor, serial)
        try:
            kind = catalog.robots.get(serial).kind
        except UnknownName:
            kind = "robot"
        row = catalog.robots.register(serial, spec, kind=kind)
        return RobotAnswer(serial=serial, kind=kind, spec=row.spec)

    @router.get("/robots/{serial}")
    def robot(serial: Serial, actor: Caller) -> RobotAnswer:
        gate.robot(actor, serial, reading=True)
        row = catalog.robots.get(serial)
        return RobotAnswer(serial=row.serial, kind=row.kind, spec=row.spec)

    @router.post("/robots/{serial}/lost", status_code=204)
    def lost(serial: Serial, body: LostLogs, actor: Caller) -> None:
        """Logs that the robot lost before they were sent: its disk was full, or they changed on it. Idempotent."""
        gate.robot(actor, serial)
        uploads.lost(serial, body, actor)

    @router.get("/robots/{serial}/mappings")
    def mappings(serial: Serial, actor: Caller) -> list[MappingKept]:
        """Mappings that files of this robot were taken in with, the last used first."""
        gate.robot(actor, serial, reading=True)
        used = [row.mapping_sha256 for row in catalog.uploads.page(robot=serial, limit=500) if row.mapping_sha256]
        found = []
        for digest in list(dict.fromkeys(used))[:20]:
            name = Mapping.from_json(store.get_bytes(digest)).name
            found.append(MappingKept(sha256=digest, name=name))
        return found

    @router.post("/robots/{serial}/mappings")
    def keep_mapping(serial: Serial, mapping: Mapping, actor: Caller) -> MappingKept:
        """Keeps a mapping from columns to channels; a robot that nobody registered is, as the mapping describes it."""
        gate.role(actor, "operator", "keep a mapping")
        digest = store.put_bytes(mapping.to_json())
        try:
            catalog.robots.get(serial)
        except UnknownName:
            rate_hz = mapping.rate_hz or mapping.nominal_rate_hz or mapping.time.rate_hz or 100.0
            catalog.robots.register(serial, mapping.spec_at(rate_hz))
            catalog.audit.record(actor.name, "register robot", serial, role=actor.role, detail=f"mapping {digest[:12]}")
        return MappingKept(sha256=digest, name=mapping.name)

    return router


def assignment_routes(assignments: Assignments, gate: Gate) -> APIRouter:
    router = APIRouter(tags=["robots"])

    @router.get("/robots/{serial}/assignment", responses={204: {"description": "Nothing to do."}})
    def assignment(serial: Serial, actor: Caller, response: Response) -> Assignment | None:
        """The oldest assignment that is not complete."""
        gate.robot(actor, serial)
        found = assignments.next_for(serial)
        if found is None:
            response.status_code = 204
        return found

    @router.post("/assignments/{identifier}/complete", status_code=204)
    def complete(identifier: Identifier, body: CompleteAssignment, actor: Caller) -> None:
        """All its logs have receipts. Idempotent."""
        row = assignments.row(identifier)
        gate.robot(actor, row.robot)
        assignments.complete(row, body)

    @router.post("/assignments/{identifier}/refuse", status_code=204)
    def refuse(identifier: Identifier, body: RefuseAssignment, actor: Caller) -> None:
        """The robot will not run it, and says why."""
        row = assignments.row(identifier)
        gate.robot(actor, row.robot)
        assignments.refuse(row, body)

    return router
