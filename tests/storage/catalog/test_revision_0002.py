"""A catalog of revision 0001 with rows in it becomes one of 0002: nothing lost, the new facts filled in."""

import pytest
from sqlalchemy import Connection, text

from storage.catalog.catalog import Catalog
from storage.catalog.database import Database
from storage.catalog.episode_pages import EpisodeFilter
from storage.catalog.migrate import migrate
from storage.contracts.robot import RobotSpec

RAW, FIRST, SECOND = "a" * 64, "b" * 64, "c" * 64
UPLOAD = "INSERT INTO uploads (robot, sha256, size, format, idempotency_key, state, detail, version, created_ns,"
EPISODE = (
    "INSERT INTO episodes (sha256, robot, spec_digest, spec_name, upload, raw_sha256, converter, part, start_ns,"
    " end_ns, steps, duration_s, tags, added_ns) VALUES (:sha, 'p-1', :spec, 'pendulum', 1, :raw, 'c', 0, :start,"
    " 9, 1, :seconds, :tags, 1)"
)


def old_catalog(url: str, spec: RobotSpec) -> None:
    database = Database(url)
    migrate(database, "0001")

    def fill(c: Connection) -> None:
        document = {"d": spec.digest, "n": spec.name, "j": spec.to_json().decode()}
        c.execute(text("INSERT INTO specs VALUES (:d, :n, :j)"), document)
        c.execute(text("INSERT INTO robots VALUES ('p-1', 'standin', :d, 1, 1, 1)"), document)
        for number, state in enumerate(("accepted", "receiving")):
            values = {"sha": RAW if number == 0 else "d" * 64, "key": f"k{number}", "state": state}
            c.execute(text(f"{UPLOAD} updated_ns) VALUES ('p-1', :sha, 5, 'csv', :key, :state, '', 1, 1, 1)"), values)
        for sha, start, seconds, tags in ((FIRST, 5, 1.5, '{"outcome":"fell"}'), (SECOND, 7, 2.0, "{}")):
            values = {"sha": sha, "spec": spec.digest, "raw": RAW, "start": start, "seconds": seconds, "tags": tags}
            c.execute(text(EPISODE), values)
        c.execute(text("INSERT INTO episode_tags VALUES (:sha, 'outcome', 'fell')"), {"sha": FIRST})

    database.write(fill)
    database.close()


@pytest.fixture
def upgraded(empty_catalog_url: str, pendulum_spec: RobotSpec) -> Catalog:
    old_catalog(empty_catalog_url, pendulum_spec)
    return Catalog.open(empty_catalog_url)


def test_rows_and_their_links_are_kept(upgraded: Catalog) -> None:
    with upgraded as catalog:
        accepted, receiving = catalog.uploads.list()
        assert (accepted.sha256, accepted.state, accepted.priority, accepted.card) == (RAW, "accepted", "routine", None)
        assert catalog.uploads.abandon(receiving.id, "too old").state == "abandoned"
        assert [row.upload for row in catalog.episodes.find()] == [accepted.id] * 2
        assert catalog.uploads.begin("p-1", "e" * 64, 1, "csv", "key-new").id > receiving.id
        with pytest.raises(Exception, match=r"(?i)check"):
            catalog.database.write(lambda c: c.execute(text("UPDATE uploads SET state = 'lost'")))
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            catalog.database.write(lambda c: c.execute(text("DELETE FROM uploads WHERE id = 1")))


def test_old_episodes_are_found_by_the_new_facts(upgraded: Catalog) -> None:
    with upgraded as catalog:
        page = catalog.episode_pages.page
        assert [row.sha256 for row in page(EpisodeFilter())] == [SECOND, FIRST]
        assert [row.sha256 for row in page(EpisodeFilter(outcome="fell"))] == [FIRST]
        assert [row.sha256 for row in page(EpisodeFilter(tags={"outcome": "fell"}, from_ns=5))] == [FIRST]
        assert page(EpisodeFilter(tags={"outcome": "fell"}, from_ns=6)) == []
        assert [(t.outcome, t.episodes, t.duration_s) for t in catalog.episode_pages.totals()] == [
            ("fell", 1, 1.5), ("unknown", 1, 2.0),
        ]  # fmt: skip
