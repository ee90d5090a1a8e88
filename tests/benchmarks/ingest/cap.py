"""Ten seconds of a real connection under the robots' bandwidth cap: what arrives, beside what may."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fleet_ingest.robot.client import Client
from fleet_ingest.robot.credentials import FixedToken
from fleet_ingest.robot.throttle import Throttle

SECONDS = 10.0


def share_of_cap(bytes_per_s: float) -> float:
    """Bytes that arrived within 10 s of the first, divided by what the cap allows."""
    arrived: list[tuple[float, int]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            left = int(self.headers["content-length"])
            while left:
                data = self.rfile.read1(min(left, 65536))  # type: ignore[attr-defined]
                left -= len(data)
                arrived.append((time.monotonic(), len(data)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client(
        "http://x", FixedToken(""), pause=lambda s: True, note=lambda text: None, throttle=Throttle(bytes_per_s)
    )
    data, begun = bytes(int(bytes_per_s)), time.monotonic()
    while time.monotonic() < begun + SECONDS + 0.2:
        client.put_bytes(f"http://127.0.0.1:{server.server_port}/", data, {"content-length": str(len(data))})
    client.close()
    server.shutdown()
    server.server_close()
    first = arrived[0][0]
    return sum(n for at, n in arrived if at < first + SECONDS) / (SECONDS * bytes_per_s)
