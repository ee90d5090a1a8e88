import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from storage.embedded import process
from storage.embedded.process import Identity, identify, is_alive, own_identity, parse_identity


@pytest.fixture(params=["kernel", "psutil"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to tell processes apart: Linux's, and the one for everything else."""
    if request.param == "psutil":
        monkeypatch.setattr(process, "_has_proc", lambda: False)
    elif not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here")


@pytest.mark.usefixtures("source")
def test_a_process_is_alive_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(child.pid)
    assert is_alive(identity)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(identity), "a zombie counts as gone"
    child.communicate()
    assert not is_alive(identity)
    assert identify(child.pid) is None


@pytest.mark.usefixtures("source")
def test_a_reused_pid_and_another_boot_are_other_processes() -> None:
    me = own_identity()
    assert is_alive(me)
    assert not is_alive(Identity(me.pid, me.started + "1", me.boot))
    assert not is_alive(Identity(me.pid, me.started, "another boot"))
    assert not is_alive(None)


def test_identities_survive_json() -> None:
    me = own_identity()
    assert parse_identity(list(me)) == me
    assert parse_identity([1, 2]) is None
    assert parse_identity("x") is None
