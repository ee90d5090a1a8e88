"""Artefacts: names and numbers, references, and the graph of what was made from what."""

from collections.abc import Callable

import pytest

from storage.catalog.catalog import Catalog
from storage.contracts.episode import Episode
from storage.contracts.errors import ConflictError, ContractError, InputError, UnknownName
from storage.contracts.figures import Figure, Scorecard
from storage.contracts.robot import RobotSpec


def digest(word: str) -> str:
    """A digest that begins with the hex digits of `word`."""
    return word.encode().hex().ljust(64, "0")[:64]


def add(catalog: Catalog, kind: str, word: str, **fields: object) -> str:
    return catalog.artefacts.add(kind, digest(word), word.encode(), **fields).digest  # type: ignore[arg-type]


def test_a_name_counts_its_digests(catalog: Catalog) -> None:
    rows = [catalog.artefacts.add("simulator", digest(w), b"{}", name="fleet") for w in ("one", "two", "one", "three")]
    assert [row.reference for row in rows] == ["fleet@1", "fleet@2", "fleet@1", "fleet@3"]
    assert catalog.artefacts.add("policy", digest("p"), b"{}", name="fleet").reference == "fleet@1", "per kind and name"
    assert [row.number for row in catalog.artefacts.list("simulator", "fleet")] == [1, 2, 3]
    assert catalog.artefacts.add("simulator", digest("one"), b"{}", name="best").reference == "best@1"
    assert catalog.artefacts.get(digest("two")).manifest == b"{}"


def test_references(catalog: Catalog) -> None:
    for word in ("first", "second"):
        add(catalog, "simulator", word, name="fleet")
    add(catalog, "policy", "secret", name="run/a:b")
    resolve = catalog.artefacts.resolve
    assert resolve("fleet@1").digest == digest("first")
    assert resolve("fleet@latest").digest == digest("second")
    assert resolve("run/a:b@1", kind="policy").digest == digest("secret")
    assert resolve(digest("first")).name == "fleet"
    assert resolve(digest("second")[:10]).digest == digest("second")


WRONG_REFERENCES = [
    ("fleat@1", None, UnknownName, "Did you mean 'fleet'"),
    ("fleet@3", None, UnknownName, r"unknown version of 'fleet' '3'; known: 1, 2, latest"),
    ("fleet@1", "policy", UnknownName, "unknown policy 'fleet'"),
    ("fleet", None, InputError, "neither name@number nor a digest"),
    ("0123", None, InputError, "neither name@number nor a digest"),
    ("01234567", None, UnknownName, "no artefact '01234567'"),
    ("73616d65", None, InputError, "several artefacts begin with"),
    ("shared@1", None, InputError, "'shared' is the name of a policy and of a simulator"),
]


def test_wrong_references_are_named(catalog: Catalog) -> None:
    for word in ("same-1", "same-2"):
        add(catalog, "simulator", word, name="fleet")
    add(catalog, "simulator", "x", name="shared")
    add(catalog, "policy", "y", name="shared")
    for reference, kind, error, message in WRONG_REFERENCES:
        with pytest.raises(error, match=message):
            catalog.artefacts.resolve(reference, kind)


def test_kinds_and_names_are_checked(catalog: Catalog) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'simulator'"):
        add(catalog, "simulater", "a")
    with pytest.raises(ContractError, match="cannot be an artefact's name"):
        add(catalog, "policy", "a", name="with@sign")
    add(catalog, "policy", "a")
    with pytest.raises(ConflictError, match="is a policy already"):
        add(catalog, "report", "a")


def test_lineage_runs_from_episodes_to_reports_and_back(
    catalog: Catalog, pendulum_spec: RobotSpec, make_episode: Callable[..., Episode]
) -> None:
    campaign, _ = catalog.campaigns.open({"iterations": 1})
    catalog.robots.register("p-1", pendulum_spec)
    random_policy = add(catalog, "policy", "random", name="random")
    log = catalog.episodes.add("e" * 64, make_episode("p-1", policy=random_policy)).sha256
    data = add(catalog, "dataset", "data", parents=[log])
    simulator = add(catalog, "simulator", "sim", parents=[data], name="fleet", campaign=campaign.id, iteration=0)
    policy = add(catalog, "policy", "trained", parents=[simulator])
    card = add(catalog, "scorecard", "card", parents=[simulator, data, simulator])

    found = catalog.artefacts.lineage(simulator)
    assert found.root.parents == (data,)
    assert (found.root.label, found.root.campaigns) == ("fleet@1", (campaign.id,))
    assert [(node.kind, node.label) for node in found.ancestors[1:]] == [("episode", "p-1"), ("policy", "random@1")]
    assert {node.digest for node in found.descendants} == {policy, card}
    assert next(n for n in found.descendants if n.digest == card).parents == (simulator, data)
    assert {n.digest for n in catalog.artefacts.lineage(log).descendants} == {data, simulator, policy, card}
    assert catalog.artefacts.lineage(log, depth=1).descendants[0].digest == data
    with pytest.raises(UnknownName, match="artefact or episode"):
        catalog.artefacts.lineage("0" * 64)


def test_parents_must_exist(catalog: Catalog) -> None:
    with pytest.raises(UnknownName, match="parent artefact or episode"):
        add(catalog, "policy", "orphan", parents=["0" * 64])
    with pytest.raises(UnknownName, match="artefact"):
        catalog.artefacts.get(digest("orphan"))


def test_a_leaderboard_compares_on_equal_data(catalog: Catalog) -> None:
    for word, value, data in (("good", 0.2, "d1"), ("bad", 0.9, "d1"), ("elsewhere", 0.1, "d2")):
        simulator, scorecard = add(catalog, "simulator", word), add(catalog, "scorecard", f"card of {word}")
        figures = (
            Figure(name="nrmse", value=value, n=10, horizon_s=0.5, ci95=(value - 0.1, value + 0.1)),
            Figure(name="nrmse", value=9.0, n=10, horizon_s=0.5, channel="arm.angle"),
            Figure(name="nrmse", value=9.0, n=10, horizon_s=1.0),
        )
        card = Scorecard(simulator=simulator, measured_on=data, figures=figures)
        for _ in range(2):
            catalog.evaluations.add(scorecard, simulator, card)
    board = catalog.evaluations.leaderboard("d1", "nrmse", 0.5)
    assert [(row.subject, row.figure.value) for row in board] == [(digest("good"), 0.2), (digest("bad"), 0.9)]
    assert board[0].figure.ci95 == pytest.approx((0.1, 0.3))
    assert len(catalog.evaluations.of(digest("good"))) == 3


def test_scenarios_come_into_force_and_retire(catalog: Catalog) -> None:
    scenario = add(catalog, "scenario", "slip")
    row = catalog.scenarios.add(scenario, "slip", "pendulum")
    assert catalog.scenarios.add(scenario, "slip", "pendulum") == row
    assert catalog.scenarios.list("pendulum") == [row]
    assert catalog.scenarios.retire(scenario).state == "retired"
    assert catalog.scenarios.list() == []
    with pytest.raises(ConflictError):
        catalog.scenarios.add("0" * 64, "not stored", "pendulum")
