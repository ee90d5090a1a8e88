"""One S3 server for the tests of a module, a fresh API for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet_ingest.harness import S3Server
from tests.fleet_ingest.service import Service


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "server")
    server.start()
    yield server
    server.kill()
    server.remove_sockets()


@pytest.fixture
def service(tmp_path: Path, s3_server: S3Server) -> Service:
    return Service(tmp_path, s3_server)
