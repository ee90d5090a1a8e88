"""Real servers and robot processes for tests: an S3 server, the API, robots; each can be killed and started again."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper

from fleet_ingest.api.ingest import Ingester
from fleet_ingest.api.janitor import Janitor
from fleet_ingest.api.jobs import Jobs
from fleet_ingest.api.tokens import installation_token, issue
from fleet_ingest.api.uploads import Uploads
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment
from fleet_ingest.standins.registry import standin
from policy.runtime.runner import PolicyRunner
from storage.catalog.assignments import AssignmentRow
from storage.catalog.catalog import Catalog
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.starts import evaluation_starts
from storage.embedded import s3
from storage.objects import ObjectStore, S3Config
from storage.s3.client import make_client

FLEET = standin("cartpole")
SECRET = b"0123456789abcdef0123456789abcdef"


def free_port() -> int:
    """A port p below 30000 with p + 10000 free too."""
    for _ in range(200):
        port = int(np.random.default_rng().integers(20_000, 22_700))
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue
    raise RuntimeError("no free port pair")


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.005)


class Process:
    """A child whose output goes to a file; `kill` is SIGKILL."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.argv, self.log, self.env = argv, log, env or {}
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.argv, stdout=output, stderr=output, env=os.environ | self.env, start_new_session=True
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)
            self.child.wait(30)

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None


class S3Server(Process):
    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.ports = {name: free_port() for name in s3.PORTS}
        keys = s3.ensure_identities(directory / "s3.json")
        self.config = S3Config.model_validate(
            {
                "endpoint_url": s3.endpoint_url(self.ports),
                "bucket": s3.BUCKET,
                "access_key_id": keys.access_key_id,
                "secret_access_key": keys.secret_access_key,
            }
        )
        argv = s3.weed_command(directory / "data", self.ports, directory / "s3.json")
        (directory / "data").mkdir()
        super().__init__(argv, directory / "weed.log")

    def start(self) -> None:
        super().start()
        s3.wait_ready(self.ports)

    def remove_sockets(self) -> None:
        for path in s3.socket_paths(self.ports):
            Path(path).unlink(missing_ok=True)


class ApiServer(Process):
    def __init__(self, directory: Path, config: S3Config) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.catalog_url, self.s3 = f"sqlite:///{directory / 'catalog.db'}", config
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (directory / "secret").write_bytes(SECRET)
        settings = {
            "catalog_url": self.catalog_url,
            "s3": config.reveal(),
            "secret_file": str(directory / "secret"),
        }
        (directory / "api.json").write_text(json.dumps(settings))
        argv = [sys.executable, "-m", "fleet_ingest.api", "--port", str(self.port)]
        super().__init__(argv, directory / "api.log", {"SIM2REAL_API_CONFIG": str(directory / "api.json")})

    def start(self) -> None:
        super().start()
        wait_for(self.ready, 60, f"the API's start (see {self.log})")

    def ready(self) -> bool:
        if not self.alive:
            raise RuntimeError(f"the API ended: {self.log.read_text()[-2000:]}")
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=1).status_code == 200
        except httpx.TransportError:
            return False


class Robot(Process):
    """Makes its key and, with a catalog, has it admitted there."""

    def __init__(
        self, serial: str, api: str, directory: Path, catalog: Catalog | None = None, *, driver: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        key = directory / "robot.key"
        if catalog is not None:
            catalog.keys.admit(serial, RobotKey.load(key, serial).public_key, "test")
        self.serial, self.state = serial, directory / "state"
        argv = FLEET.argv(serial, api=api, key_file=key, state=self.state, poll_s=0.05)
        if driver:
            argv[argv.index("--driver") + 1] = driver
        super().__init__(argv, directory / "robot.log")

    def logged(self) -> tuple[int, int]:
        """(logs in the spool's journal, those of them without a receipt)."""
        if not (self.state / "spool.db").exists():
            return 0, 0
        with closing(sqlite3.connect(f"file:{self.state / 'spool.db'}?mode=ro", uri=True, timeout=10)) as database:
            try:
                all_logs, done = database.execute("SELECT count(*), count(receipt) FROM logs").fetchone()
            except sqlite3.OperationalError:
                return 0, 0
        return all_logs, all_logs - done

    def crash(self, when: Callable[[], bool], within_s: float) -> None:
        """SIGKILL at a random moment soon after `when` comes true, and another start."""
        wait_for(when, 60, "the moment to kill the robot")
        time.sleep(random.uniform(0.0, within_s))
        self.kill()
        self.start()


def headers(serial: str | None = None, key: int = 0) -> dict[str, str]:
    """Of a robot with the admitted key `key`, or of the installation itself."""
    token = installation_token(SECRET) if serial is None else issue(SECRET, "robot", serial, key=key, seconds=600)
    return {"Authorization": f"Bearer {token}"}


def linear_policy(gains: list[float], *, rows: int = 3) -> tuple[PolicyManifest, bytes]:
    """command = gains . newest state - 0.1 * newest command, as ONNX with history windows."""
    weights = np.zeros((1, rows, 4), dtype=np.float32)
    weights[0, -1] = gains
    memory = np.zeros((1, rows, 1), dtype=np.float32)
    memory[0, -1] = -0.1
    nodes = [
        helper.make_node("Mul", ["state_history", "ws"], ["a"]),
        helper.make_node("Mul", ["command_history", "wc"], ["b"]),
        helper.make_node("ReduceSum", ["a", "axes"], ["sa"], keepdims=0),
        helper.make_node("ReduceSum", ["b", "axes"], ["sb"], keepdims=0),
        helper.make_node("Add", ["sa", "sb"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "one"], ["command"]),
    ]
    inputs = [
        helper.make_tensor_value_info("state_history", TensorProto.FLOAT, ["B", rows, 4]),
        helper.make_tensor_value_info("command_history", TensorProto.FLOAT, ["B", rows, 1]),
    ]
    constants = [
        helper.make_tensor("ws", TensorProto.FLOAT, weights.shape, weights),
        helper.make_tensor("wc", TensorProto.FLOAT, memory.shape, memory),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    output = helper.make_tensor_value_info("command", TensorProto.FLOAT, ["B", 1])
    graph = helper.make_graph(nodes, "linear", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = bytes(model.SerializeToString())
    manifest = PolicyManifest(
        name="linear",
        onnx_sha256=sha256_hex(data),
        spec=FLEET.spec,
        task=FLEET.task.name,
        history_steps=rows,
        control_rate_hz=FLEET.spec.control_rate_hz,
    )
    return manifest, data


def store_policy(catalog: Catalog, store: ObjectStore, gains: list[float]) -> str:
    """Puts a linear policy where flows put trained ones; returns the manifest's digest."""
    manifest, data = linear_policy(gains)
    store.put_bytes(data)
    catalog.artefacts.add("policy", manifest.digest, manifest.to_json())
    return manifest.digest


def plan(episodes: int, purpose: str, *, seed: int = 0, duration_s: float = 1.0) -> dict[str, object]:
    noise = None if purpose in ("evaluation", "random") else {"std": 0.3, "time_constant_s": 0.2}
    rows = [
        {
            "index": i,
            "seed": seed * 1000 + i,
            "start": start,
            "duration_s": duration_s,
            "purpose": purpose,
            "noise": noise,
        }
        for i, start in enumerate(evaluation_starts(FLEET.task, episodes, seed))
    ]
    return {"task": FLEET.task.model_dump(mode="json"), "episodes": rows}


class Works:
    """S3, API and catalog with robots that have assignments; says what an undisturbed run would have uploaded."""

    def __init__(self, directory: Path, serials: list[str], *, episodes: int) -> None:
        self.s3 = S3Server(directory / "s3")
        self.api = ApiServer(directory / "api", self.s3.config)
        self.catalog = Catalog.open(self.api.catalog_url)
        self.store = ObjectStore(self.s3.config)
        self.robots: list[Robot] = []
        self.expected: dict[str, list[str]] = {}
        try:
            self.s3.start()
            self.api.start()
            self._assign(directory, serials, episodes)
        except BaseException:
            self.stop()
            raise

    def _assign(self, directory: Path, serials: list[str], episodes: int) -> None:
        driver = "python:tests.fleet_ingest.slow_driver:open_robot"
        self.robots = [Robot(s, self.api.url, directory / s, self.catalog, driver=driver) for s in serials]
        manifest, onnx = linear_policy([-2.0, -3.0, 30.0, 6.0])
        policy = store_policy(self.catalog, self.store, [-2.0, -3.0, 30.0, 6.0])
        for serial in serials:
            self.catalog.robots.register(serial, FLEET.spec, kind="standin")
            for name, digest in (("random", None), ("exploration", policy), ("evaluation", policy)):
                row = self.catalog.assignments.assign(
                    f"c/0/{name}/{serial}", serial, plan(episodes, name, seed=3), digest
                )
                self.expected.setdefault(serial, []).extend(undisturbed(row, manifest, onnx))

    def start(self) -> None:
        for robot in self.robots:
            robot.start()

    def done(self) -> bool:
        return not self.catalog.assignments.list(state="open")

    def check(self) -> None:
        """Exactly the planned logs, with the bytes of an undisturbed run; nothing left behind."""
        for robot in self.robots:
            rows = self.catalog.uploads.list(robot=robot.serial)
            assert [r.state for r in rows] == ["accepted"] * len(self.expected[robot.serial])
            assert sorted(r.sha256 for r in rows) == sorted(self.expected[robot.serial])
            episodes = self.catalog.episodes.find(robots=[robot.serial])
            assert sorted(e.raw_sha256 for e in episodes) == sorted(self.expected[robot.serial])
            assert list((robot.state / "logs").iterdir()) == []
        # A kill between an upload's row and the end of its staged bytes leaves an orphan, which the janitor takes.
        jobs = Jobs()
        uploads = Uploads(self.catalog, self.store, Ingester(self.catalog, self.store), jobs)
        Janitor(self.catalog, self.store, uploads, grace_s=-5.0).sweep()
        jobs.close()
        staged = make_client(self.s3.config).list_objects_v2(Bucket=self.store.config.bucket, Prefix="staging/")
        assert staged.get("KeyCount") == 0, [entry["Key"] for entry in staged["Contents"]]

    def stop(self) -> None:
        for process in (*self.robots, self.api, self.s3):
            process.kill()
        self.s3.remove_sockets()
        self.catalog.close()


def undisturbed(row: AssignmentRow, manifest: PolicyManifest, onnx: bytes) -> list[str]:
    """Digests of the logs of an assignment, made in this process."""
    assignment = Assignment.model_validate(
        {
            "id": row.id,
            "key": row.key,
            "robot": row.robot,
            "plan": row.plan,
            "policy": row.policy,
            "manifest": manifest if row.policy else None,
            "onnx_url": "http://nowhere" if row.policy else None,
        }
    )
    runner = PolicyRunner(manifest, onnx) if row.policy else None
    robot = FLEET.open(row.robot)
    return [sha256_hex(write_log(run_episode(robot, assignment, e, runner))) for e in assignment.plan.episodes]
