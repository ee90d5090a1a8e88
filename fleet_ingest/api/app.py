"""The ingest API: what robots, uploaders and operators' pages speak to, put together. The work is in other modules.

Endpoints are plain functions, which FastAPI runs in a pool of threads: the catalog and the store are synchronous. File
bytes never pass through this process on their way in; they go to presigned URLs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRouter

from fleet_ingest.api.access import Access
from fleet_ingest.api.answers import PROBLEMS
from fleet_ingest.api.assignments import Assignments
from fleet_ingest.api.errors import install_handlers
from fleet_ingest.api.gate import Gate
from fleet_ingest.api.ingest import Ingester
from fleet_ingest.api.janitor import Janitor
from fleet_ingest.api.jobs import Jobs
from fleet_ingest.api.limits import BodyLimit, HostCheck
from fleet_ingest.api.notes import Notes
from fleet_ingest.api.routes.access import audit_routes, key_routes, operator_routes, quota_routes, session_routes
from fleet_ingest.api.routes.episodes import episode_routes
from fleet_ingest.api.routes.notes import note_routes
from fleet_ingest.api.routes.pages import add_pages
from fleet_ingest.api.routes.robots import assignment_routes, proof_routes, robot_routes
from fleet_ingest.api.routes.uploads import history_routes, protocol_routes
from fleet_ingest.api.settings import ApiSettings
from fleet_ingest.api.uploads import Uploads
from storage.catalog.catalog import Catalog
from storage.objects import ObjectStore


def create_app(settings: ApiSettings, *, port: int | None = None) -> FastAPI:
    """The application. `port`: where it is served, so that the pages of that origin may send to the store.

    Raises what opening the catalog raises (IncompatibleError for a newer one).
    """
    catalog, store = Catalog.open(settings.catalog_url), ObjectStore(settings.s3)
    ingester, jobs = Ingester(catalog, store), Jobs()
    uploads = Uploads(catalog, store, ingester, jobs)
    janitor = Janitor(catalog, store, uploads, settings.grace_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        janitor.start(settings.page_origins(port) if port else settings.origins)
        yield
        janitor.close()
        jobs.close()
        uploads.close()
        ingester.close()
        catalog.close()

    # Without the framework's own pages, which load their scripts from other hosts.
    app = FastAPI(
        title="sim2real ingest",
        description="Robots, their assignments and their logs; the people who look after them.",
        version="2",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(HostCheck, hosts=settings.hosts, origins=settings.origins)
    install_handlers(app)
    secret = settings.secret()
    app.state.gate, app.state.janitor = Gate(secret, catalog), janitor
    access = Access(secret, catalog, robot_token_s=settings.robot_token_s, operator_token_s=settings.operator_token_s)
    for router in _routers(catalog, store, uploads, access, app.state.gate):
        app.include_router(router, responses=PROBLEMS)
    app.include_router(_health())
    add_pages(app, store)
    return app


def _routers(
    catalog: Catalog, store: ObjectStore, uploads: Uploads, access: Access, gate: Gate
) -> tuple[APIRouter, ...]:
    notes = Notes(catalog, store)
    return (
        proof_routes(access), robot_routes(catalog, store, uploads, gate),
        assignment_routes(Assignments(catalog, store), gate),
        history_routes(catalog, uploads, notes, gate), protocol_routes(uploads, gate), note_routes(notes, gate),
        episode_routes(catalog, gate), session_routes(access), key_routes(catalog, access, gate),
        operator_routes(catalog, gate), quota_routes(catalog, gate), audit_routes(catalog, gate),
    )  # fmt: skip


def _health() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    def health() -> dict[str, str]:
        """Answers as soon as the process serves."""
        return {"status": "ok"}

    return router
