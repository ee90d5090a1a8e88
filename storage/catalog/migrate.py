"""Brings a database to the tables of this version, once, however many processes open it at the same time.

The migrations are part of the package. A database of a newer version is refused and not touched; there is no way back
to older tables.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from storage.catalog.database import Database
from storage.contracts.errors import IncompatibleError, UnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The revision that this code works with."""

_LOCK = 0x51B2E7
_FOLDER = Path(__file__).with_name("migrations")


def migrate(database: Database, target: str = HEAD) -> None:
    """Creates or updates the tables. Raises IncompatibleError if the database is newer than this code."""
    if database.read(_revision) == target:
        return
    if database.is_sqlite:
        _migrate_sqlite(database, target)
    else:
        database.write(lambda connection: _upgrade(connection, target, database.place))


def script_config() -> "Config":
    """Alembic's configuration for the migrations of the package.

    Alembic is imported only when there is something to migrate: commands such as `status` answer at once.
    """
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrate_sqlite(database: Database, target: str) -> None:
    """With foreign keys off, because SQLite changes a table by making it again; they are checked before the commit."""
    plain = create_engine(database.url, poolclass=NullPool, connect_args={"timeout": 60})

    @event.listens_for(plain, "connect")
    def _connect(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(plain, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with plain.begin() as connection:
        _upgrade(connection, target, database.place)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise UnavailableError(
                f"the catalog at {database.place} has {len(broken)} rows that point nowhere; not migrated"
            )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().first()
    return None if found is None else str(found)


def _upgrade(connection: Connection, target: str, place: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = _revision(connection)
    if found == target:
        return
    from alembic import command
    from alembic.script import ScriptDirectory

    config = script_config()
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if found is not None and found not in known:
        raise IncompatibleError(
            f"the catalog at {place} is at revision '{found}'; this version knows revisions up to '{HEAD}'",
            remedy="It was made by a newer version of the engine: install that version, or use another home.",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, target)
