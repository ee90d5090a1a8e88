"""Reading what is: servers, campaigns, robots. Starts nothing and changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.contracts.errors import InputError
from storage.contracts.task import Task
from storage.embedded.home import Home
from storage.embedded.records import ServiceState
from storage.embedded.stack import Stack


def has_catalog(home: Home) -> bool:
    return (home.path / "catalog.sqlite").exists()


@contextmanager
def open_catalog() -> Iterator[Catalog]:
    """The catalog of this home, without starting servers. Raises InputError when nothing was ever run here."""
    settings = Settings()
    home = Home(settings.home)
    if settings.catalog_url is None and not has_catalog(home):
        raise InputError(
            f"there is no catalog at {home.path}",
            remedy="Run 'sim2real demo' or 'sim2real import' first, or set SIM2REAL_HOME.",
        )
    catalog = Catalog.open(settings.catalog_url or home.catalog_url)
    try:
        yield catalog
    finally:
        catalog.close()


def read_status() -> dict[str, Any]:
    """Servers of the embedded stack and campaigns of the catalog."""
    settings = Settings()
    home = Home(settings.home)
    campaigns: list[dict[str, Any]] = []
    if settings.catalog_url is not None or has_catalog(home):
        with open_catalog() as catalog:
            campaigns = [_campaign(catalog, row) for row in catalog.campaigns.list()]
    return {
        "home": str(home.path),
        "services": [_service(name, s) for name, s in Stack(home).status().services.items()],
        "campaigns": campaigns,
    }


def _campaign(catalog: Catalog, row: Any) -> dict[str, Any]:
    done = catalog.iterations.list(row.id)
    last = done[-1].values["real_return"]["mean"] if done else None
    return {
        "name": row.id,
        "robot": row.arguments["config"]["robot"],
        "state": row.state,
        "iterations": row.iterations,
        "done": len(done),
        "real_return": last,
        "updated_ns": row.updated_ns,
        "spent": [{"iteration": row.index, "wall_seconds_by_step": row.values["wall_seconds_by_step"]} for row in done],
    }


def read_fleet(catalog: Catalog, spec_name: str | None) -> list[dict[str, Any]]:
    """One row per robot: logs, seconds, quarantined uploads, what it is assigned."""
    from fleet_ingest.ingest import current  # heavy, and `status` does not need it

    rows = []
    for robot in catalog.robots.list(spec_name=spec_name):
        episodes = current(catalog, catalog.episodes.find(robots=[robot.serial]))
        assignment = catalog.assignments.next_for(robot.serial)
        rows.append(
            {
                "serial": robot.serial,
                "spec": robot.spec.name,
                "kind": robot.kind,
                "logs": len(episodes),
                "seconds": round(sum(e.duration_s for e in episodes), 3),
                "quarantined": len(catalog.uploads.list(robot=robot.serial, state="quarantined")),
                "assignment": assignment.key if assignment else "",
            }
        )
    return rows


def registered_robots() -> list[tuple[str, str, str, str]]:
    """(serial, specification, kind, task) of all robots of this home; none when nothing was ever run."""
    settings = Settings()
    if settings.catalog_url is None and not has_catalog(Home(settings.home)):
        return []
    with open_catalog() as catalog:
        tasks = {row.name: Task.from_json(row.manifest).name for row in catalog.artefacts.list("task")}
        return [(r.serial, r.spec.name, r.kind, tasks.get(r.spec.name, "")) for r in catalog.robots.list()]


def _service(name: str, state: ServiceState) -> dict[str, Any]:
    return {
        "name": name,
        "state": state.state,
        "pid": state.pid,
        "ports": state.ports,
        "restarts": state.restarts,
        "log": state.log,
        "error": state.error,
    }
