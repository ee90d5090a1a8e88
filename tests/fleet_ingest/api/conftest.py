"""One S3 server for the tests of a module, a fresh API for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_ingest.validate import Sandbox
from storage.catalog.catalog import Catalog
from tests.fleet_ingest.harness import S3Server
from tests.fleet_ingest.service import Service


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "server")
    server.start()
    yield server
    server.kill()
    server.remove_sockets()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One child for all tests of a module: its start takes longer than most of them."""
    with Sandbox() as child:
        yield child


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog without rows, to be copied: making the tables takes a second."""
    path = tmp_path_factory.mktemp("tables") / "catalog.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def service(
    tmp_path: Path, s3_server: S3Server, sandbox: Sandbox, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> Service:
    monkeypatch.setattr("fleet_ingest.api.ingest.Sandbox", lambda: sandbox)
    shutil.copy(tables, tmp_path / "catalog.db")
    return Service(tmp_path, s3_server)
