"""An open engine: the catalog, the object store and the addresses of the servers, for the length of a command.

Embedded servers are started when none is up and stop after the last command unless `sim2real up` pinned them. This module
opens things; it computes nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.progress import Progress, reporting
from flows.services import Need, api_service, first_services, s3_config
from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.contracts.errors import UnavailableError
from storage.embedded.environment import POISON_PREFIXES as FOREIGN_PREFIXES
from storage.embedded.home import Home
from storage.embedded.stack import Stack
from storage.objects import ObjectStore


@dataclass(frozen=True)
class Engine:
    """What flows work with. `endpoints` is service -> port name -> port, for embedded services."""

    settings: Settings
    home: Home
    stack: Stack
    catalog: Catalog
    store: ObjectStore
    endpoints: dict[str, dict[str, int]]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.endpoints['api']['http']}"

    @property
    def prefect_ui_url(self) -> str:
        return self.settings.prefect_api_url or f"http://127.0.0.1:{self.endpoints['prefect']['http']}"


@contextmanager
def open_engine(settings: Settings, needs: frozenset[Need], *, title: str = "start the stack") -> Iterator[Engine]:
    """Opens the engine with the servers in `needs`. Raises UnavailableError that names the server that did not come up."""
    home = Home(settings.home)
    stack = Stack(home)
    with stack.lease():
        with reporting(title) as progress:
            endpoints = _start(stack, home, settings, needs, progress)
        _configure_clients(settings, endpoints, home)
        catalog = Catalog.open(settings.catalog_url or home.catalog_url)
        try:
            yield Engine(settings, home, stack, catalog, ObjectStore(s3_config(settings, home, endpoints)), endpoints)
        finally:
            catalog.close()


def _start(stack: Stack, home: Home, settings: Settings, needs: frozenset[Need], progress: Progress) -> dict[str, dict[str, int]]:
    endpoints = stack.ensure(first_services(home, settings, needs), progress=progress)
    Catalog.open(settings.catalog_url or home.catalog_url).close()
    if "api" in needs:
        endpoints = stack.ensure([api_service(home, settings, endpoints)], progress=progress)
    missing = [need for need in needs if need not in endpoints and not settings.is_external(need)]
    if missing:
        raise UnavailableError(f"embedded servers did not start: {', '.join(sorted(missing))}", remedy="Run 'sim2real doctor'.")
    return endpoints


def _configure_clients(settings: Settings, endpoints: dict[str, dict[str, int]], home: Home) -> None:
    """Points the client libraries of this process at our servers, whatever the user's shell says about others."""
    for name in [name for name in os.environ if name.startswith(FOREIGN_PREFIXES)]:
        del os.environ[name]
    from flows.services import client_environment

    os.environ.update(client_environment(settings, home, endpoints))
