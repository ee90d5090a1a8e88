"""The watcher, run as the supervisor runs it, with this test in the supervisor's place."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded import launch as launching
from storage.embedded.home import Home
from storage.embedded.launch import launch, rotate
from storage.embedded.probe import http_ok, wait_until
from storage.embedded.reap import family
from storage.embedded.records import Records
from storage.embedded.service import ServiceSpec, Values
from storage.embedded.watched import Watched, mark_of


@pytest.fixture
def run(home: Home, server: Callable[..., ServiceSpec], unused_port: int) -> Iterator[Callable[..., Watched]]:
    """Starts the server under a watcher and waits until it answers and the pipe is open."""
    started: list[Watched] = []

    def start(*words: str) -> Watched:
        spec = server("web", *words)
        filled = spec.filled(Values(str(home.path), str(home.runtime_path), "web", {"web": {"http": unused_port}}))
        watched = launch(home, Records(home), filled, spec.digest)
        started.append(watched)
        assert wait_until(lambda: watched.connect() and http_ok(unused_port, "/"), 15)
        assert watched.child is not None
        return watched

    yield start
    for watched in started:
        watched.kill()


@pytest.fixture
def unused_port(tmp_path: Path) -> int:
    from storage.embedded.ports import PortBook

    return PortBook(tmp_path / "ports.json").take("web", ["http"])["http"]


def gone(home: Home) -> bool:
    return not family(mark_of(home))


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted otherwise there")
def test_a_watcher_is_small(run: Callable[..., Watched]) -> None:
    watched = run()
    assert watched.child is not None
    assert watched.child.watcher is not None
    assert psutil.Process(watched.child.watcher.pid).memory_info().rss < 15e6


def test_stopping_ends_daemons_that_left_the_session(run: Callable[..., Watched], home: Home) -> None:
    watched = run("daemon")
    # watcher, server and a daemon that changed its session and ignores SIGTERM
    assert wait_until(lambda: len(family(mark_of(home))) == 3, 5)
    watched.tell_to_stop()
    assert wait_until(watched.has_ended, 10)
    assert gone(home)


def test_a_crash_takes_the_rest_along_and_is_recorded(
    run: Callable[..., Watched], home: Home, unused_port: int
) -> None:
    watched = run("daemon")
    http_ok(unused_port, "/crash")
    assert wait_until(watched.has_ended, 10)
    assert gone(home)
    assert watched.close() == 3


def test_the_service_ends_when_the_pipe_closes(
    run: Callable[..., Watched], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "ADOPTION_GRACE_S", 0.5)
    watched = run("daemon")
    watched._pipe.close()
    assert wait_until(lambda: gone(home), 10)
    assert not home.runtime_path.exists(), "the last watcher removes the runtime directory"


def test_the_service_goes_on_when_a_new_supervisor_opens_the_pipe(
    run: Callable[..., Watched], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "ADOPTION_GRACE_S", 1.0)
    watched = run()
    watched._pipe.close()
    time.sleep(0.4)
    adopted = Watched(home, Records(home), "web", None)
    assert adopted.connect()
    time.sleep(1.5)
    assert adopted.child is not None
    assert adopted.child.runs
    adopted._pipe.close()
    assert wait_until(lambda: gone(home), 10)


def test_what_a_killed_watcher_left_is_killed(run: Callable[..., Watched], home: Home) -> None:
    watched = run("daemon")
    assert watched.child is not None
    assert watched.child.watcher is not None
    psutil.Process(watched.child.watcher.pid).kill()
    assert wait_until(watched.has_ended, 5)
    assert not gone(home)
    assert watched.close() is None
    assert wait_until(lambda: gone(home), 5)


def test_logs_do_not_grow_without_end(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    assert rotate(log) == 0
    log.write_bytes(b"x" * 100)
    assert rotate(log) == 100
    log.write_bytes(b"y" * (launching._LOG_LIMIT + 1))
    assert rotate(log) == 0
    assert not log.exists()
    assert log.with_suffix(".log.1").stat().st_size == launching._LOG_LIMIT + 1


def test_a_command_that_is_not_there_says_so_in_its_log(home: Home) -> None:
    spec = ServiceSpec(name="web", argv=("/no/such/command",), cwd=str(home.path))
    watched = launch(home, Records(home), spec, spec.digest)
    assert wait_until(watched.has_ended, 10)
    assert watched.close() == 127
    assert "/no/such/command" in (home.logs_dir / "web.log").read_text()
