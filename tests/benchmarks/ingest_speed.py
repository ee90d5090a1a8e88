"""How fast a large file comes in, end to end, beside a bare boto3 upload of the same bytes and a bare `mcap` read.

One MCAP file (80 % of the bytes in messages of 100 KB, 20 % in messages of 200 B) goes through the operator's uploader,
a real API process and a real S3 server, until the receipt: hash, upload, verify, validate, index. The bare upload goes
to the same server; the bare read iterates the messages with the `mcap` library and decodes nothing. The three take
turns. Parsing into episodes is timed beside the library's iteration with `json.loads` of each small message. Ten
seconds of a real connection are held against the robots' bandwidth cap.

    python -m tests.benchmarks.ingest_speed --json
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from boto3.s3.transfer import TransferConfig
from mcap.reader import make_reader

from fleet_ingest.formats.read import detect_format
from fleet_ingest.propose import propose
from fleet_ingest.robot.client import Client
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.outgoing import Sending, SentFiles
from fleet_ingest.robot.protocol import PART_BYTES
from fleet_ingest.robot.uploader import Uploader
from fleet_ingest.validate import Sandbox
from flows.uploading import LANES
from storage.catalog.catalog import Catalog
from storage.objects import ObjectStore
from storage.s3.client import make_client
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.benchmarks.ingest.cap import share_of_cap
from tests.benchmarks.ingest.mixed_mcap import write_mixed
from tests.fleet_ingest.harness import FLEET, ApiServer, S3Server

SERIAL = "cartpole-0001"
FULL_MB, QUICK_MB = 1024, 32
TURNS = 2


class EndToEnd:
    """Uploads files as an operator's command does, against servers of its own."""

    def __init__(self, folder: Path) -> None:
        self.s3 = S3Server(folder / "s3")
        self.s3.start()
        self.api = ApiServer(folder / "api", self.s3.config)
        self.api.start()
        self.store, self.catalog = ObjectStore(self.s3.config), Catalog.open(self.api.catalog_url)
        key = RobotKey.load(folder / "robot.key", SERIAL)
        self.catalog.keys.admit(SERIAL, key.public_key, "benchmark")
        self.catalog.robots.register(SERIAL, FLEET.spec)
        self.client = Client(self.api.url, key, pause=threading.Event().wait, note=self.note)
        self.sent = SentFiles(folder / "sent")
        self.phases: dict[str, float] = {}

    def note(self, text: str) -> None:
        sys.stderr.write(text + "\n")

    def close(self) -> None:
        self.client.close()
        self.catalog.close()
        self.api.kill()
        self.s3.kill()
        self.s3.remove_sockets()

    def send(self, path: Path, mapping_sha256: str) -> float:
        """Seconds from the first byte hashed to the receipt. Raises RuntimeError unless it was accepted."""
        begun = time.perf_counter()
        sending = Sending(str(path), SERIAL, self.sent.measured(path), detect_format(path), mapping_sha256)
        self.phases = {"hash": time.perf_counter() - begun}
        self.sent.begin(sending)

        def report(phase: str, done: int) -> None:
            self.phases[phase] = time.perf_counter() - begun

        receipt = Uploader(self.client, self.sent, SERIAL, report, lanes=LANES).upload(sending.spooled())
        seconds = time.perf_counter() - begun
        if receipt.state != "accepted":
            raise RuntimeError(f"{receipt.state}: {receipt.reason_code} {receipt.detail}")
        return seconds

    def bare_upload(self, path: Path) -> float:
        client = make_client(self.s3.config)
        config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES)
        seconds = timed(lambda: client.upload_file(str(path), self.s3.config.bucket, "bare/file", Config=config))
        client.delete_object(Bucket=self.s3.config.bucket, Key="bare/file")
        return seconds


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def bare_read(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in make_reader(file).iter_messages())


def json_read(path: Path) -> int:
    """The library's iteration over the small messages, each decoded by `json.loads`."""

    with path.open("rb") as file:
        return sum(1 for _, _, m in make_reader(file).iter_messages(topics=["/joint"]) if json.loads(m.data))


def measure(folder: Path, megabytes: int, turns: int) -> dict[str, Figure]:
    sample = folder / "sample.mcap"
    write_mixed(sample, 400_000, 0)
    mapping = propose(sample)[0]
    times: dict[str, list[float]] = {name: [] for name in ("end", "upload", "read", "parse", "library")}
    sent = hashed = 0.0
    works = EndToEnd(folder / "works")
    try:
        mapping_sha256 = works.store.put_bytes(mapping.to_json())
        works.send(sample, mapping_sha256)  # the validator's child starts with the first file
        for turn in range(turns):
            path = folder / f"{turn}.mcap"
            small, large = write_mixed(path, megabytes << 20, turn)
            size = path.stat().st_size
            times["upload"].append(works.bare_upload(path))
            times["read"].append(timed(lambda p=path: bare_read(p)))  # type: ignore[misc]
            times["end"].append(works.send(path, mapping_sha256))
            hashed, sent = works.phases["hash"], works.phases["send"]
            sys.stderr.write(f"turn {turn}: { {k: round(v[-1], 2) for k, v in times.items() if v} } {works.phases}\n")
            path.unlink()
    finally:
        works.close()
    path = folder / "parsed.mcap"
    small, large = write_mixed(path, min(megabytes, 128) << 20, 9)
    with Sandbox() as sandbox:
        sandbox.read(sample, mapping, raw_sha256="0" * 64, out=folder, robot=SERIAL)
        for _ in range(turns):
            times["library"].append(timed(lambda: json_read(path)))
            times["parse"].append(
                timed(lambda: sandbox.read(path, mapping, raw_sha256="0" * 64, out=folder, robot=SERIAL))
            )
    best = {name: min(values) for name, values in times.items()}
    rate = {name: size / 1e6 / best[name] for name in ("end", "upload", "read")}
    return {
        "size": Figure(size / 1e6, "MB", turns),
        "end to end": Figure(rate["end"], "MB/s", turns),
        "bare boto3 upload": Figure(rate["upload"], "MB/s", turns),
        "bare mcap read": Figure(rate["read"], "MB/s", turns),
        "end to end of the slower bare one": Figure(rate["end"] / min(rate["upload"], rate["read"]), "ratio", turns),
        "until hashed (last turn)": Figure(hashed, "s", 1),
        "until sent (last turn)": Figure(sent, "s", 1),
        "until the receipt (last turn)": Figure(times["end"][-1], "s", 1),
        "parsing into episodes": Figure((small + large) / best["parse"], "messages/s", turns),
        "library, small messages decoded": Figure((small + large) / best["library"], "messages/s", turns),
        "parsing of the library's speed": Figure(best["library"] / best["parse"], "ratio", turns),
    }


def cap_figures(rates: tuple[float, ...]) -> dict[str, Figure]:
    found = {rate: share_of_cap(rate) for rate in rates}
    figures = {f"cap of {rate / 1e6:g} MB/s: carried in 10 s": Figure(v, "of the cap", 1) for rate, v in found.items()}
    worst = max(abs(share - 1.0) for share in found.values())
    return figures | {"bandwidth cap, largest deviation over 10 s": Figure(worst, "share", len(rates))}


TARGETS = {
    "end to end of the slower bare one": Target(0.6, "higher"),
    "bandwidth cap, largest deviation over 10 s": Target(0.05, "lower"),
}


def main(argv: list[str] | None = None) -> int:
    words = parser(__doc__.splitlines()[0])
    words.add_argument(
        "--megabytes", type=int, help=f"size of the file; {FULL_MB} unless told, {QUICK_MB} with --quick"
    )
    words.add_argument("--turns", type=int, default=TURNS, help="how often each of the three is run; the best counts")
    arguments: argparse.Namespace = words.parse_args(argv)
    megabytes = arguments.megabytes or (QUICK_MB if arguments.quick else FULL_MB)
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        figures = measure(Path(folder), megabytes, 1 if arguments.quick else arguments.turns)
    figures |= cap_figures((0.5e6, 2e6) if arguments.quick else (0.5e6, 2e6, 8e6))
    publish(envelope("ingest_speed", figures, TARGETS, list(range(arguments.turns))), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
