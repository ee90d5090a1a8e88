"""A supervisor about to stop because nobody needs it, and a command that comes at that very moment."""

import os
from collections.abc import Iterator

import pytest

from storage.embedded.home import Home
from storage.embedded.lock import take_lock
from storage.embedded.records import Records
from storage.embedded.supervisor import Supervisor


@pytest.fixture
def supervisor(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """Idle for long, and it will not look for leases again by itself."""
    lock = take_lock(Records(home).lock_path, wait_s=0.0)
    assert lock is not None
    made = Supervisor(home, lock)
    monkeypatch.setattr(made, "_last_needed", -1e9)
    monkeypatch.setattr(made, "_next_lease_check", float("inf"))
    yield made
    Records(home).drop_state()  # it names this process, which is not to be stopped
    os.close(lock)


def stopping(home: Home) -> bool:
    state = Records(home).state()
    return state is not None and state.stopping


def test_a_lease_since_the_last_look_keeps_it(home: Home, supervisor: Supervisor) -> None:
    assert supervisor._is_over()
    lease = Records(home).add_lease()
    assert not supervisor._may_stop()
    assert not stopping(home)
    assert not supervisor._is_over()
    lease.unlink()


def test_without_one_it_has_said_so_before_it_stops(home: Home, supervisor: Supervisor) -> None:
    assert supervisor._may_stop()
    assert stopping(home)
