"""Migrations: from nothing, from an older version, refused from a newer one, and by several processes at once."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from storage.catalog import migrate as module
from storage.catalog.catalog import Catalog
from storage.catalog.database import Database
from storage.catalog.tables import metadata
from storage.contracts.errors import IncompatibleError
from storage.contracts.robot import RobotSpec

NEXT = '''"""A later version."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    with op.batch_alter_table("robots", recreate="auto") as batch:
        batch.add_column(sa.Column("nickname", sa.Text(), nullable=False, server_default="none"))
        batch.alter_column("kind", new_column_name="sort")
{more}
'''


def revision(database: Database) -> object:
    return database.read(lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalar())


def newer_scripts(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    """The package's migrations with one more at the end."""
    shutil.copytree(module._FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "r9999_later.py").write_text(NEXT.format(head=module.HEAD, more=more))
    monkeypatch.setattr(module, "_FOLDER", folder)


def test_the_code_and_its_scripts_agree_on_the_head() -> None:
    assert ScriptDirectory.from_config(module.script_config()).get_current_head() == module.HEAD


def test_the_migrations_make_the_tables_that_the_code_expects(empty_catalog_url: str) -> None:
    with Catalog.open(empty_catalog_url) as catalog, catalog.database.engine.connect() as connection:
        assert revision(catalog.database) == module.HEAD
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_opening_again_keeps_everything(catalog_url: str, pendulum_spec: RobotSpec) -> None:
    with Catalog.open(catalog_url) as catalog:
        catalog.robots.register("p-1", pendulum_spec)
    with Catalog.open(catalog_url) as catalog:
        assert catalog.robots.get("p-1").spec == pendulum_spec


def test_a_catalog_newer_than_the_code_is_refused_and_not_touched(catalog_url: str) -> None:
    with Catalog.open(catalog_url) as catalog:
        catalog.database.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(
        IncompatibleError, match=f"revision '9999'; this version knows revisions up to '{module.HEAD}'"
    ) as caught:
        Catalog.open(catalog_url)
    assert "newer version of the engine" in caught.value.remedy
    assert revision(Database(catalog_url)) == "9999"


def test_an_older_catalog_is_migrated_with_its_rows_and_foreign_keys(
    catalog_url: str, pendulum_spec: RobotSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalog.open(catalog_url) as catalog:
        catalog.robots.register("p-1", pendulum_spec)
        upload = catalog.uploads.begin("p-1", "a" * 64, 1, "csv", "key")
    newer_scripts(tmp_path / "scripts", monkeypatch)
    database = Database(catalog_url)
    module.migrate(database, "9999")
    query = text(
        "SELECT robots.sort, robots.nickname, uploads.id FROM uploads JOIN robots ON uploads.robot = robots.serial"
    )
    assert database.read(lambda c: c.execute(query).all()) == [("imported", "none", upload.id)]
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        database.write(lambda c: c.execute(text("DELETE FROM robots")))


def test_a_migration_that_fails_leaves_the_old_tables(
    catalog_url: str, pendulum_spec: RobotSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalog.open(catalog_url) as catalog:
        catalog.robots.register("p-1", pendulum_spec)
    newer_scripts(tmp_path / "scripts", monkeypatch, more='    raise RuntimeError("power cut")')
    with pytest.raises(RuntimeError, match="power cut"):
        module.migrate(Database(catalog_url), "9999")
    monkeypatch.undo()
    with Catalog.open(catalog_url) as catalog:
        assert catalog.robots.get("p-1").kind == "imported"


def test_a_fresh_database_is_migrated_once_by_many(empty_catalog_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        catalogs = list(pool.map(Catalog.open, [empty_catalog_url] * 6))
    assert [revision(catalog.database) for catalog in catalogs] == [module.HEAD] * 6
    for catalog in catalogs:
        catalog.close()
