"""Every figure of every scorecard as a row, so that simulators can be compared on the same data; and scenarios."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import evaluations, scenarios
from storage.contracts.errors import UnknownName
from storage.contracts.figures import Figure, Scorecard


@dataclass(frozen=True)
class EvaluationRow:
    """One figure.

    `scorecard` and `subject` (what was measured) are artefact digests, `measured_on` the digest of the data.
    """

    scorecard: str
    position: int
    subject: str
    measured_on: str
    split: str
    figure: Figure


@dataclass(frozen=True)
class ScenarioRow:
    digest: str
    name: str
    spec_name: str
    episode: str | None
    state: str
    added_ns: int


class Evaluations(Repository):
    """Figures by subject and data."""

    def add(self, scorecard: str, subject: str, card: Scorecard) -> None:
        """Notes the figures of a scorecard (an artefact) on `subject` (an artefact). Again is a no-op."""
        rows = [
            {
                "scorecard": scorecard,
                "position": position,
                "subject": subject,
                "measured_on": card.measured_on,
                "split": card.split,
                "name": f.name,
                "horizon_s": f.horizon_s,
                "channel": f.channel,
                "robot": f.robot,
                "unit": f.unit,
                "value": f.value,
                "n": f.n,
                "low": f.ci95[0] if f.ci95 else None,
                "high": f.ci95[1] if f.ci95 else None,
            }
            for position, f in enumerate(card.figures)
        ]

        def action(connection: Connection) -> None:
            for row in rows:
                self._db.insert_if_absent(connection, evaluations, row)

        self._db.write(action)

    def of(self, subject: str) -> list[EvaluationRow]:
        """All figures about a subject."""
        return self._rows(select(evaluations).where(evaluations.c.subject == subject))

    def leaderboard(
        self, measured_on: str, name: str, horizon_s: float | None = None, channel: str | None = None
    ) -> list[EvaluationRow]:
        """Figures of this name, horizon and channel (None: over all) on the same data, smallest value first."""
        table = evaluations.c
        query = select(evaluations).where(table.measured_on == measured_on, table.name == name, table.robot.is_(None))
        query = query.where(table.channel.is_(None) if channel is None else table.channel == channel)
        query = query.where(table.horizon_s.is_(None) if horizon_s is None else table.horizon_s == horizon_s)
        return sorted(self._rows(query), key=lambda row: (row.figure.value, row.subject))

    def _rows(self, query: Select[Any]) -> list[EvaluationRow]:
        ordered = query.order_by(evaluations.c.scorecard, evaluations.c.position)
        return self._db.read(lambda connection: [_row(row) for row in connection.execute(ordered)])


class Scenarios(Repository):
    """Behavioural tests in force."""

    def add(self, digest: str, name: str, spec_name: str, episode: str | None = None) -> ScenarioRow:
        """Puts a scenario (an artefact) in force; `episode` is the failure it was made from. Again is a no-op."""

        def action(connection: Connection) -> ScenarioRow:
            values = {"digest": digest, "name": name, "spec_name": spec_name, "episode": episode}
            self._db.insert_if_absent(connection, scenarios, values | {"state": "active", "added_ns": now_ns()})
            return _scenario(connection, digest)

        return self._db.write(action)

    def retire(self, digest: str) -> ScenarioRow:
        """Takes a scenario out of force. Raises UnknownName."""

        def action(connection: Connection) -> ScenarioRow:
            connection.execute(scenarios.update().where(scenarios.c.digest == digest).values(state="retired"))
            return _scenario(connection, digest)

        return self._db.write(action)

    def list(self, spec_name: str | None = None, state: str | None = "active") -> list[ScenarioRow]:
        """Scenarios by name and digest."""
        query = select(scenarios).order_by(scenarios.c.name, scenarios.c.digest)
        wanted: Iterable[tuple[str, str | None]] = (("spec_name", spec_name), ("state", state))
        for column, value in wanted:
            if value is not None:
                query = query.where(scenarios.c[column] == value)
        return self._db.read(lambda connection: [ScenarioRow(**row._mapping) for row in connection.execute(query)])


def _scenario(connection: Connection, digest: str) -> ScenarioRow:
    row = connection.execute(select(scenarios).where(scenarios.c.digest == digest)).first()
    if row is None:
        raise UnknownName("scenario", digest, None)
    return ScenarioRow(**row._mapping)


def _row(row: Row[Any]) -> EvaluationRow:
    ci95 = None if row.low is None else (row.low, row.high)
    figure = Figure(
        name=row.name,
        value=row.value,
        unit=row.unit,
        n=row.n,
        ci95=ci95,
        horizon_s=row.horizon_s,
        channel=row.channel,
        robot=row.robot,
    )
    return EvaluationRow(row.scorecard, row.position, row.subject, row.measured_on, row.split, figure)
