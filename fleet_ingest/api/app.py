"""The ingest API: what robots and uploaders speak to. Endpoints only; the work is in `uploads` and `assignments`.

Endpoints are plain functions, which FastAPI runs in a pool of threads: the catalog and the store are synchronous. File
bytes never pass through this process on their way in; they go to presigned URLs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Path, Response
from fastapi.routing import APIRouter

from fleet_ingest.api.assignments import Assignments
from fleet_ingest.api.errors import Forbidden, install_handlers
from fleet_ingest.api.ingest import Ingester
from fleet_ingest.api.limits import BodyLimit
from fleet_ingest.api.settings import ApiSettings
from fleet_ingest.api.tokens import opens
from fleet_ingest.api.uploads import Uploads
from fleet_ingest.robot.plan import Assignment
from fleet_ingest.robot.protocol import (
    SERIAL,
    BeginUpload,
    CompleteAssignment,
    CompleteUpload,
    PartsWanted,
    Problem,
    Receipt,
    RefuseAssignment,
    Slots,
    UploadState,
)
from storage.catalog.catalog import Catalog
from storage.contracts.errors import UnknownName
from storage.contracts.robot import RobotSpec
from storage.objects import ObjectStore

Serial = Annotated[str, Path(pattern=SERIAL, description="Serial number of the robot.")]
Identifier = Annotated[int, Path(ge=1, lt=2**63)]
Bearer = Annotated[str, Header(alias="Authorization", description="Bearer TOKEN")]
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token."},
    403: {"model": Problem, "description": "The token does not open this robot."},
    404: {"model": Problem, "description": "Nothing of that name."},
    409: {"model": Problem, "description": "Something has to be sent again, or belongs to another."},
    413: {"model": Problem, "description": "The request's body is too long."},
    422: {"model": Problem, "description": "The request is not as documented."},
    503: {"model": Problem, "description": "The store or the catalog cannot be reached; try again."},
}


class Gate:
    """Checks that a bearer token opens a robot."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def check(self, authorization: str, serial: str) -> None:
        """Raises Forbidden, 401 without a bearer token, 403 with one that does not open `serial`."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Forbidden(401, "no bearer token was sent", "Send 'Authorization: Bearer TOKEN'.")
        if not opens(self._secret, token.strip(), serial):
            raise Forbidden(
                403,
                f"this token does not open robot '{serial}' or anything that belongs to it",
                "Use the token that was made for this serial number, or the operator's.",
            )


def create_app(settings: ApiSettings) -> FastAPI:
    """The application. Raises what opening the catalog raises (IncompatibleError for a newer one)."""
    catalog, store = Catalog.open(settings.catalog_url), ObjectStore(settings.s3)
    ingester = Ingester(catalog, store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        ingester.close()
        catalog.close()

    # Without the framework's own pages, which load their scripts from other hosts.
    app = FastAPI(
        title="sim2real ingest",
        description="Robots, their assignments and their logs.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit)
    install_handlers(app)
    gate = Gate(settings.secret())
    app.include_router(_health())
    app.include_router(_robots(catalog, Assignments(catalog, store), gate), responses=_PROBLEMS)
    app.include_router(_uploads(Uploads(catalog, store, ingester), gate), responses=_PROBLEMS)
    return app


def _health() -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    def health() -> dict[str, str]:
        """Answers as soon as the process serves."""
        return {"status": "ok"}

    return router


def _token(authorization: Bearer = "") -> str:
    return authorization


Token = Annotated[str, Depends(_token)]


def _robots(catalog: Catalog, assignments: Assignments, gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.put("/robots/{serial}")
    def register(serial: Serial, spec: RobotSpec, token: Token) -> dict[str, Any]:
        """Registers the robot, or a new version of its specification. Idempotent."""
        gate.check(token, serial)
        try:
            kind = catalog.robots.get(serial).kind
        except UnknownName:
            kind = "robot"
        catalog.robots.register(serial, spec, kind=kind)
        return {"serial": serial, "kind": kind, "spec": spec.model_dump(mode="json")}

    @router.get("/robots/{serial}")
    def robot(serial: Serial, token: Token) -> dict[str, Any]:
        gate.check(token, serial)
        row = catalog.robots.get(serial)
        return {"serial": row.serial, "kind": row.kind, "spec": row.spec.model_dump(mode="json")}

    @router.get("/robots/{serial}/assignment", responses={204: {"description": "Nothing to do."}})
    def assignment(serial: Serial, token: Token, response: Response) -> Assignment | None:
        """The oldest assignment that is not complete."""
        gate.check(token, serial)
        found = assignments.next_for(serial)
        if found is None:
            response.status_code = 204
        return found

    @router.post("/assignments/{identifier}/complete", status_code=204)
    def complete(identifier: Identifier, body: CompleteAssignment, token: Token) -> None:
        """All its logs have receipts. Idempotent."""
        row = assignments.row(identifier)
        gate.check(token, row.robot)
        assignments.complete(row, body)

    @router.post("/assignments/{identifier}/refuse", status_code=204)
    def refuse(identifier: Identifier, body: RefuseAssignment, token: Token) -> None:
        """The robot will not run it, and says why."""
        row = assignments.row(identifier)
        gate.check(token, row.robot)
        assignments.refuse(row, body)

    return router


def _uploads(uploads: Uploads, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/uploads")

    @router.post("")
    def begin(body: BeginUpload, token: Token) -> UploadState:
        """Announces a file. The same idempotency key gives the same upload."""
        gate.check(token, body.robot)
        return uploads.begin(body)

    @router.get("/{identifier}")
    def state(identifier: Identifier, token: Token) -> UploadState:
        row = uploads.row(identifier)
        gate.check(token, row.robot)
        return uploads.state(row)

    @router.post("/{identifier}/parts")
    def parts(identifier: Identifier, body: PartsWanted, token: Token) -> Slots:
        """Presigned requests, one for each part asked for."""
        row = uploads.row(identifier)
        gate.check(token, row.robot)
        return uploads.slots(row, body)

    @router.post("/{identifier}/complete")
    def complete(identifier: Identifier, body: CompleteUpload, token: Token) -> Receipt:
        """Hashes what arrived, keeps it, converts it, and says what became of it. Idempotent."""
        row = uploads.row(identifier)
        gate.check(token, row.robot)
        return uploads.complete(row, body)

    return router
