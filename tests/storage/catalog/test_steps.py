"""The claim table: leases, dead owners, lost claims, and a model that random histories are compared with."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.catalog import owners, steps
from storage.catalog.catalog import Catalog
from storage.catalog.owners import is_known_dead, this_process
from storage.contracts.errors import ConflictError, ContractError, UnknownName

ELSEWHERE = "another-machine/boot/1/1"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that steps see; `now` in nanoseconds may be moved."""
    held = SimpleNamespace(now=1_000_000_000_000)
    monkeypatch.setattr(steps, "now_ns", lambda: held.now)
    return held


def test_a_step_is_claimed_finished_and_found(catalog: Catalog) -> None:
    me = this_process()
    first = catalog.steps.claim("k", owner=me, name="train")
    assert (first.state, first.version, first.attempts, first.result) == ("claimed", 1, 1, None)
    assert catalog.steps.claim("k", owner=ELSEWHERE, name="train").state == "busy"
    assert catalog.steps.claim("k", owner=me, name="train").state == "claimed", "an owner may claim again what it holds"
    catalog.steps.finish("k", me, {"digest": "abc"})
    for owner in (me, ELSEWHERE):
        again = catalog.steps.claim("k", owner=owner, name="train")
        assert (again.state, again.result) == ("done", {"digest": "abc"})


def test_finishing_twice_is_a_no_op_and_otherwise_a_conflict(catalog: Catalog) -> None:
    catalog.steps.claim("k", owner="a", name="train")
    row = catalog.steps.finish("k", "a", {"x": 1, "y": 2})
    assert catalog.steps.finish("k", "a", {"y": 2, "x": 1}) == row
    assert catalog.steps.finish("k", "b", {"x": 1, "y": 2}) == row
    with pytest.raises(ConflictError, match="no longer held by a: it is done"):
        catalog.steps.finish("k", "a", {"x": 2})
    assert catalog.steps.get("k").result == {"x": 1, "y": 2}


def test_an_expired_lease_is_taken_over(catalog: Catalog, clock: SimpleNamespace) -> None:
    catalog.steps.claim("k", owner=ELSEWHERE, name="train", lease_s=60)
    clock.now += 59_999_999_999
    busy = catalog.steps.claim("k", owner="b", name="train")
    assert (busy.state, busy.owner) == ("busy", ELSEWHERE)
    assert busy.wait_s == pytest.approx(1e-9)
    clock.now += 1
    assert catalog.steps.claim("k", owner="b", name="train").state == "claimed"
    for action in (
        lambda: catalog.steps.finish("k", ELSEWHERE, {"x": 1}),
        lambda: catalog.steps.fail("k", ELSEWHERE, "too late"),
        lambda: catalog.steps.heartbeat("k", ELSEWHERE),
    ):
        with pytest.raises(ConflictError, match=f"no longer held by {ELSEWHERE}"):
            action()
    assert catalog.steps.get("k").state == "running"
    catalog.steps.finish("k", "b", {"x": 2})


def test_a_heartbeat_renews_the_lease(catalog: Catalog, clock: SimpleNamespace) -> None:
    catalog.steps.claim("k", owner=ELSEWHERE, name="train", lease_s=60)
    clock.now += 50_000_000_000
    assert catalog.steps.heartbeat("k", ELSEWHERE) == 2
    clock.now += 50_000_000_000
    assert catalog.steps.claim("k", owner="b", name="train").state == "busy"
    clock.now += 10_000_000_000
    assert catalog.steps.claim("k", owner="b", name="train").state == "claimed"


def test_a_failed_step_is_free_and_says_why(catalog: Catalog) -> None:
    catalog.steps.claim("k", owner="a", name="train")
    catalog.steps.fail("k", "a", "out of memory\0")
    again = catalog.steps.claim("k", owner="b", name="train")
    assert (again.state, again.attempts, again.error) == ("claimed", 2, "out of memory")
    assert catalog.steps.finish("k", "b", {}).error is None


def test_unknown_steps_campaigns_and_results_that_are_no_json(catalog: Catalog) -> None:
    for action in (
        catalog.steps.get,
        lambda key: catalog.steps.heartbeat(key, "a"),
        lambda key: catalog.steps.finish(key, "a", {}),
    ):
        with pytest.raises(UnknownName, match="there is no step 'nothing'"):
            action("nothing")
    with pytest.raises(UnknownName, match="unknown campaign 'x'"):
        catalog.steps.claim("k", owner="a", name="train", campaign="x")
    catalog.steps.claim("k", owner="a", name="train")
    with pytest.raises(ContractError, match="canonical JSON"):
        catalog.steps.finish("k", "a", {"loss": float("nan")})


def test_steps_of_a_campaign_are_listed_in_order(catalog: Catalog) -> None:
    campaign, _ = catalog.campaigns.open({"iterations": 1})
    for key, iteration in (("c", 1), ("a", 0), ("b", None)):
        catalog.steps.claim(key, owner="x", name="n", campaign=campaign.id, iteration=iteration)
    catalog.steps.claim("other", owner="x", name="n")
    assert [row.key for row in catalog.steps.list(campaign.id)] == ["b", "a", "c"]
    assert catalog.steps.list(state="done") == []


HOLDER = """
import sys, time
from storage.catalog.catalog import Catalog
from storage.catalog.owners import this_process
catalog = Catalog.open(sys.argv[1])
print(catalog.steps.claim("k", owner=this_process(), name="train", lease_s=3600).state, flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(catalog_url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the step `k` for an hour."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, catalog_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "claimed"
        yield process
        process.kill()


def test_the_claim_of_a_killed_process_is_taken_over_at_once(catalog: Catalog, holder: "subprocess.Popen[str]") -> None:
    me = this_process()
    assert catalog.steps.claim("k", owner=me, name="train").state == "busy", "it is alive"
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    taken = catalog.steps.claim("k", owner=me, name="train")
    assert (taken.state, taken.attempts) == ("claimed", 2)


def test_who_is_known_to_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_process("thread-1")
    machine, boot, pid, started = me.split("/")[:4]
    assert int(pid) == os.getpid()
    assert not is_known_dead(me)
    assert is_known_dead(f"{machine}/{boot}/{pid}/{started}0"), "the pid was given to another process"
    assert is_known_dead(f"{machine}/before-the-reboot/{pid}/{started}")
    assert not is_known_dead(f"another/{boot}/999999/1"), "processes of other machines cannot be seen"
    for odd in ("", "somebody", "a/b/c/d", f"{machine}/{boot}/pid/1"):
        assert not is_known_dead(odd)
    monkeypatch.setattr(owners, "_machine", lambda: "container-2")
    assert not is_known_dead(f"{machine}/{boot}/{pid}/{started}0"), "another pid namespace"


class Claims(RuleBasedStateMachine):
    """Two owners and a clock against a model: who holds the step, until when, and what its result is."""

    folder: Callable[[], Path]
    owner = st.sampled_from(["a", "b", "c"])

    @initialize()
    def open(self) -> None:
        self.catalog = Catalog.open(f"sqlite:///{self.folder()}/catalog.sqlite")
        self.now, self.holder, self.until, self.result, self.version = 10**9, None, 0, None, 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(steps, "now_ns", lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.patch.undo()

    @rule(owner=owner, lease_s=st.integers(1, 5))
    def claim(self, owner: str, lease_s: int) -> None:
        got = self.catalog.steps.claim("k", owner=owner, name="n", lease_s=lease_s)
        if self.result is not None:
            assert (got.state, got.result) == ("done", self.result)
        elif self.holder in (None, owner) or self.until <= self.now:
            assert got.state == "claimed"
            self.holder, self.lease_s, self.until = owner, lease_s, self.now + lease_s * 10**9
        else:
            assert (got.state, got.owner) == ("busy", self.holder)

    @rule(owner=owner)
    def heartbeat(self, owner: str) -> None:
        if self.attempt(owner, lambda: self.catalog.steps.heartbeat("k", owner)):
            self.until = self.now + self.lease_s * 10**9

    @rule(owner=owner)
    def fail(self, owner: str) -> None:
        if self.attempt(owner, lambda: self.catalog.steps.fail("k", owner, "broken")):
            self.holder = None

    @rule(owner=owner, value=st.integers(0, 1))
    def finish(self, owner: str, value: int) -> None:
        if self.result == {"value": value}:
            self.catalog.steps.finish("k", owner, {"value": value})
        elif self.attempt(owner, lambda: self.catalog.steps.finish("k", owner, {"value": value})):
            self.holder, self.result = None, {"value": value}

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 10**9

    def attempt(self, owner: str, action: Callable[[], object]) -> bool:
        """Whether the action went through, which it must exactly when `owner` holds the step."""
        try:
            action()
        except (ConflictError, UnknownName):
            assert self.holder != owner
            return False
        assert self.holder == owner
        return True

    @invariant()
    def versions_only_grow(self) -> None:
        rows = self.catalog.steps.list()
        if rows:
            assert rows[0].version >= self.version
            assert rows[0].result == self.result
            self.version = rows[0].version


def test_random_histories_agree_with_the_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    Claims.folder = staticmethod(lambda: tmp_path_factory.mktemp("claims"))
    run = Claims.TestCase("runTest")
    run.settings = settings(max_examples=12, stateful_step_count=16, deadline=None)
    run.runTest()
