"""The embedded servers of an installation: S3, Prefect, Ray, the ingest API and stand-in robots, as service
specifications.

Only this module knows which servers there are; `storage.embedded` runs whatever it is given. Secrets stand in files
that only their owner may read, and are passed by path.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Literal

from fleet_ingest.robot.cli import robot_argv
from fleet_ingest.robot.credentials import RobotKey
from flows.settings import Settings
from storage.catalog.catalog import Catalog
from storage.embedded import prefect, ray, s3
from storage.embedded.driver import enter_driver_environment
from storage.embedded.files import create_private, write_atomic
from storage.embedded.home import Home
from storage.embedded.service import Health, ServiceSpec
from storage.embedded.stack import Endpoints
from storage.objects import S3Config

Need = Literal["s3", "api", "prefect", "ray"]
STORAGE: frozenset[Need] = frozenset({"s3"})
INGEST: frozenset[Need] = frozenset({"s3", "api"})
TRAINING: frozenset[Need] = frozenset({"s3", "prefect", "ray"})
EVERYTHING: frozenset[Need] = frozenset({"s3", "api", "prefect", "ray"})


def first_services(home: Home, settings: Settings, needs: frozenset[Need]) -> list[ServiceSpec]:
    """The servers that wait for no other: all but the API and the robots."""
    made = []
    if "s3" in needs and settings.s3 is None:
        made.append(s3.s3_service(home, min_free_bytes=settings.min_free_mb * 1_000_000))
    if "prefect" in needs and settings.prefect_api_url is None:
        made.append(prefect.prefect_service(home))
    if "ray" in needs and settings.ray_address is None:
        made.append(ray.ray_service(home, cpus=settings.workers))
    return made


def api_service(home: Home, settings: Settings, endpoints: Endpoints) -> ServiceSpec:
    """The ingest API; its configuration names the catalog, the store and the path of the installation's secret."""
    config = {
        "catalog_url": settings.catalog_url or home.catalog_url,
        "s3": s3_config(settings, home, endpoints).reveal(),
        "secret_file": str(secret_path(home)),
    }
    api_secret(home)
    path = home.stack_dir / "api.json"
    write_atomic(path, json.dumps(config, sort_keys=True).encode())
    return ServiceSpec(
        name="api",
        argv=(sys.executable, "-m", "fleet_ingest.api", "--port", "{port}"),
        ports=("http",),
        env={"SIM2REAL_API_CONFIG": str(path)},
        health=(Health(http="/health"),),
    )


def robot_service(home: Home, catalog: Catalog, driver: str, serial: str, api_url: str) -> ServiceSpec:
    """The process of a stand-in or environment. It has a key of its own, admitted here because the installation starts
    the robot itself, and speaks to nothing but the API and presigned URLs.
    """
    state = home.path / "robots" / serial
    state.mkdir(parents=True, exist_ok=True)
    key = home.stack_dir / f"{serial}.key"
    admit_own(catalog, key, serial)
    return ServiceSpec(
        name=f"robot-{serial}",
        argv=tuple(robot_argv(driver, serial, api=api_url, key_file=key, state=state)),
        stop_timeout_s=3.0,
    )


def admit_own(catalog: Catalog, key_file: Path, serial: str) -> None:
    """Admits the key in `key_file` (made if need be) for `serial`. A key that an operator revoked stays out."""
    public = RobotKey.load(key_file, serial).public_key
    known = catalog.keys.find(serial, public)
    if known is None or known.state == "waiting":
        catalog.keys.admit(serial, public, "installation")
        catalog.audit.record("installation", "admit key", serial, role="admin", detail="a robot that it starts itself")


def s3_config(settings: Settings, home: Home, endpoints: Endpoints) -> S3Config:
    """The configured store, else the embedded one with its own keys."""
    if settings.s3 is not None:
        return settings.s3
    keys = s3.ensure_identities(s3.identities_path(home))
    return S3Config(
        endpoint_url=s3.endpoint_url(endpoints[s3.SERVICE]),
        bucket=s3.BUCKET,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,  # type: ignore[arg-type]
    )


def api_secret(home: Home) -> bytes:
    """The installation's secret, made at first use: tokens are signed with it."""
    path = secret_path(home)
    if not path.exists():
        create_private(path, secrets.token_hex(32).encode())
    return path.read_bytes()


def secret_path(home: Home) -> Path:
    return home.stack_dir / "api.secret"


def enter_environment(settings: Settings, home: Home, endpoints: Endpoints) -> None:
    """Points the client libraries of this process at our servers, whatever the user's shell says about others.

    To be called before prefect and ray are imported: they read their settings then.
    """
    enter_driver_environment(home, endpoints)
    # What fails is said once, by the command; Prefect's own console lines would say it again with a stack trace.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    if settings.prefect_api_url is not None:
        os.environ["PREFECT_API_URL"] = settings.prefect_api_url
    if settings.ray_address is not None:
        os.environ["RAY_ADDRESS"] = settings.ray_address
