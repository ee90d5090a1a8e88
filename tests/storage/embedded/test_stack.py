"""Stacks of small real servers: sharing, leases, restarts, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.contracts.errors import ContractError, UnavailableError, UnknownName
from storage.embedded import s3
from storage.embedded.home import Home
from storage.embedded.probe import http_ok, wait_until
from storage.embedded.process import is_alive
from storage.embedded.records import Records
from storage.embedded.service import ServiceSpec
from storage.embedded.stack import Stack

Server = Callable[..., ServiceSpec]
Command = Callable[..., "subprocess.Popen[str]"]
Leftovers = Callable[[Home], list[str]]


def pid_of(stack: Stack, name: str = "web") -> int:
    pid = stack.status().services[name].pid
    assert pid is not None
    return pid


def kill_service(stack: Stack, name: str = "web") -> int:
    pid = pid_of(stack, name)
    os.kill(pid, signal.SIGKILL)
    return pid


def is_back(stack: Stack, former: int, name: str = "web") -> bool:
    found = stack.status().services[name]
    return found.state == "up" and found.pid not in (former, None)


def test_services_come_up_and_nothing_is_left(home: Home, server: Server, leftovers: Leftovers) -> None:
    told: list[tuple[float, str]] = []
    with Stack(home) as stack:
        specs = [server("web"), server("worker", after=("web",)), server("other")]
        ports = stack.ensure(specs, progress=lambda share, text: told.append((share, text)))
        assert set(ports) == {"web", "worker", "other"}
        assert all(http_ok(port["http"], "/") for port in ports.values())
        states = stack.status().services
        assert (states["worker"].started_ns or 0) > (states["web"].started_ns or 0)
        assert told[0][1].startswith("starting web, worker")  # "other" may be up before anybody looks
        assert told == sorted(told)
        assert told[-1] == (1.0, "up")
        assert stack.endpoints() == ports
        stack.close(wait=True)
    assert leftovers(home) == []
    assert stack.status().running is False


def test_ports_are_the_same_after_a_stop(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        before = stack.ensure([server()])
        stack.close(wait=True)
        assert stack.ensure([server()]) == before


def test_two_commands_at_once_share_one_stack(
    home: Home, server: Server, command: Command, leftovers: Leftovers
) -> None:
    first, second = command(server()), command(server())
    assert first.stdout is not None
    assert second.stdout is not None
    assert first.stdout.readline() == second.stdout.readline() != ""
    stack = Stack(home)
    assert stack.status().leases == tuple(sorted([first.pid, second.pid]))
    supervisor = stack.status().supervisor_pid
    first.kill()
    first.wait()
    time.sleep(4.5)
    assert stack.status().supervisor_pid == supervisor
    assert stack.status().leases == (second.pid,)
    second.kill()
    second.wait()
    assert wait_until(lambda: leftovers(home) == [], 15)


def test_commands_that_are_interrupted_leave_nothing(
    make_home: Callable[[str], Home], server: Server, command: Command, leftovers: Leftovers
) -> None:
    homes = {number: make_home(number.name) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)}
    running = {number: command(server("web", "daemon"), home) for number, home in homes.items()}
    for number, process in running.items():
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        os.killpg(process.pid, number)  # as a terminal does, to the whole group
    for process in running.values():
        assert process.wait(20) != 0
    assert wait_until(lambda: not any(leftovers(home) for home in homes.values()), 20)


def test_two_homes_run_side_by_side(make_home: Callable[[str], Home], server: Server, leftovers: Leftovers) -> None:
    one, two = Stack(make_home("one")), Stack(make_home("two"))
    ports = [stack.ensure([server()])["web"]["http"] for stack in (one, two)]
    assert ports[0] != ports[1]
    one.close(wait=True)
    assert leftovers(one.home) == []
    assert http_ok(ports[1], "/")
    two.close(wait=True)


def test_a_crashed_service_is_back_on_its_port(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        ports = stack.ensure([server("web", "daemon")])
        former = kill_service(stack)
        assert wait_until(lambda: is_back(stack, former), 10)
        assert stack.endpoints() == ports
        assert stack.status().services["web"].restarts == 1


def test_a_service_that_keeps_crashing_is_given_up(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        port = stack.ensure([server()])["web"]["http"]
        state = lambda: stack.status().services["web"]
        crashes = 0
        while state().state != "failed" and crashes < 20:
            if state().state == "up" and not http_ok(port, "/crash", timeout_s=0.2):
                crashes += 1
                wait_until(lambda: state().state != "up", 2)
            time.sleep(0.02)
        assert crashes == 6
        assert f"exit code 3; its log is {home.logs_dir / 'web.log'}, its last lines:\nserving {port}" in state().error
        assert "given up" in state().error
        assert stack.ensure([server()])["web"]["http"] == port, "asking again tries afresh"


def test_a_service_that_cannot_start_shows_its_last_words(home: Home, server: Server, leftovers: Leftovers) -> None:
    words = "import sys; print('first'); sys.exit('no such database')"
    with Stack(home) as stack:
        with pytest.raises(UnavailableError) as raised:
            stack.ensure([server(argv=(sys.executable, "-S", "-c", words))])
        assert "service 'web' ended with exit code 1" in str(raised.value)
        assert "no such database" in str(raised.value)
        assert str(home.logs_dir / "web.log") in raised.value.remedy
        # those that need it fail with its words, others are not held up
        with pytest.raises(UnavailableError, match=r"'late' needs 'web'(?s:.*)no such database"):
            stack.ensure([server("late", after=("web",))])
        stack.ensure([server("fine")])
    assert wait_until(lambda: leftovers(home) == [], 15)


def test_a_service_that_never_answers_is_named(home: Home, server: Server) -> None:
    with (
        Stack(home) as stack,
        pytest.raises(UnavailableError, match=r"'web' was not up within 1 s; its log is .*web\.log"),
    ):
        stack.ensure([server(health={"http": "/", "contains": "never"}, start_timeout_s=1)])


def test_a_full_disk_is_refused_before_anything_starts(home: Home, leftovers: Leftovers) -> None:
    with pytest.raises(UnavailableError, match=r"'s3' needs 1,000,000,000,000 MB free on the disk of .*home"):
        Stack(home).ensure([s3.s3_service(home, min_free_bytes=10**18)])
    assert leftovers(home) == []


def test_services_are_merged_replaced_and_removed(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        stack.ensure([server("web")])
        first = pid_of(stack)
        assert set(stack.ensure([server("more")])) == {"web", "more"}
        assert pid_of(stack) == first, "what runs already stays as it is"
        stack.ensure([server("web", "other-words")])
        assert pid_of(stack) != first, "another specification replaces it"
        stack.remove(["more"])
        assert set(stack.endpoints()) == {"web"}
        with pytest.raises(UnknownName, match="'more'"):
            stack.remove(["more"])
        with pytest.raises(UnknownName, match="'nobody'"):
            stack.ensure([server("late", after=("nobody",))])
        with pytest.raises(ContractError, match="ring"):
            stack.ensure([server("a", after=("b",)), server("b", after=("a",))])


def test_a_pinned_stack_stays_without_leases(home: Home, server: Server, leftovers: Leftovers) -> None:
    stack = Stack(home)
    stack.pin()
    port = stack.ensure([server()], lease=False)["web"]["http"]
    time.sleep(4.5)
    assert http_ok(port, "/")
    stack.unpin()
    assert wait_until(lambda: leftovers(home) == [], 15)


def test_a_killed_supervisor_is_replaced_and_services_notice_nothing(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        stack.ensure([server("web"), server("other")])
        before = {name: pid_of(stack, name) for name in ("web", "other")}
        former = stack.status().supervisor_pid
        assert former is not None
        os.kill(former, signal.SIGKILL)
        assert wait_until(lambda: stack.status().supervisor_pid not in (former, None), 10)
        assert wait_until(lambda: set(stack.endpoints()) == {"web", "other"}, 5)
        time.sleep(5.5)  # longer than services outlive a supervisor
        assert {name: pid_of(stack, name) for name in before} == before
        crashed = kill_service(stack)
        assert wait_until(lambda: is_back(stack, crashed), 10), "an adopted service is restarted, too"


def test_nothing_is_left_when_supervisor_and_command_are_killed(
    home: Home, server: Server, command: Command, leftovers: Leftovers
) -> None:
    running = command(server("web", "daemon"))
    assert running.stdout is not None
    running.stdout.readline()
    supervisor = Stack(home).status().supervisor_pid
    assert supervisor is not None
    running.kill()
    os.kill(supervisor, signal.SIGKILL)
    running.wait()
    assert wait_until(lambda: leftovers(home) == [], 20)
    with Stack(home) as stack:
        assert set(stack.ensure([server("fresh")])) == {"fresh"}, "what only dead commands wanted is not started"


def test_a_new_command_kills_what_it_cannot_adopt(home: Home, server: Server, command: Command) -> None:
    running = command(server("web", "daemon"))
    assert running.stdout is not None
    port = int(running.stdout.readline())
    records = Records(home)
    child = records.child("web")
    state = records.state()
    assert child is not None
    assert state is not None
    assert child.watcher is not None
    for pid in (running.pid, state.supervisor.pid, child.watcher.pid):
        os.kill(pid, signal.SIGKILL)
    # a kill takes effect a moment after it was sent; until then the old supervisor still counts as there
    assert wait_until(lambda: not is_alive(state.supervisor) and not is_alive(child.watcher), 10)
    assert http_ok(port, "/"), "the server runs on without its watcher"
    with Stack(home) as stack:
        assert stack.ensure([server("web", "daemon")])["web"]["http"] == port
        assert pid_of(stack) != child.pid


def test_records_of_another_boot_mean_nothing(home: Home, server: Server) -> None:
    with Stack(home) as stack:
        stack.ensure([server()])
        stack.close(wait=True)
    directory = home.stack_dir
    me = [os.getpid(), "1", "another-boot"]
    child = {"watcher": me, "child": me, "pid": os.getpid(), "digest": server().digest, "exit_code": None}
    (directory / "children" / "web.json").write_text(json.dumps(child))
    (directory / "leases" / "old.json").write_text(json.dumps(me))
    (directory / "pinned").write_text(json.dumps("another-boot"))
    (directory / "state.json").write_text(json.dumps({"supervisor": me, "stopping": False, "services": {}}))
    (directory / "wanted" / "web.json").write_text("{ half a fi")
    assert stack.status().running is False
    assert stack.status().pinned is False
    assert stack.status().leases == ()
    with stack:
        assert set(stack.ensure([server()])) == {"web"}
    assert os.getpid() != stack.status().supervisor_pid


def test_a_home_that_is_deleted_takes_its_stack_along(
    home: Home, server: Server, command: Command, leftovers: Leftovers
) -> None:
    running = command(server())
    assert running.stdout is not None
    running.stdout.readline()
    running.kill()
    running.wait()
    subprocess.run(["rm", "-rf", str(home.path)], check=True)
    assert wait_until(lambda: leftovers(home) == [], 15), leftovers(home)
    Path(home.path).mkdir()
    home.stack_dir.mkdir(exist_ok=True)


def test_a_killed_s3_server_is_back_within_seconds(home: Home, leftovers: Leftovers) -> None:
    with Stack(home) as stack:
        ports = stack.ensure([s3.s3_service(home)])["s3"]
        former = kill_service(stack, "s3")
        began = time.monotonic()
        assert wait_until(lambda: is_back(stack, former, "s3"), 20)
        assert time.monotonic() - began < 6
        assert s3.is_ready(ports)
        stack.close(wait=True)
    assert leftovers(home) == []
    assert [path for path in s3.socket_paths(ports) if Path(path).exists()] == []
