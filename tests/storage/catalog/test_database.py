"""How databases are opened, and what is said when they cannot be."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from storage.catalog.catalog import Catalog
from storage.catalog.database import Database
from storage.catalog.tables import artefact_names
from storage.contracts.errors import ConflictError, ContractError, InputError, UnavailableError


def test_sqlite_is_set_up_for_several_writers(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    pragmas = ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
    found = database.read(lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas])
    assert found == ["wal", 1, 2, 20_000]


def test_sqlite_readers_do_not_wait_for_a_writer(sqlite_url: str) -> None:
    with Catalog.open(sqlite_url) as catalog, ThreadPoolExecutor(1) as pool:
        inside, leave = threading.Event(), threading.Event()

        def hold(connection: object) -> None:
            inside.set()
            assert leave.wait(20)

        held = pool.submit(catalog.database.write, hold)
        assert inside.wait(5)
        assert catalog.robots.list() == []
        leave.set()
        held.result(5)


def test_writers_of_one_catalog_wait_for_each_other(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: catalog.events.record("test", str(n)), range(64)))
    assert sorted(ids) == list(range(1, 65))


def test_foreign_keys_hold(catalog: Catalog) -> None:
    row = {"kind": "policy", "name": "orphan", "number": 1, "digest": "0" * 64, "named_ns": 0}
    with pytest.raises(ConflictError, match="refused the change"):
        catalog.database.write(lambda c: c.execute(insert(artefact_names).values(**row)))


def test_a_failed_action_leaves_nothing(catalog: Catalog) -> None:
    def fail(connection: object) -> None:
        connection.execute(text("DELETE FROM alembic_version"))  # type: ignore[attr-defined]
        raise ContractError("stop here")

    with pytest.raises(ContractError, match="stop here"):
        catalog.database.write(fail)
    assert catalog.database.read(lambda c: c.execute(text("SELECT count(*) FROM alembic_version")).scalar()) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a catalog URL; expected sqlite:///"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://root@localhost/x", "'mysql' is not a kind of catalog"),
    ],
)
def test_wrong_urls_are_named(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Catalog.open(url)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"this is not a database, and long enough to be sure of it" * 100)
    with pytest.raises(UnavailableError, match="not a database"):
        Catalog.open(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot make the folder"):
        Catalog.open(f"sqlite:///{tmp_path}/file/catalog.sqlite")


def test_an_absent_server_is_named_within_ten_seconds_and_its_password_is_not() -> None:
    url = "postgresql+psycopg://somebody:hunter2@127.0.0.1:9/catalog"
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9/catalog cannot be used") as caught,
    ):
        pool.submit(Catalog.open, url).result(timeout=10)
    assert "hunter2" not in str(caught.value)


def test_a_full_disk_is_named_and_loses_nothing(sqlite_url: str) -> None:
    with Catalog.open(sqlite_url) as catalog:
        catalog.events.record("before", "x")
        pages = catalog.database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())

        def fill(connection: object) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
            connection.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(4000000)")  # type: ignore[attr-defined]

        with pytest.raises(UnavailableError, match="full") as caught:
            catalog.database.write(fill)
        assert "disk space" in caught.value.remedy
        assert [event.kind for event in catalog.events.list()] == ["before"]


def test_a_lock_held_by_somebody_else_is_waited_for(sqlite_url: str) -> None:
    """Another program holds the write lock for a while; nothing is lost and nothing fails."""
    with Catalog.open(sqlite_url) as catalog, ThreadPoolExecutor(1) as pool:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        waiting = pool.submit(catalog.events.record, "late", "x")
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        other.execute("COMMIT")
        assert waiting.result(10) == 1
        other.close()


def test_text_that_one_database_cannot_hold_is_refused(catalog: Catalog) -> None:
    """PostgreSQL has no NUL in text; JSON escapes it, so that data of events may have it."""
    catalog.events.record("kind", "subject", {"text": "a\0b"})
    assert catalog.events.list()[0].data == {"text": "a\0b"}
    if catalog.database.is_sqlite:
        return
    with pytest.raises(ContractError, match="cannot hold"):
        catalog.events.record("kind", "sub\0ject")
