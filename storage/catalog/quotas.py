"""How much a robot may send: bytes and files a day, uploads begun and not finished; and what it has sent.

The check and the insertion are two transactions: a robot that races itself may pass a limit by its parallel requests.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, or_, select, update

from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import quotas, uploads
from storage.catalog.uploads import EVICTED

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Quota:
    """Limits of one robot."""

    bytes_per_day: int = 500 * 10**9
    files_per_day: int = 50_000
    open_uploads: int = 512


@dataclass(frozen=True)
class Usage:
    """What a robot sent within the last 24 hours, and what it has begun."""

    bytes: int
    files: int
    open: int


class Quotas(Repository):
    """Quotas by robot; a robot without a row has the defaults."""

    def get(self, robot: str) -> Quota:
        query = select(quotas).where(quotas.c.robot == robot)
        row = self._db.read(lambda connection: connection.execute(query).first())
        return Quota() if row is None else Quota(row.bytes_per_day, row.files_per_day, row.open_uploads)

    def set(self, robot: str, quota: Quota) -> None:
        values = asdict(quota)

        def action(connection: Connection) -> None:
            if not self._db.insert_if_absent(connection, quotas, values | {"robot": robot}):
                connection.execute(update(quotas).where(quotas.c.robot == robot).values(**values))

        self._db.write(action)

    def usage(self, robot: str) -> Usage:
        """Two index scans over the robot's rows of one day, which the quota itself bounds."""
        since = now_ns() - DAY_NS
        sent = or_(uploads.c.reason_code.is_(None), uploads.c.reason_code != EVICTED)
        day = select(func.coalesce(func.sum(uploads.c.size), 0), func.count()).where(
            uploads.c.robot == robot, uploads.c.created_ns >= since, sent
        )
        begun = select(func.count()).where(uploads.c.robot == robot, uploads.c.state == "receiving")

        def action(connection: Connection) -> Usage:
            size, files = connection.execute(day).one()
            return Usage(int(size), int(files), int(connection.execute(begun).scalar_one()))

        return self._db.read(action)
