"""S3, Prefect and Ray together, started from a shell full of poison; nothing of them is left."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from storage.embedded import prefect, ray, s3
from storage.embedded.driver import driver_environment
from storage.embedded.environment import clean_environment
from storage.embedded.home import Home
from storage.embedded.ports import can_listen
from storage.embedded.probe import HOST, http_ok
from storage.embedded.stack import Endpoints, Stack

POISON = {
    **{name: "poison" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET", "RAY_AUTH_MODE")},
    **{name: "http://127.0.0.1:9" for name in ("AWS_ENDPOINT_URL", "PREFECT_API_URL", "HTTP_PROXY", "https_proxy")},
    **{name: "127.0.0.1:9" for name in ("RAY_ADDRESS", "ALL_PROXY")},
    "PREFECT_HOME": "/poison",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////poison/prefect.db",
    "PREFECT_SERVER_API_PORT": "9",
    "RAY_TMPDIR": "/poison",
    "RAY_AUTH_TOKEN": "poison",
    "WEED_MASTER_PORT": "9",
}
FLOW = """
import os, ray
from prefect import flow, task

@ray.remote
def double(x):
    return 2 * x, os.environ["OMP_NUM_THREADS"]

@task
def on_ray(x):
    return ray.get(double.remote(x))

@flow
def spine():
    ray.init(log_to_driver=False)
    hanging = ray.remote(lambda: __import__("time").sleep(600)).remote()
    return on_ray(21)

print("RESULT", spine(), flush=True)
os._exit(0)  # as if killed: Ray's worker is still busy with the task that hangs
"""


def run_flow(home: Home, endpoints: Endpoints, tmp_path: Path) -> str:
    script = tmp_path / "flow.py"
    script.write_text(FLOW)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=clean_environment(driver_environment(home, endpoints)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def put_and_get(home: Home, endpoints: Endpoints) -> bytes:
    keys = s3.ensure_identities(s3.identities_path(home))
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url(endpoints["s3"]),
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", proxies={}),
    )
    client.put_object(Bucket=s3.BUCKET, Key="k", Body=b"v")
    return bytes(client.get_object(Bucket=s3.BUCKET, Key="k")["Body"].read())


@pytest.mark.slow
def test_the_real_servers_in_a_poisoned_shell(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Home], list[str]]
) -> None:
    for name, value in POISON.items():
        monkeypatch.setenv(name, value)
    with Stack(home) as stack:
        services = [s3.s3_service(home), prefect.prefect_service(home), ray.ray_service(home, cpus=2)]
        endpoints = stack.ensure(services)
        assert http_ok(endpoints["prefect"]["http"], "/api/health")
        assert put_and_get(home, endpoints) == b"v"
        assert "RESULT (42, '1')" in run_flow(home, endpoints, tmp_path)
        assert (home.prefect_dir / "prefect.db").exists()
        stack.close(wait=True)
    assert leftovers(home) == []
    assert all(can_listen(port) for ports in endpoints.values() for port in ports.values()), f"busy ports on {HOST}"
    assert [path for path in s3.socket_paths(endpoints["s3"]) if Path(path).exists()] == []


def test_the_token_of_ray_is_private_and_stays(home: Home) -> None:
    spec = ray.ray_service(home)
    token = ray.token_path(home)
    text = token.read_text()
    assert len(text) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    assert ray.ray_service(home) == spec
    assert token.read_text() == text
    assert text not in spec.to_json().decode(), "specifications are seen in process lists and logs"


def test_every_port_of_ray_is_chosen(home: Home) -> None:
    spec = ray.ray_service(home)
    for port in spec.ports:
        assert any(f"{{port:{port}}}" in part for part in (*spec.argv, *spec.env.values())), port
