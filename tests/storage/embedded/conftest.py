"""A home with a short life, and small real servers to run in its stack."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded.files import remove
from storage.embedded.home import Home
from storage.embedded.reap import family, kill_family
from storage.embedded.service import ServiceSpec
from storage.embedded.stack import Stack
from storage.embedded.watched import mark_of

# answers its pid; /crash ends it; with a second argument starts a daemon that leaves the session and ignores SIGTERM
SERVER = """
import http.server, os, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os._exit(3)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
if "daemon" in sys.argv and os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
print("serving", *sys.argv[1:], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _leftovers(home: Home) -> list[str]:
    found = [f"service process {p.pid}" for p in family(mark_of(home))]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "storage.embedded.supervisor" in words and str(home.path) in words:
            found.append(f"supervisor {process.pid}")
    return found + [str(path) for path in [home.runtime_path] if path.exists()]


def _kill_rest(home: Home) -> None:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(home.path) in words and "storage.embedded.supervisor" in words:
            process.kill()
    kill_family(mark_of(home))


@pytest.fixture
def leftovers() -> Callable[[Home], list[str]]:
    """Lists processes of a home's stack, its supervisor included, and its runtime directory, where they still exist."""
    return _leftovers


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    homes: list[Home] = []

    def make(name: str = "home") -> Home:
        homes.append(Home(tmp_path / name))
        return homes[-1]

    yield make
    for home in homes:
        Stack(home).stop()
        _kill_rest(home)
        remove(home.runtime_path)


@pytest.fixture
def home(make_home: Callable[[str], Home]) -> Home:
    return make_home("home")


@pytest.fixture
def server(tmp_path: Path) -> Callable[..., ServiceSpec]:
    """Builds the specification of a real HTTP server: `server("web", "daemon", after=("other",))`."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)

    def build(name: str = "web", *words: str, **fields: object) -> ServiceSpec:
        values: dict[str, object] = {
            "name": name,
            "argv": (sys.executable, "-S", "-E", str(script), "{port}", *words),
            "ports": ("http",),
            "health": {"http": "/"},
            "start_timeout_s": 30,
            "stop_timeout_s": 2,
        }
        return ServiceSpec.model_validate(values | fields)

    return build


@pytest.fixture
def command(home: Home, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Runs a command of its own that ensures a service, prints its port and waits, as a user's command would."""
    started: list[subprocess.Popen[str]] = []
    script = tmp_path / "command.py"
    script.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, wherever the tests run\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from storage.embedded.home import Home\n"
        "from storage.embedded.service import ServiceSpec\n"
        "from storage.embedded.stack import Stack\n"
        "with Stack(Home(sys.argv[1])) as stack:\n"
        "    spec = ServiceSpec.from_json(sys.argv[2])\n"
        "    print(stack.ensure([spec])[spec.name]['http'], flush=True)\n"
        "    time.sleep(600)\n"
    )

    def run(spec: ServiceSpec, of: Home = home) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(script), str(of.path), spec.to_json().decode()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
