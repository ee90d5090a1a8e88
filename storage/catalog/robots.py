"""Robots by serial name, and every version of their specification."""

import re
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection, Row, Select, func, select, update

from storage.catalog.database import Database
from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import robot_specs, robots, specs
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.robot import RobotSpec

_REGISTER = (
    "Register it first: send its files once with a mapping, 'sim2real upload PATH --robot {serial} --map FILE' (draft"
    " FILE with 'sim2real import PATH --propose'); or 'sim2real robot add FOLDER --serial {serial}'; or start"
    " sim2real-robot on it, which registers itself once it is admitted."
)
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,119}")


@dataclass(frozen=True)
class RobotRow:
    """One individual robot.

    `kind`: `standin`, `imported`, `live`, ...; `spec_number` counts its specifications from 1.
    """

    serial: str
    kind: str
    spec_digest: str
    spec_number: int
    spec_name: str
    spec_document: str
    created_ns: int
    updated_ns: int

    @cached_property
    def spec(self) -> RobotSpec:
        """The specification in force."""
        return RobotSpec.from_json(self.spec_document)


class Robots(Repository):
    """The registered robots."""

    def register(self, serial: str, spec: RobotSpec, kind: str = "imported") -> RobotRow:
        """Adds the robot, or a new version of its specification; the same specification again changes nothing."""
        if not _SERIAL.fullmatch(serial):
            raise ContractError(
                f"'{serial[:200]}' cannot be a robot's serial name: letters, digits, _ . : - (at most 120)"
            )

        def action(connection: Connection) -> RobotRow:
            add_spec(self._db, connection, spec)
            now = now_ns()
            values = {"serial": serial, "kind": kind, "spec_digest": spec.digest, "spec_number": 1, "created_ns": now}
            if self._db.insert_if_absent(connection, robots, values | {"updated_ns": now}):
                self._add_version(connection, serial, 1, spec.digest, now)
                return _get(connection, serial)
            row = _get(connection, serial, lock=True)
            if row.spec_digest == spec.digest:
                return row
            number = (
                1
                + connection.execute(
                    select(func.max(robot_specs.c.number)).where(robot_specs.c.robot == serial)
                ).scalar_one()
            )
            self._add_version(connection, serial, number, spec.digest, now)
            connection.execute(
                update(robots)
                .where(robots.c.serial == serial)
                .values(spec_digest=spec.digest, spec_number=number, updated_ns=now)
            )
            return _get(connection, serial)

        return self._db.write(action)

    def get(self, serial: str) -> RobotRow:
        """Raises UnknownName with the nearest serial name."""
        return self._db.read(lambda connection: _get(connection, serial))

    def list(self, kind: str | None = None, spec_name: str | None = None) -> list[RobotRow]:
        """Robots by serial name."""

        def action(connection: Connection) -> list[RobotRow]:
            query = _query().order_by(robots.c.serial)
            if kind is not None:
                query = query.where(robots.c.kind == kind)
            if spec_name is not None:
                query = query.where(specs.c.name == spec_name)
            return [_row(row) for row in connection.execute(query)]

        return self._db.read(action)

    def spec(self, digest: str) -> RobotSpec:
        """A specification by its digest. Raises UnknownName."""

        def action(connection: Connection) -> RobotSpec:
            document = connection.execute(select(specs.c.document).where(specs.c.digest == digest)).scalar()
            if document is None:
                raise UnknownName("specification", digest, None)
            return RobotSpec.from_json(document)

        return self._db.read(action)

    def _add_version(self, connection: Connection, serial: str, number: int, digest: str, now: int) -> None:
        connection.execute(robot_specs.insert().values(robot=serial, number=number, spec_digest=digest, added_ns=now))


def require_robot(connection: Connection, serial: str) -> None:
    """Raises UnknownName with the nearest serial name unless the robot is registered."""
    if connection.execute(select(robots.c.serial).where(robots.c.serial == serial)).first() is None:
        known = connection.execute(select(robots.c.serial)).scalars()
        raise UnknownName("robot", serial, known, remedy=_REGISTER.format(serial=serial))


def add_spec(database: Database, connection: Connection, spec: RobotSpec) -> None:
    """Keeps a specification under its digest."""
    database.insert_if_absent(
        connection, specs, {"digest": spec.digest, "name": spec.name, "document": spec.to_json().decode()}
    )


def _get(connection: Connection, serial: str, *, lock: bool = False) -> RobotRow:
    query = _query().where(robots.c.serial == serial)
    row = connection.execute(query.with_for_update(of=robots) if lock else query).first()
    if row is None:
        require_robot(connection, serial)
        raise UnknownName("robot", serial, None)
    return _row(row)


def _query() -> Select[tuple[object, ...]]:
    return select(robots, specs.c.name.label("spec_name"), specs.c.document.label("spec_document")).join(
        specs, specs.c.digest == robots.c.spec_digest
    )


def _row(row: Row[tuple[object, ...]]) -> RobotRow:
    return RobotRow(**row._mapping)
