"""Campaigns, iterations, assignments, approvals, releases and events."""

import pytest

from storage.catalog.catalog import Catalog
from storage.contracts.errors import ConflictError, ContractError, InputError, UnknownName
from storage.contracts.robot import RobotSpec

ARGUMENTS = {"robot": "pendulum", "seed": 1, "iterations": 3}


def test_equal_arguments_resume_and_then_show_the_result(catalog: Catalog) -> None:
    first, outcome = catalog.campaigns.open(ARGUMENTS, code="v1")
    assert (outcome, first.iterations, first.state, first.code) == ("created", 3, "running", "v1")
    assert catalog.campaigns.open(dict(reversed(ARGUMENTS.items()))) == (first, "resumed")
    done = catalog.campaigns.finish(first.id, {"return": 0.5})
    assert catalog.campaigns.finish(first.id, {"return": 0.5}) == done
    with pytest.raises(ConflictError, match="finished already with another result"):
        catalog.campaigns.finish(first.id, {"return": 0.6})
    again, outcome = catalog.campaigns.open(ARGUMENTS)
    assert (outcome, again.result) == ("finished", {"return": 0.5})


def test_other_arguments_are_another_campaign(catalog: Catalog) -> None:
    first, _ = catalog.campaigns.open(ARGUMENTS)
    for change in ({"seed": 2}, {"iterations": 4}):
        other, outcome = catalog.campaigns.open(ARGUMENTS | change)
        assert (outcome, other.id != first.id) == ("created", True)
    assert [row.number for row in catalog.campaigns.list()] == [1, 2, 3]


def test_new_starts_another_and_the_last_is_resumed(catalog: Catalog) -> None:
    first, _ = catalog.campaigns.open(ARGUMENTS, new=True)
    assert catalog.campaigns.open(ARGUMENTS, new=True) == (first, "resumed"), "the command was killed and given again"
    catalog.campaigns.finish(first.id, {"return": 0.5})
    second, outcome = catalog.campaigns.open(ARGUMENTS, new=True)
    assert (outcome, second.id) == ("created", first.id.replace("-1", "-2"))
    assert catalog.campaigns.open(ARGUMENTS) == (second, "resumed")


def test_ids_depend_on_the_arguments_alone(catalog: Catalog) -> None:
    """An undisturbed run elsewhere has the same id: printf '{"robot":"pendulum","seed":1}' | sha256sum."""
    catalog.campaigns.open({"iterations": 9})
    assert catalog.campaigns.open(ARGUMENTS)[0].id == "ce06a5aae551-1"


def test_more_extends_a_finished_campaign_once_per_command(catalog: Catalog) -> None:
    first, _ = catalog.campaigns.open(ARGUMENTS)
    catalog.campaigns.finish(first.id, {"return": 0.5})
    longer, outcome = catalog.campaigns.open(ARGUMENTS, more=2)
    assert (outcome, longer.id, longer.iterations, longer.state, longer.result) == (
        "extended",
        first.id,
        5,
        "running",
        None,
    )
    assert catalog.campaigns.open(ARGUMENTS, more=2) == (longer, "resumed"), "the command was killed and given again"
    assert catalog.campaigns.open(ARGUMENTS) == (longer, "resumed")
    catalog.campaigns.finish(first.id, {"return": 0.7})
    assert catalog.campaigns.open(ARGUMENTS, more=2)[0].iterations == 7
    assert catalog.campaigns.set_iterations(first.id, 8).iterations == 8


def test_arguments_say_how_many_iterations(catalog: Catalog) -> None:
    for arguments in ({}, {"iterations": 0}, {"iterations": True}, {"iterations": "3"}):
        with pytest.raises(ContractError, match="whole number of at least 1"):
            catalog.campaigns.open(arguments)


def test_what_cannot_be_opened_is_named(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="no campaign with these arguments to extend"):
        catalog.campaigns.open(ARGUMENTS, more=1)
    with pytest.raises(ContractError, match="either new, or more"):
        catalog.campaigns.open(ARGUMENTS, more=1, new=True)
    with pytest.raises(UnknownName, match="unknown campaign 'x'; known: none yet"):
        catalog.campaigns.get("x")


def test_a_value_of_an_iteration_keeps_its_first_value(catalog: Catalog) -> None:
    id = catalog.campaigns.open(ARGUMENTS)[0].id
    catalog.iterations.record(id, 1, {"return": 0.2})
    catalog.iterations.record(id, 0, {"return": 0.1, "wall_seconds": 5.0})
    row = catalog.iterations.record(id, 0, {"wall_seconds": 6.0, "error": 0.3})
    assert row.values == {"return": 0.1, "wall_seconds": 5.0, "error": 0.3}
    assert [row.index for row in catalog.iterations.list(id)] == [0, 1]
    with pytest.raises(UnknownName, match="unknown campaign"):
        catalog.iterations.record("x", 0, {})


@pytest.fixture
def policy(catalog: Catalog, pendulum_spec: RobotSpec) -> str:
    for serial in ("p-1", "p-2"):
        catalog.robots.register(serial, pendulum_spec)
    catalog.artefacts.add("report", "c" * 64, b"{}")
    return catalog.artefacts.add("policy", "b" * 64, b"{}").digest


def test_assignments_are_given_once_and_in_order(catalog: Catalog, policy: str) -> None:
    campaign = catalog.campaigns.open(ARGUMENTS)[0].id
    first = catalog.assignments.assign("k1", "p-1", {"n": [1, 2.5]}, policy, campaign=campaign, iteration=0)
    second = catalog.assignments.assign("k2", "p-1", {}, None)
    assert catalog.assignments.assign("k1", "p-1", {"n": [1, 2.5]}, policy, campaign=campaign, iteration=0) == first
    assert catalog.assignments.next_for("p-1") == first
    assert catalog.assignments.next_for("p-2") is None
    done = catalog.assignments.complete(first.id, logs=["d" * 64, "e" * 64])
    assert (done.state, done.logs) == ("done", ("d" * 64, "e" * 64))
    assert catalog.assignments.complete(first.id) == done, "the first completion stays"
    assert catalog.assignments.next_for("p-1") == second
    assert [row.key for row in catalog.assignments.list(campaign=campaign, iteration=0)] == ["k1"]
    assert [row.key for row in catalog.assignments.list(robot="p-1", state="open")] == ["k2"]


def test_an_assignment_key_stands_for_one_assignment(catalog: Catalog, policy: str) -> None:
    catalog.assignments.assign("k", "p-1", {"n": 1}, policy)
    for robot, plan, digest, name in (
        ("p-2", {"n": 1}, policy, "robot"),
        ("p-1", {"n": 2}, policy, "plan"),
        ("p-1", {"n": 1}, None, "policy"),
    ):
        with pytest.raises(ConflictError, match=f"exists with another {name}"):
            catalog.assignments.assign("k", robot, plan, digest)


def test_only_policies_that_are_stored_are_assigned(catalog: Catalog, policy: str) -> None:
    for digest in ("0" * 64, "c" * 64):
        with pytest.raises(UnknownName, match="there is no policy"):
            catalog.assignments.assign("k", "p-1", {}, digest)
    for action in (
        lambda: catalog.assignments.next_for("p-9"),
        lambda: catalog.assignments.assign("k", "p-9", {}, None),
    ):
        with pytest.raises(UnknownName, match="unknown robot 'p-9'"):
            action()
    with pytest.raises(UnknownName, match="no assignment '9'"):
        catalog.assignments.complete(9)


def test_an_approval_is_given_once(catalog: Catalog) -> None:
    campaign = catalog.campaigns.open(ARGUMENTS)[0].id
    asked = catalog.approvals.ask(campaign, 0, "deploy", {"policy": "b"})
    assert catalog.approvals.ask(campaign, 0, "deploy", {"policy": "another"}) == asked
    granted = catalog.approvals.decide(asked.id, granted=True, by="ada")
    assert (granted.state, granted.decided_by) == ("granted", "ada")
    assert catalog.approvals.decide(asked.id, granted=True, by="bob") == granted
    with pytest.raises(ConflictError, match="was granted by ada already"):
        catalog.approvals.decide(asked.id, granted=False, by="bob")
    assert catalog.approvals.list(campaign, "asked") == []


def test_a_release_moves_forward_only(catalog: Catalog, policy: str) -> None:
    staged = catalog.releases.stage("r1", "pendulum", policy)
    assert catalog.releases.stage("r1", "pendulum", policy) == staged
    assert catalog.releases.current("pendulum") is None
    catalog.releases.move(staged.id, "canary")
    released = catalog.releases.move(staged.id, "released")
    assert catalog.releases.current("pendulum") == catalog.releases.move(staged.id, "released") == released
    with pytest.raises(ConflictError, match="can become rolled_back, not canary"):
        catalog.releases.move(staged.id, "canary")
    catalog.releases.move(staged.id, "rolled_back", "worse than before")
    assert catalog.releases.current("pendulum") is None
    with pytest.raises(ConflictError, match="exists with policy"):
        catalog.releases.stage("r1", "other", policy)


def test_events_are_listed_as_they_came(catalog: Catalog) -> None:
    for number in range(5):
        catalog.events.record("tick" if number % 2 else "tock", f"s{number}", {"n": number})
    assert [event.data["n"] for event in catalog.events.list(limit=3)] == [2, 3, 4]
    assert [event.data["n"] for event in catalog.events.list(after_id=1, limit=2)] == [1, 2]
    assert [event.subject for event in catalog.events.list(kind="tick")] == ["s1", "s3"]
    assert [event.kind for event in catalog.events.list(subject="s4")] == ["tock"]
