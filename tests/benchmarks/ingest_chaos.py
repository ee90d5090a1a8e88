"""Nothing lost and nothing twice: senders, API and object store killed again and again while 200 files are uploaded.

Four robots send files of all formats, from 3 KB to 40 MB, at 3 MB/s each. Victims and moments are drawn from a seed,
where possible while parts are under way; between kills the API or the store is cut off for seconds (killed and left
down, or stopped so that it hangs). At the end every file is looked for in the catalog and its bytes are hashed in the
store.

    python -m tests.benchmarks.ingest_chaos --json
"""

import argparse
import hashlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleet_ingest.propose import propose
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.protocol import PART_BYTES, PRIORITIES
from storage.catalog.catalog import Catalog
from storage.contracts.errors import Sim2RealError, UnknownName
from storage.objects import ObjectStore
from storage.s3.staging import object_key
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.ingest.mixed_mcap import write_mixed
from tests.benchmarks.ingest.sender import read_counts
from tests.fleet_ingest import log_files
from tests.fleet_ingest.harness import FLEET, ApiServer, Process, S3Server, wait_for

SEED = 5
ROBOTS = 4
DISTURB_S, DRAIN_S = 330.0, 300.0
SENDING_S = 2.0
FORMATS = tuple(log_files.SINGLE.values())


@dataclass(frozen=True)
class Size:
    files: int
    large: int
    kills: int
    cuts: int


FULL, QUICK = Size(200, 24, 110, 8), Size(16, 1, 6, 1)


@dataclass
class Done:
    """What was done to the system."""

    kills: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    inside: int = 0
    """Kills while bytes flowed."""


class Sender(Process):
    """One robot's sending process, its source folder and its spool."""

    def __init__(self, serial: str, api: str, folder: Path, catalog: Catalog, mappings: dict[str, str]) -> None:
        self.serial, self.state, self.source = serial, folder / "state", folder / "source"
        self.source.mkdir(parents=True)
        catalog.keys.admit(serial, RobotKey.load(self.state / "robot.key", serial).public_key, "benchmark")
        catalog.robots.register(serial, FLEET.spec)
        argv = [sys.executable, "-m", "tests.benchmarks.ingest.sender", "--state", str(self.state), "--serial", serial]
        argv += ["--api", api, "--source", str(self.source), "--bytes-per-s", "3e6"]
        argv += [word for suffix, sha256 in mappings.items() for word in ("--mapping", f"{suffix}={sha256}")]
        super().__init__(argv, folder / "sender.log")

    def sent(self) -> int:
        return read_counts(self.state / "sent")[0]

    def empty(self) -> bool:
        logs = self.state / "logs"
        return not any(self.source.iterdir()) and not (logs.exists() and any(logs.iterdir()))


@dataclass
class Works:
    s3: S3Server
    api: ApiServer
    catalog: Catalog
    store: ObjectStore
    senders: list[Sender]
    random: random.Random
    done: Done = field(default_factory=Done)

    def sender(self, serial: str) -> Sender:
        return next(sender for sender in self.senders if sender.serial == serial)

    def kill(self) -> None:
        """SIGKILL of one process, and its next start."""
        draw = self.random.random()
        sending = self._sending()
        victim: Process = self.api if draw < 0.2 else self.s3 if draw < 0.32 else self.random.choice(sending)
        name = "api" if victim is self.api else "s3" if victim is self.s3 else "sender"
        self.done.inside += len(sending) < len(self.senders)
        victim.kill()
        Process.start(victim)  # without waiting for it: it may be killed again while it starts
        self.done.kills[name] += 1

    def _sending(self) -> list[Sender]:
        """The senders from which bytes flow right now, all of them when that does not happen within 2 s."""
        end = time.monotonic() + SENDING_S
        while time.monotonic() < end:
            before = [sender.sent() for sender in self.senders]
            time.sleep(0.05)
            found = [s for s, sent in zip(self.senders, before, strict=True) if s.alive and s.sent() > sent]
            if found:
                time.sleep(self.random.uniform(0.0, 0.5))
                return found
        return self.senders

    def cut(self, seconds: float) -> None:
        """The API or the store is gone, or hangs, for a while."""
        server: Process = self.random.choice([self.api, self.s3])
        self.done.cuts += 1
        if self.random.random() < 0.5 and server.child is not None:
            server.child.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            server.child.send_signal(signal.SIGCONT)
            return
        server.kill()
        time.sleep(seconds)
        Process.start(server)


@contextmanager
def works(folder: Path, seed: int) -> Iterator[Works]:
    s3 = S3Server(folder / "s3")
    s3.start()
    api, senders = ApiServer(folder / "api", s3.config), list[Sender]()
    try:
        api.start()
        store = ObjectStore(s3.config)
        with Catalog.open(api.catalog_url) as catalog:
            mappings = proposed(folder / "examples", store)
            senders += [
                Sender(FLEET.serial(i), api.url, folder / f"robot-{i}", catalog, mappings) for i in range(ROBOTS)
            ]
            yield Works(s3, api, catalog, store, senders, random.Random(seed))
    finally:
        for process in (*senders, api, s3):
            process.kill()
        s3.remove_sockets()


def proposed(folder: Path, store: ObjectStore) -> dict[str, str]:
    """Suffix -> digest of the mapping that is proposed for such a file, kept in the store."""
    found: dict[str, str] = {}
    for name, write in FORMATS:
        path = folder / Path(name).suffix / name
        if path.suffix[1:] in found or path.suffix == ".mcap":
            continue
        path.parent.mkdir(parents=True)
        write(path)
        found[path.suffix[1:]] = store.put_bytes(propose(path)[0].to_json())
    path = folder / "mixed.mcap"
    write_mixed(path, 200_000, 0)
    found["mcap"] = store.put_bytes(propose(path)[0].to_json())
    return found


def make_files(folder: Path, size: Size, seed: int) -> list[Path]:
    """Files of all formats, no two alike, in the order in which the robots get them."""
    draw, files = random.Random(seed), []
    folder.mkdir()
    for i in range(size.files):
        priority = draw.choices(PRIORITIES, weights=(1, 1, 2, 6))[0]
        if i < size.large:
            path = folder / f"{priority}-{i:03d}.mcap"
            write_mixed(path, draw.randrange(2, 5) * PART_BYTES + draw.randrange(PART_BYTES), seed + i)
        else:
            name, write = FORMATS[i % len(FORMATS)]
            path = folder / f"{priority}-{i:03d}{Path(name).suffix}"
            write(path, 60 + 15 * i)
        files.append(path)
    files = [path for path in files if path.is_file()]
    draw.shuffle(files)
    return files


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disturb(w: Works, files: list[Path], size: Size) -> dict[str, set[str]]:
    """Hands the files out bit by bit while processes are killed; serial -> digests of its files."""
    expected: dict[str, set[str]] = {sender.serial: set() for sender in w.senders}
    for sender in w.senders:
        sender.start()
    end = time.monotonic() + DISTURB_S
    for step in range(size.kills):
        for path in files[step * len(files) // size.kills : (step + 1) * len(files) // size.kills]:
            sender = w.senders[w.random.randrange(len(w.senders))]
            expected[sender.serial].add(digest(path))
            hidden = sender.source / f".{path.name}"
            shutil.copy(path, hidden)
            hidden.rename(sender.source / path.name)
        if time.monotonic() > end:
            continue
        time.sleep(w.random.uniform(0.1, 1.6))
        w.kill()
        if step % max(1, size.kills // size.cuts) == size.kills // size.cuts - 1:
            w.cut(w.random.uniform(2.0, 5.0))
    return expected


def judged(w: Works, expected: dict[str, set[str]], sizes: dict[str, int], done: Done) -> dict[str, Figure]:
    lost, late, twice, foreign, states = 0, 0, 0, 0, Counter[str]()
    for serial, digests in expected.items():
        rows = w.catalog.uploads.list(robot=serial)
        found = [row.sha256 for row in rows if row.is_final]
        whole = {sha256 for sha256 in set(found) & digests if intact(w.store, sha256)}
        sender = w.sender(serial)
        waiting = {path.stem for path in (sender.state / "logs").iterdir() if digest(path) == path.stem}
        waiting |= {digest(path) for path in sender.source.iterdir()}  # not yet taken over by the robot
        late += len(digests - whole & waiting)
        lost += len(digests - whole - waiting)
        twice += len(rows) - len({row.sha256 for row in rows})
        foreign += len(set(found) - digests)
        states.update(row.state for row in rows)
        episodes = Counter((e.raw_sha256, e.part) for e in w.catalog.episodes.find(robots=[serial]))
        twice += sum(count - 1 for count in episodes.values())
    sent = [read_counts(sender.state / "sent") for sender in w.senders]
    total, parts = sum(sizes.values()), sum(-(-size // PART_BYTES) for size in sizes.values())
    interruptions, n = done.kills.total() + done.cuts, len(sizes)
    again_bytes, again_parts = sum(s for s, _ in sent) - total, sum(b for _, b in sent) - parts
    staged = len(w.store.staged_objects())
    sys.stderr.write(f"{dict(done.kills)}, {done.cuts} cuts, {dict(states)}\n")
    return {
        "files": Figure(n, "files", n),
        "lost": Figure(lost, "files", n),
        "still in a spool when time was up": Figure(late, "files", n),
        "duplicated": Figure(twice + foreign, "rows", n),
        "accepted or salvaged": Figure(states["accepted"] + states["salvaged"], "files", n),
        "kills": Figure(done.kills.total(), "kills", 1),
        "kills of senders": Figure(done.kills["sender"], "kills", 1),
        "kills of the API": Figure(done.kills["api"], "kills", 1),
        "kills of the store": Figure(done.kills["s3"], "kills", 1),
        "kills while bytes flowed": Figure(done.inside, "kills", done.kills.total()),
        "cuts": Figure(done.cuts, "cuts", 1),
        "parts sent again per interruption": Figure(again_parts / interruptions, "parts", interruptions),
        "bytes sent again per interruption": Figure(again_bytes / interruptions / 1e6, "MB", interruptions),
        "share of bytes sent again": Figure(again_bytes / total, "share", n),
        "left in the staging area": Figure(staged, "objects", n),
    }


def intact(store: ObjectStore, sha256: str) -> bool:
    try:
        return store.hash_object(object_key(sha256))[0] == sha256
    except (UnknownName, Sim2RealError):
        return False


def measure(folder: Path, size: Size) -> dict[str, Figure]:
    files = make_files(folder / "files", size, SEED)
    sizes = {digest(path): path.stat().st_size for path in files}
    begun = time.monotonic()
    with works(folder, SEED) as w:
        expected = disturb(w, files, size)
        disturbed = time.monotonic() - begun
        try:
            wait_for(lambda: all(sender.empty() for sender in w.senders), DRAIN_S, "empty spools")
        except TimeoutError as error:
            sys.stderr.write(f"{error}\n")
        figures = judged(w, expected, sizes, w.done)
        if figures["lost"].value:
            for process in (*w.senders, w.api):
                sys.stderr.write(f"{process.log}: {process.log.read_text()[-1500:]}\n")
    figures["time with kills"] = Figure(disturbed, "s", 1)
    figures["time in all"] = Figure(time.monotonic() - begun, "s", 1)
    return figures


TARGETS = {
    "lost": Target(0, "lower"),
    "still in a spool when time was up": Target(0, "lower"),
    "duplicated": Target(0, "lower"),
    "kills": Target(100, "higher"),
    "parts sent again per interruption": Target(ROBOTS, "lower"),
    "left in the staging area": Target(0, "lower"),
}


def main(argv: list[str] | None = None) -> int:
    arguments: argparse.Namespace = parser(__doc__.splitlines()[0]).parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        figures = measure(Path(folder), QUICK if arguments.quick else FULL)
    publish(envelope("ingest_chaos", figures, TARGETS, [SEED]), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
