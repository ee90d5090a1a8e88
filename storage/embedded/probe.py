"""Asks servers on loopback whether they are up, and waits until they are. Standard library only; never goes through a
proxy.
"""

import http.client
import socket
import time
from collections.abc import Callable

HOST = "127.0.0.1"


def http_ok(port: int, path: str, timeout_s: float = 1.0, containing: str = "") -> bool:
    """Does GET `path` on loopback answer with a 2xx status, and a body with `containing` in its first 64 KiB?"""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return 200 <= response.status < 300 and containing in response.read(65536).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tcp_open(port: int, timeout_s: float = 0.5) -> bool:
    """Does somebody listen on this port of loopback?"""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """Polls `condition` until it holds; False when it did not within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True
