"""An open engine: the catalog, the object store and the addresses of the servers, for the length of a command.

Embedded servers are started when none is up and stop after the last command unless `sim2real up` pinned them. This
module opens things; it computes nothing.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows import cluster
from flows.progress import Progress, reporting
from flows.services import Need, api_service, enter_environment, first_services, s3_config
from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.embedded.home import Home
from storage.embedded.prefect import api_url
from storage.embedded.stack import Endpoints, Stack
from storage.objects import ObjectStore

_DRAIN_S = 5.0


@dataclass(frozen=True)
class Engine:
    """What flows work with. `endpoints` is service -> port name -> port, for embedded services."""

    settings: Settings
    home: Home
    stack: Stack
    catalog: Catalog
    store: ObjectStore
    endpoints: Endpoints

    def close_and_wait(self) -> None:
        """Gives the servers up and returns when they are gone, unless somebody else needs them or `up` pinned them."""
        cluster.disconnect()
        if "prefect" in sys.modules:
            from prefect.events.worker import EventsWorker
            from prefect.logging.handlers import APILogWorker

            # What Prefect still has to send goes out while its server is there to take it.
            for worker in (APILogWorker, EventsWorker):
                worker.drain_all(timeout=_DRAIN_S)
        self.stack.close(wait=True)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.endpoints['api']['http']}"

    @property
    def prefect_ui_url(self) -> str:
        return (self.settings.prefect_api_url or api_url(self.endpoints["prefect"]["http"])).removesuffix("/api")


@contextmanager
def open_engine(settings: Settings, needs: frozenset[Need]) -> Iterator[Engine]:
    """Opens the engine with the servers in `needs`. Raises UnavailableError that names the server that did not come
    up.
    """
    home = Home(settings.home)
    with Stack(home) as stack:
        with reporting("start the servers") as progress:
            endpoints = _start(stack, home, settings, needs, progress)
        enter_environment(settings, home, endpoints)
        with Catalog.open(settings.catalog_url or home.catalog_url) as catalog:
            store = ObjectStore(s3_config(settings, home, endpoints))
            store.check()
            yield Engine(settings, home, stack, catalog, store, endpoints)


def _start(stack: Stack, home: Home, settings: Settings, needs: frozenset[Need], progress: Progress) -> Endpoints:
    """Starts what is embedded of `needs`. The API comes last: it wants the catalog's tables and the store's port."""
    Catalog.open(settings.catalog_url or home.catalog_url).close()
    endpoints = stack.ensure(first_services(home, settings, needs), progress=progress)
    if "api" in needs:
        endpoints = stack.ensure([api_service(home, settings, endpoints)], progress=progress)
    return endpoints
