"""The command line of the embedded S3 server, against the real server."""

import http.client
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from storage.contracts.errors import UnavailableError
from storage.embedded import s3
from storage.embedded.home import Home
from storage.embedded.ports import PortBook
from storage.embedded.service import Values


class Weed:
    def __init__(self, folder: Path) -> None:
        self.folder, self.ports = folder, {"s3": 0}
        (folder / "data").mkdir()
        self.keys = s3.ensure_identities(folder / "s3.json")
        self.process: subprocess.Popen[bytes] | None = None
        self.sockets: list[str] = []

    def start(self, service: str = "s3") -> None:
        self.ports = PortBook(self.folder / "ports.json").take(service, s3.PORTS)
        self.sockets += s3.socket_paths(self.ports)
        with (self.folder / "log").open("ab") as log:
            command = s3.weed_command(self.folder / "data", self.ports, self.folder / "s3.json")
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        s3.wait_ready(self.ports)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=s3.endpoint_url(self.ports),
            aws_access_key_id=self.keys.access_key_id,
            aws_secret_access_key=self.keys.secret_access_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", proxies={}, retries={"total_max_attempts": 1}),
        )


@pytest.fixture
def weed(tmp_path: Path) -> Iterator[Weed]:
    found = Weed(tmp_path)
    yield found
    found.kill()
    for path in found.sockets:
        Path(path).unlink(missing_ok=True)


def test_objects_survive_a_kill_and_a_change_of_ports(weed: Weed) -> None:
    weed.start()
    weed.client().put_object(Bucket=s3.BUCKET, Key="a/b", Body=b"bytes")
    weed.kill()
    weed.start()
    # ready means that stored objects can be read at once, without a retry
    assert weed.client().get_object(Bucket=s3.BUCKET, Key="a/b")["Body"].read() == b"bytes"
    weed.kill()
    weed.start("elsewhere")
    assert weed.client().get_object(Bucket=s3.BUCKET, Key="a/b")["Body"].read() == b"bytes"


def test_nothing_without_a_signature_on_the_s3_port(weed: Weed) -> None:
    weed.start()
    for method in ("GET", "PUT"):
        connection = http.client.HTTPConnection("127.0.0.1", weed.ports["s3"], timeout=5)
        connection.request(method, f"/{s3.BUCKET}/x", body=b"")
        assert connection.getresponse().status == 403
        connection.close()


def test_all_sockets_in_tmp_are_known(weed: Weed) -> None:
    # what servers killed earlier left there may bear a number of ours
    before = set(Path("/tmp").glob("seaweedfs-*.sock"))
    weed.start()
    numbers = {str(port) for port in weed.ports.values()} | {str(port + 10_000) for port in weed.ports.values()}
    made = set(Path("/tmp").glob("seaweedfs-*.sock")) - before
    found = {str(path) for path in made if path.stem.rpartition("-")[2] in numbers}
    assert found
    assert found <= set(s3.socket_paths(weed.ports))


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "s3.json"
    keys = s3.ensure_identities(path)
    assert s3.ensure_identities(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert s3.ensure_identities(tmp_path / "other.json") != keys
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_broken_identities_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s3.json").write_text('{"identities": []}')
    with pytest.raises(UnavailableError, match=r"s3\.json holds no S3 identities"):
        s3.ensure_identities(tmp_path / "s3.json")


def test_a_server_that_is_not_there_is_not_ready(tmp_path: Path) -> None:
    ports = PortBook(tmp_path / "ports.json").take("s3", s3.PORTS)
    with pytest.raises(UnavailableError, match=str(ports["s3"])):
        s3.wait_ready(ports, timeout_s=0.2)


def test_the_service_fills_to_the_command(home: Home, tmp_path: Path) -> None:
    ports = PortBook(tmp_path / "ports.json").take("s3", s3.PORTS)
    spec = s3.s3_service(home)
    filled = spec.filled(Values(str(home.path), str(home.runtime_path), "s3", {"s3": ports}))
    assert list(filled.argv) == s3.weed_command(home.s3_dir, ports, s3.identities_path(home))
    assert set(filled.scratch) == set(s3.socket_paths(ports))
