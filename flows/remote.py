"""A connection of an operator's command to the API: the embedded one, or one elsewhere by address, name and secret."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from fleet_ingest.api.tokens import installation_token
from fleet_ingest.robot.client import Client, Refused
from fleet_ingest.robot.credentials import FixedToken
from fleet_ingest.robot.outgoing import SentFiles
from fleet_ingest.robot.protocol import TokenGiven
from fleet_ingest.robot.throttle import Throttle
from flows.engine import open_engine
from flows.services import INGEST, api_secret
from flows.settings import Settings
from storage.contracts.errors import InputError, UnavailableError
from storage.embedded.home import Home

API, NAME, SECRET = "SIM2REAL_API_URL", "SIM2REAL_OPERATOR", "SIM2REAL_OPERATOR_SECRET"
_PATIENCE_S = 120.0


class Remote:
    """The API as commands use it. `sent` notes what this machine has sent."""

    def __init__(self, url: str, client: Client, sent: SentFiles) -> None:
        self.url, self.client, self.sent = url, client, sent

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer. Raises Refused."""
        asked = urlencode({key: value for key, value in query.items() if value is not None})
        return json.loads(self.client.call("GET", f"{path}?{asked}" if asked else path))

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.client.send_json(method, path, body)
        return json.loads(answer) if answer else None

    def pages(self, path: str, limit: int, **query: Any) -> list[Any]:
        """Up to `limit` rows of a paged list."""
        rows: list[Any] = []
        before = None
        while len(rows) < limit:
            page = self.get(path, before=before, limit=min(200, limit - len(rows)), **query)
            rows += page["rows"]
            before = page["next"]
            if before is None:
                break
        return rows


@contextmanager
def open_remote(
    api: str | None = None, *, note: Callable[[str], None] = lambda text: None, throttle: Throttle | None = None
) -> Iterator[Remote]:
    """The API at `api` (or SIM2REAL_API_URL), else the embedded one, whose servers are started if need be.

    Raises InputError without a name and a secret for an API elsewhere, UnavailableError when it cannot be reached.
    """
    url = api or os.environ.get(API)
    home = Home(Settings().home)
    sent = SentFiles(home.path / "uploads")
    if url:
        client = Client(url, FixedToken(_signed_in(url)), pause=_patience(), note=note, throttle=throttle)
        try:
            yield Remote(url, client, sent)
        finally:
            client.close()
        return
    with open_engine(Settings(), INGEST) as engine:
        token = FixedToken(installation_token(api_secret(engine.home)))
        client = Client(engine.api_url, token, pause=_patience(), note=note, throttle=throttle)
        try:
            yield Remote(engine.api_url, client, sent)
        finally:
            client.close()


def _signed_in(url: str) -> str:
    name, secret = os.environ.get(NAME), os.environ.get(SECRET)
    if not name or not secret:
        raise InputError(
            f"the API at {url} wants to know who you are: {NAME} and {SECRET} are not both set",
            remedy="Ask an admin for an account: sim2real access add NAME --role operator.",
        )
    client = Client(url, FixedToken(""), pause=_patience(), note=lambda text: None)
    try:
        return TokenGiven.from_json(client.send_json("POST", "/sign-in", {"name": name, "secret": secret})).token
    except Refused as error:
        raise InputError(f"{url} does not let '{name}' in: {error}", remedy=error.remedy) from error
    finally:
        client.close()


def _patience() -> Callable[[float], bool]:
    """A pause that gives up when one outage lasts too long."""
    began, last = 0.0, 0.0

    def pause(seconds: float) -> bool:
        nonlocal began, last
        now = time.monotonic()
        if now - last > 30.0:
            began = now
        if now - began > _PATIENCE_S:
            raise UnavailableError(
                f"the server has not answered for {_PATIENCE_S:g} s",
                remedy="Check its address and that it runs; 'sim2real uploads resume' goes on where this stopped.",
            )
        time.sleep(seconds)
        last = time.monotonic()
        return False

    return pause
