"""Connections to SQLite and PostgreSQL, and short transactions that are retried when another process was in the way.

SQLite: write-ahead log, `BEGIN IMMEDIATE` for everything that writes (a transaction that reads first and upgrades
later loses updates or fails), foreign keys on, full synchronisation, a busy timeout. PostgreSQL: READ COMMITTED,
where every decision is a constraint or one guarded UPDATE. This module knows no table.
"""

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, StatementError

from storage.contracts.errors import ConflictError, ContractError, InputError, Sim2RealError, UnavailableError

T = TypeVar("T")

_BUSY_TIMEOUT_S = 20
_PATIENCE_S = 60.0
_RETRY_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
_RETRY_WORDS = ("database is locked", "database table is locked", "database is busy")


class Database:
    """One database. `write` and `read` run a function in a transaction of its own; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url)

    @property
    def place(self) -> str:
        """For messages: the URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def write(self, action: Callable[[Connection], T]) -> T:
        """The result of `action` in a transaction that may write; it may run more than once, only the last run counts.

        Raises UnavailableError when the database cannot be reached, is full or stays locked.
        """
        return self._run(action, self.engine)

    def read(self, action: Callable[[Connection], T]) -> T:
        """The result of `action` in a transaction that only reads; it waits for no writer."""
        return self._run(action, self.engine.execution_options(read_only=True))

    def insert_if_absent(self, connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
        """Inserts a row unless one with the same key is there.

        True if it was inserted; another writer is waited for.
        """
        insert = sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)
        statement = insert.values(**values).on_conflict_do_nothing().returning(*table.primary_key.columns)
        return connection.execute(statement).first() is not None

    def close(self) -> None:
        self.engine.dispose()

    def _run(self, action: Callable[[Connection], T], engine: Engine) -> T:
        start = time.monotonic()
        attempt = 0
        while True:
            try:
                with engine.begin() as connection:
                    return action(connection)
            except DBAPIError as error:
                attempt += 1
                if not _is_transient(error) or time.monotonic() - start > self._patience_s(error):
                    raise self._translate(error) from error
                time.sleep(min(1.0, 0.005 * 2**attempt) * random.uniform(0.5, 1.0))
            except StatementError as error:
                raise ContractError(f"the catalog cannot hold this value: {error.orig}") from error

    def _patience_s(self, error: DBAPIError) -> float:
        """A server that cannot be reached at all is reported soon, a lock is waited for."""
        return 5.0 if getattr(error.orig, "sqlstate", None) is None and not self.is_sqlite else _PATIENCE_S

    def _translate(self, error: DBAPIError) -> Sim2RealError:
        text = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        state = getattr(error.orig, "sqlstate", None) or ""
        if type(error).__name__ == "IntegrityError":
            return ConflictError(f"the catalog refused the change: {text}")
        if type(error).__name__ == "DataError":
            return ContractError(f"the catalog cannot hold this value: {text}")
        if state.startswith("28") or state.startswith("3D"):
            return InputError(
                f"the catalog at {self.place} refused the connection: {text}",
                remedy="Check user, password and database name.",
            )
        remedy = (
            "Free some disk space." if "full" in text else "Check that the database runs and that its URL is right."
        )
        return UnavailableError(f"the catalog at {self.place} cannot be used: {text}", remedy=remedy)


def _parse(url: str) -> URL:
    expected = "expected sqlite:///path/to/catalog.sqlite or postgresql+psycopg://user@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"'{url}' is not a catalog URL; {expected}") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InputError(f"'{url}' would keep the catalog in memory and lose it; {expected}")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise InputError(f"'{parsed.drivername}' is not a kind of catalog; {expected}")
    return parsed


def _sqlite_engine(url: URL) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot make the folder of the catalog, {path.parent}: {error.strerror}") from error
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "foreign_keys=ON",
            "synchronous=FULL",
            f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    except (NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"PostgreSQL needs the package psycopg: {error}", remedy="Install sim2real-engine[engine]."
        ) from error


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RETRY_STATES:
        return True
    if any(word in str(error.orig) for word in _RETRY_WORDS):
        return True
    kind = type(error.orig)
    is_connection_lost = kind.__module__.startswith("psycopg") and kind.__name__ == "OperationalError"
    return is_connection_lost and not getattr(error.orig, "sqlstate", None)
