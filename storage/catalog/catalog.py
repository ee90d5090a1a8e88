"""The catalog: the truth of the engine, in SQLite or PostgreSQL.

Open one per process and close it at the end; it is safe to use from several threads, and from several processes at
once. Bytes are stored in the object store before the catalog names them. Ray workers and robots never open it.
"""

from types import TracebackType

from storage.catalog.approvals import Approvals
from storage.catalog.artefacts import Artefacts
from storage.catalog.assignments import Assignments
from storage.catalog.audit import Audit
from storage.catalog.campaigns import Campaigns, Iterations
from storage.catalog.database import Database
from storage.catalog.episode_pages import EpisodePages
from storage.catalog.episodes import Episodes
from storage.catalog.evaluations import Evaluations, Scenarios
from storage.catalog.events import Events
from storage.catalog.keys import Keys
from storage.catalog.migrate import migrate
from storage.catalog.notes import Notes
from storage.catalog.operators import Operators
from storage.catalog.quotas import Quotas
from storage.catalog.releases import Releases
from storage.catalog.robots import Robots
from storage.catalog.steps import Steps
from storage.catalog.uploads import Uploads


class Catalog:
    """The repositories of one database; see the class of each. Every method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.robots = Robots(database)
        self.uploads = Uploads(database)
        self.episodes = Episodes(database)
        self.artefacts = Artefacts(database)
        self.campaigns = Campaigns(database)
        self.iterations = Iterations(database)
        self.steps = Steps(database)
        self.assignments = Assignments(database)
        self.approvals = Approvals(database)
        self.releases = Releases(database)
        self.evaluations = Evaluations(database)
        self.scenarios = Scenarios(database)
        self.events = Events(database)
        self.episode_pages = EpisodePages(database)
        self.notes = Notes(database)
        self.keys = Keys(database)
        self.operators = Operators(database)
        self.quotas = Quotas(database)
        self.audit = Audit(database)

    @classmethod
    def open(cls, url: str) -> "Catalog":
        """Opens `sqlite:///path` or `postgresql+psycopg://user@host/name`, and makes or updates its tables.

        Raises InputError for a URL that cannot be one, UnavailableError if the database cannot be reached,
        IncompatibleError if a newer version of the engine made it.
        """
        database = Database(url)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
