"""Queries over episodes, compared with a filter in plain Python; their order, their indices, their links."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalog.catalog import Catalog
from storage.catalog.episodes import EpisodeRow
from storage.contracts.episode import Episode, Provenance
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.robot import RobotSpec

MakeEpisode = Callable[..., Episode]


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def robots(catalog: Catalog, pendulum_spec: RobotSpec) -> list[str]:
    return [catalog.robots.register(f"p-{n}", pendulum_spec).serial for n in range(3)]


def test_the_row_says_what_the_episode_says(catalog: Catalog, robots: list[str], make_episode: MakeEpisode) -> None:
    policy = "b" * 64
    episode = make_episode("p-0", steps=50, start_ns=7, policy=policy, tags={"purpose": "evaluation"}, seed=3)
    upload = catalog.uploads.begin("p-0", digest(3), 1, "mcap", "k")
    row = catalog.episodes.add(digest(1), episode, upload_id=upload.id, split="train")
    assert (row.robot, row.steps, row.start_ns, row.end_ns) == ("p-0", 50, 7, 500_000_007)
    assert row.duration_s == pytest.approx(0.5)
    assert (row.policy, row.policy_artefact, row.tags, row.split) == (policy, None, {"purpose": "evaluation"}, "train")
    assert (row.raw_sha256, row.part, row.upload, row.spec_digest) == (digest(3), 0, upload.id, episode.spec.digest)
    assert catalog.episodes.add(digest(1), episode) == row, "the first row of a digest stays"
    assert catalog.episodes.get(digest(1)) == row


def test_order_is_by_robot_and_start_and_not_by_arrival(
    catalog: Catalog, robots: list[str], make_episode: MakeEpisode
) -> None:
    wanted = [("p-0", 5, 0), ("p-0", 9, 0), ("p-0", 9, 1), ("p-1", 1, 0), ("p-2", 0, 0)]
    numbered = list(enumerate(wanted))
    random.Random(1).shuffle(numbered)
    for number, (robot, start, part) in numbered:
        provenance = Provenance(raw_sha256=digest(0), part=part)
        catalog.episodes.add(digest(100 - number), make_episode(robot, start_ns=start, provenance=provenance))
    assert [row.sha256 for row in catalog.episodes.find()] == [digest(100 - n) for n in range(5)]


FACTS = st.fixed_dictionaries(
    {
        "robot": st.sampled_from(["p-0", "p-1", "p-2"]),
        "start_ns": st.integers(0, 3),
        "policy": st.sampled_from([None, "a" * 64, "b" * 64]),
        "tags": st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2", "'; --", "é\n"])),
    }
)
QUESTIONS = st.fixed_dictionaries(
    {
        "robots": st.none() | st.lists(st.sampled_from(["p-0", "p-1", "nobody"]), max_size=3),
        "policy": st.sampled_from([None, "a" * 64]),
        "tags": st.none() | st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "'; --", "é\n"])),
        "start_ns": st.none() | st.tuples(st.integers(0, 3), st.integers(0, 4)),
    }
)


def matches(row: EpisodeRow, question: dict[str, object]) -> bool:
    tags, start, names = question["tags"] or {}, question["start_ns"], question["robots"]
    return (
        (names is None or row.robot in names)  # type: ignore[operator]
        and question["policy"] in (None, row.policy)
        and tags.items() <= row.tags.items()  # type: ignore[attr-defined]
        and (start is None or start[0] <= row.start_ns < start[1])  # type: ignore[index]
    )


def test_find_agrees_with_a_plain_filter(catalog: Catalog, robots: list[str], make_episode: MakeEpisode) -> None:
    count = 0

    @settings(max_examples=15)
    @given(st.lists(FACTS, max_size=6), st.lists(QUESTIONS, min_size=4, max_size=4))
    def check(facts: list[dict[str, object]], questions: list[dict[str, object]]) -> None:
        nonlocal count
        new = [(digest(count + n), make_episode(seed=count + n, steps=2, **fact)) for n, fact in enumerate(facts)]
        count += len(new)
        catalog.episodes.add_many(new)
        everything = catalog.episodes.find()
        assert len(everything) == count
        for question in questions:
            assert catalog.episodes.find(**question) == [r for r in everything if matches(r, question)]  # type: ignore[arg-type]

    check()


def test_find_by_upload_assignment_and_specification(
    catalog: Catalog, robots: list[str], make_episode: MakeEpisode
) -> None:
    uploads = [catalog.uploads.begin("p-0", digest(n), 1, "mcap", str(n)).id for n in range(3)]
    assignment = catalog.assignments.assign("a", "p-0", {}, None).id
    for number, upload in enumerate(uploads):
        catalog.episodes.add(
            digest(number), make_episode("p-0", seed=number), upload, assignment=assignment if number else None
        )
    assert [r.sha256 for r in catalog.episodes.find(upload_ids=uploads[1:])] == [digest(1), digest(2)]
    assert catalog.episodes.find(upload_ids=[]) == []
    assert [r.sha256 for r in catalog.episodes.find(raw_logs=[digest(2), digest(7)])] == [digest(2)]
    assert catalog.episodes.find(raw_logs=[]) == []
    assert len(catalog.episodes.find(assignment=assignment)) == 2
    assert len(catalog.episodes.find(spec_name="pendulum")) == 3
    assert catalog.episodes.find(spec_name="other") == []
    assert [r.sha256 for r in catalog.episodes.get_many([digest(2), digest(0)])] == [digest(2), digest(0)]


def test_finishing_an_upload_links_episodes_that_have_none(
    catalog: Catalog, robots: list[str], make_episode: MakeEpisode
) -> None:
    upload = catalog.uploads.begin("p-0", digest(9), 1, "mcap", "k")
    catalog.episodes.add(digest(1), make_episode("p-0"))
    catalog.uploads.finish(upload.id, "accepted", episodes=[digest(1)])
    assert catalog.episodes.get(digest(1)).upload == upload.id


def test_a_batch_is_added_whole_or_not_at_all(catalog: Catalog, robots: list[str], make_episode: MakeEpisode) -> None:
    good, bad = make_episode("p-0"), make_episode("stranger")
    with pytest.raises(UnknownName, match="unknown robot 'stranger'"):
        catalog.episodes.add_many([(digest(1), good), (digest(2), bad)])
    assert catalog.episodes.find() == []


def test_tags_that_cannot_be_indexed_are_refused(
    catalog: Catalog, robots: list[str], make_episode: MakeEpisode
) -> None:
    for tags in ({"x": "a\0b"}, {"x": "y" * 1001}, {"k" * 1001: "v"}):
        with pytest.raises(ContractError, match="cannot be kept"):
            catalog.episodes.add(digest(1), make_episode("p-0", tags=tags))


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("robot = 'p-1' AND start_ns >= 5", "ix_episodes_robot_recorded"),
        ("policy = 'x'", "ix_episodes_policy"),
        ("start_ns >= 5 AND start_ns < 9", "ix_episodes_recorded"),
        ("raw_sha256 = 'x'", "ix_episodes_raw_sha256"),
        ("sha256 IN (SELECT episode FROM episode_tags WHERE key = 'a' AND value = 'b')", "ix_episode_tags_recorded"),
    ],
)
def test_queries_use_their_index(sqlite_url: str, condition: str, index: str) -> None:
    with Catalog.open(sqlite_url) as catalog:
        plan = catalog.database.read(
            lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT * FROM episodes WHERE {condition}").fetchall()
        )
    assert index in str(plan)
