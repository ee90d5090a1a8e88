"""How bytes leave: the cap measured on a real connection, waits between attempts, parts journaled before they go."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet_ingest.robot.backoff import Backoff
from fleet_ingest.robot.client import Client, Refused, Stopped
from fleet_ingest.robot.credentials import FixedToken
from fleet_ingest.robot.outgoing import SentFiles, digest_of
from fleet_ingest.robot.protocol import Problem, Receipt, Slot, Slots, UploadState
from fleet_ingest.robot.spool import Spool
from fleet_ingest.robot.throttle import Throttle
from fleet_ingest.robot.uploader import Uploader
from storage.contracts.errors import DataError

RATE = 2e6
PART = 1000


class Sink(ThreadingHTTPServer):
    """Notes how many bytes had arrived when."""

    def __init__(self) -> None:
        self.arrived: list[tuple[float, int]] = []
        super().__init__(("127.0.0.1", 0), Taker)


class Taker(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        left = int(self.headers["content-length"])
        while left:
            data = self.rfile.read1(min(left, 65536))
            left -= len(data)
            self.server.arrived.append((time.monotonic(), len(data)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_ten_seconds_of_a_real_connection_carry_the_cap_within_5_percent(sink: Sink) -> None:
    client = Client(
        "http://x", FixedToken(""), pause=lambda s: True, note=lambda text: None, throttle=Throttle(RATE)
    )  # fmt: skip
    begun, data = time.monotonic(), bytes(int(RATE))
    while time.monotonic() < begun + 10.2:
        client.put_bytes(f"http://127.0.0.1:{sink.server_port}/", data, {"content-length": str(len(data))})
    client.close()
    first = sink.arrived[0][0]
    in_ten = sum(n for at, n in sink.arrived if at < first + 10.0)
    assert in_ten == pytest.approx(10 * RATE, rel=0.05)


def test_waits_double_up_to_a_cap_and_begin_again_after_a_success() -> None:
    longest, shortest = Backoff(0.2, 5.0, uniform=lambda a, b: b), Backoff(0.2, 5.0, uniform=lambda a, b: a)
    assert [longest.next() for _ in range(7)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert [shortest.next() for _ in range(2)] == pytest.approx([0.1, 0.2])
    longest.reset()
    assert longest.next() == pytest.approx(0.2)


class FakeServer:
    """The client's port, with a store in memory. `log` has what was asked and sent, in order."""

    def __init__(self, spool: Spool, size: int) -> None:
        self.spool, self.size, self.log, self.held = spool, size, list[str](), dict[int, bytes]()
        self.fail_at: int | None = None

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        self.log.append(path)
        if path == "/uploads":
            state = "resume" if self.held else "start"
            received = tuple(sorted(self.held))
            return UploadState(upload="7", state=state, part_bytes=PART, parts=3, received=received).to_json()  # type: ignore[arg-type]
        if path.endswith("/parts"):
            return Slots(parts=tuple(Slot(number=p.number, url=str(p.number)) for p in body.parts)).to_json()
        whole = b"".join(self.held[n] for n in sorted(self.held))
        receipt = Receipt(
            upload="7", robot="r", sha256=hashlib.sha256(whole).hexdigest(), size=len(whole), verified=True,
            state="accepted",
        )  # fmt: skip
        return UploadState(upload="7", state="have", receipt=receipt).to_json()

    def put_bytes(self, url: str, data: bytes, headers: dict[str, str]) -> str:
        number, (log,) = int(url), self.spool.waiting()
        journaled = {p.number: p.sha256 for p in self.spool.parts(log.sha256)}
        assert journaled[number] == base64.b64encode(hashlib.sha256(data).digest()).decode()
        if self.fail_at == number:
            raise KeyboardInterrupt
        self.log.append(f"part {number}")
        self.held[number] = data
        return ""

    def give_up(self) -> None:
        """Nothing is under way: the fake answers at once."""


def test_a_killed_upload_goes_on_without_hashing_or_sending_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "r")
    data = bytes(range(256)) * 10
    spool.put("k", 0, data)
    server = FakeServer(spool, len(data))
    server.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        Uploader(server, spool, "r").upload(spool.waiting()[0])  # type: ignore[arg-type]
    spool.close()
    spool = server.spool = Spool(tmp_path, "r")
    server.fail_at = None
    monkeypatch.setattr(Uploader, "_measured", lambda *a: pytest.fail("hashed again"))
    Uploader(server, spool, "r").upload(spool.waiting()[0])  # type: ignore[arg-type]
    assert [line for line in server.log if line.startswith("part")] == ["part 1", "part 2", "part 3"]
    assert spool.waiting() == []
    spool.close()


class SlowServer(FakeServer):
    """Holds each part until `together` of them are under way."""

    def __init__(self, spool: Spool, size: int, together: int) -> None:
        super().__init__(spool, size)
        self.barrier = threading.Barrier(together, timeout=10)

    def put_bytes(self, url: str, data: bytes, headers: dict[str, str]) -> str:
        self.barrier.wait()
        if self.fail_at == int(url):
            raise Refused(403, Problem(code="expired", message="the URL is too old"))
        self.held[int(url)] = data
        return ""


def test_lanes_send_parts_at_the_same_time(tmp_path: Path) -> None:
    spool, data = Spool(tmp_path, "r"), bytes(range(256)) * 8  # 3 parts
    spool.put("k", 0, data)
    server = SlowServer(spool, len(data), together=3)
    Uploader(server, spool, "r", lanes=3).upload(spool.waiting()[0])  # type: ignore[arg-type]
    assert spool.waiting() == []
    spool.close()


def test_a_part_that_fails_in_one_lane_fails_the_upload(tmp_path: Path) -> None:
    spool, data = Spool(tmp_path, "r"), bytes(range(256)) * 8
    spool.put("k", 0, data)
    server = SlowServer(spool, len(data), together=3)
    server.fail_at = 2
    with pytest.raises(Refused, match="too old"):
        Uploader(server, spool, "r", lanes=3).upload(spool.waiting()[0])  # type: ignore[arg-type]
    assert len(spool.waiting()) == 1
    assert set(server.held) == {1, 3}
    spool.close()


def test_giving_up_ends_what_other_threads_send(sink: Sink) -> None:
    """Else an interrupted command would go on until its parts are through a slow link."""
    client = Client("http://x", FixedToken(""), pause=lambda s: False, note=lambda text: None, throttle=Throttle(1e5))
    data, ended = bytes(2_000_000), list[BaseException]()

    def send() -> None:
        try:
            client.put_bytes(f"http://127.0.0.1:{sink.server_port}/", data, {"content-length": str(len(data))})
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(0.3)
    client.give_up()
    thread.join(5)
    client.close()
    assert len(ended) == 1
    assert sum(n for _, n in sink.arrived) < len(data) / 4


def test_an_operators_file_is_read_once_to_be_announced_and_planned(tmp_path: Path) -> None:
    path, sent = tmp_path / "a.mcap", SentFiles(tmp_path / "sent")
    path.write_bytes(bytes(range(256)) * 8)
    assert sent.measured(path) == digest_of(path)
    (part,) = sent.parts(digest_of(path))
    assert part.sha256 == base64.b64encode(bytes.fromhex(digest_of(path))).decode()
    sent.forget_parts(digest_of(path))
    assert sent.parts(digest_of(path)) == ()


def test_a_log_that_changed_on_disk_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r")
    spool.put("k", 0, b"a" * 2500)
    (log,) = spool.waiting()
    log.path.write_bytes(b"a" * 2499 + b"b")
    with pytest.raises(DataError, match="changed on this robot's disk"):
        Uploader(FakeServer(spool, 2500), spool, "r").upload(log)  # type: ignore[arg-type]
    assert spool.episodes("k") == {}
    assert json.dumps([t.reason for t in spool.tombstones()]) == '["changed on disk"]'
    spool.close()
