"""200 robots at once, and a catalog with a million episodes.

Simulated robots (threads of this process, each with its own client) upload CSV logs of about 40 KB one after the other
to a real API process and a real S3 server; every answer and the API's resident memory are watched. Then the queries
behind the operators' pages are timed on PostgreSQL.

    python -m tests.benchmarks.ingest_load --json
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fleet_ingest.api.tokens import issue
from fleet_ingest.propose import propose
from fleet_ingest.robot.client import Client, Stopped
from fleet_ingest.robot.credentials import FixedToken, RobotKey
from fleet_ingest.robot.outgoing import Sending, SentFiles, digest_of
from fleet_ingest.robot.uploader import Uploader
from storage.catalog.catalog import Catalog
from storage.contracts.base import Contract
from storage.contracts.errors import Sim2RealError
from storage.objects import ObjectStore
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.ingest import million
from tests.conftest import Postgres
from tests.fleet_ingest import log_files
from tests.fleet_ingest.harness import FLEET, SECRET, ApiServer, S3Server

FULL = {"robots": 200, "seconds": 420.0, "episodes": 1_000_000}
QUICK = {"robots": 20, "seconds": 8.0, "episodes": 5_000}
WARM_UP = 0.4
"""Share of the time after which memory is watched."""
PATIENCE_S = 120.0


class Timed(Client):
    """Keeps how long each call took, by the last word of its path."""

    def __init__(self, *words: Any, times: list[tuple[str, float]], **more: Any) -> None:
        super().__init__(*words, **more)
        self._times = times

    def call(self, method: str, path: str, body: Contract | None = None) -> bytes:
        begun = time.perf_counter()
        answer = super().call(method, path, body)
        self._times.append((path.rsplit("/", 1)[1], time.perf_counter() - begun))
        return answer


class Load:
    """Robots that upload until the time is up. Each finishes what it has begun."""

    def __init__(self, folder: Path, robots: int) -> None:
        self.folder = folder
        self.s3 = S3Server(folder / "s3")
        self.s3.start()
        self.api = ApiServer(folder / "api", self.s3.config)
        self.api.start()
        self.times: list[tuple[str, float]] = []
        self.states: Counter[str] = Counter()
        self.failures: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self.stop, self.give_up = threading.Event(), threading.Event()
        self.tokens: dict[str, str] = {}
        with Catalog.open(self.api.catalog_url) as catalog:
            for i in range(robots):
                serial = FLEET.serial(i)
                key = catalog.keys.admit(serial, RobotKey.load(folder / "key" / serial, serial).public_key, "load")
                catalog.robots.register(serial, FLEET.spec)
                self.tokens[serial] = issue(SECRET, "robot", serial, key=key.id, seconds=3600)
        sample = folder / "sample.csv"
        log_files.csv(sample, 1000)
        self.mapping = ObjectStore(self.s3.config).put_bytes(propose(sample)[0].to_json())

    def close(self) -> None:
        self.api.kill()
        self.s3.kill()
        self.s3.remove_sockets()

    def run(self, seconds: float) -> None:
        threads = [threading.Thread(target=self._robot, args=(serial,)) for serial in self.tokens]
        for thread in threads:
            thread.start()
        process, begun = psutil.Process(self.api.child.pid), time.monotonic()  # type: ignore[union-attr]
        while time.monotonic() < begun + seconds:
            self.memory.append((time.monotonic() - begun, process.memory_info().rss / 2**20))
            time.sleep(0.5)
        self.stop.set()
        end = time.monotonic() + PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.give_up.set()
        for thread in threads:
            thread.join(60)

    def _robot(self, serial: str) -> None:
        client = Timed(
            self.api.url, FixedToken(self.tokens[serial]), pause=self.give_up.wait, note=lambda text: None,
            times=self.times,
        )  # fmt: skip
        sent, draw, number = SentFiles(self.folder / "sent" / serial), random.Random(serial), 0
        time.sleep(draw.uniform(0.0, 1.0))
        while not self.stop.is_set():
            path = self.folder / f"{serial}-{number}.csv"
            rows = "".join(
                f"{i * 0.01:.2f},{draw.random():.6f},{draw.random():.6f},{draw.random():.6f}\n" for i in range(1000)
            )
            path.write_text("t,angle,rate,command\n" + rows)
            sending = Sending(str(path), serial, digest_of(path), "csv", self.mapping)
            try:
                self.states[Uploader(client, sent, serial).upload(sending.spooled()).state] += 1
            except (Sim2RealError, Stopped) as error:
                self.failures.append(f"{serial}: {type(error).__name__} {error}")
                return
            path.unlink()
            number += 1
        client.close()

    def figures(self) -> dict[str, Figure]:
        begin = [seconds for word, seconds in self.times if word == "uploads"]
        slots = [seconds for word, seconds in self.times if word == "parts"]
        warm = [(t, rss) for t, rss in self.memory if t >= WARM_UP * self.memory[-1][0]]
        slope = float(np.polyfit([t / 60 for t, _ in warm], [rss for _, rss in warm], 1)[0])
        done, n = sum(self.states.values()), len(self.tokens)
        for line in self.failures[:5]:
            sys.stderr.write(line + "\n")
        sys.stderr.write(f"{dict(self.states)}\n")
        return {
            "robots": Figure(n, "robots", n),
            "uploads": Figure(done, "files", done),
            "failed uploads": Figure(len(self.failures), "files", done + len(self.failures)),
            "not accepted": Figure(done - self.states["accepted"], "files", done),
            "uploads per second": Figure(done / self.memory[-1][0], "1/s", done),
            "session call, median": Figure(1e3 * float(np.median(begin)), "ms", len(begin)),
            "session call, p99": Figure(1e3 * float(np.percentile(begin, 99)), "ms", len(begin)),
            "slots call, p99": Figure(1e3 * float(np.percentile(slots, 99)), "ms", len(slots)),
            "resident memory of the API": Figure(max(rss for _, rss in self.memory), "MiB", len(self.memory)),
            "memory slope after warm-up": Figure(slope, "MB/min", len(warm)),
        }


def robots(folder: Path, number: int, seconds: float) -> dict[str, Figure]:
    load = Load(folder, number)
    try:
        load.run(seconds)
        return load.figures()
    finally:
        load.close()


def catalog(folder: Path, episodes: int) -> dict[str, Figure]:
    runtime = folder / "pg"
    runtime.mkdir(mode=0o700)
    server = Postgres(runtime)
    try:
        url = server.url(server.create())
        begun = time.monotonic()
        million.fill(url, episodes)
        sys.stderr.write(f"{episodes} episodes in {time.monotonic() - begun:.0f} s\n")
        with Catalog.open(url) as opened:
            found = million.timings(opened, episodes)
    finally:
        server.stop()
    figures = {f"{name}, p95": Figure(million.p95(times), "ms", len(times)) for name, times in found.items()}
    slowest = max(figure.value for figure in figures.values())
    return figures | {
        "episodes in the catalog": Figure(episodes, "episodes", 1),
        "slowest query, p95": Figure(slowest, "ms", len(found)),
    }


TARGETS = {
    "failed uploads": Target(0, "lower"),
    "memory slope after warm-up": Target(1.0, "lower"),
    "slowest query, p95": Target(100.0, "lower"),
}


def main(argv: list[str] | None = None) -> int:
    words = parser(__doc__.splitlines()[0])
    words.add_argument("--part", choices=("robots", "catalog", "both"), default="both")
    words.add_argument("--seconds", type=float, help="how long the robots upload")
    words.add_argument("--episodes", type=int, help="size of the catalog")
    arguments: argparse.Namespace = words.parse_args(argv)
    size: dict[str, Any] = dict(QUICK if arguments.quick else FULL)
    size |= {k: v for k in ("seconds", "episodes") if (v := getattr(arguments, k)) is not None}
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        if arguments.part != "catalog":
            figures |= robots(Path(folder), size["robots"], size["seconds"])
        if arguments.part != "robots":
            figures |= catalog(Path(folder), size["episodes"])
    publish(envelope("ingest_load", figures, TARGETS, [0]), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
