"""The robot's side of HTTP: JSON with the API, bytes with presigned URLs; retries with jitter until told to stop.

Transport failures, 408 and 5xx are retried for as long as it takes: a robot has nothing better to do than to get its
logs home. A token that has expired is renewed once per call. Other refusals become `Refused` at once, a used-up quota
(429) among them. Proxy variables of the shell are ignored.
"""

import threading
from collections.abc import Callable, Iterator

import httpx
from pydantic import ValidationError

from fleet_ingest.robot.backoff import Backoff
from fleet_ingest.robot.credentials import Credentials
from fleet_ingest.robot.protocol import Problem
from fleet_ingest.robot.throttle import Throttle
from storage.contracts.base import Contract
from storage.contracts.canonical import canonical_json
from storage.contracts.errors import Sim2RealError, UnavailableError

_PIECE = 1 << 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
_RETRIED = frozenset({408, 425, 500, 502, 503, 504})


class Refused(Sim2RealError):
    """The server answered and said no. `status` is the HTTP status, `code` the API's stable reason."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.message, remedy=problem.remedy)
        self.status = status
        self.code = problem.code


class Stopped(Exception):
    """The process was asked to stop while it waited for a server."""


class Client:
    """`pause(seconds)` waits and returns True when the process shall stop; `note(text)` reports each outage once.

    `throttle` caps what is sent to presigned URLs.
    """

    def __init__(
        self,
        api: str,
        credentials: Credentials,
        *,
        pause: Callable[[float], bool],
        note: Callable[[str], None],
        proxy: str | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._api = api.rstrip("/")
        self._throttle = throttle
        self._credentials = credentials
        self._http = httpx.Client(trust_env=False, proxy=proxy, timeout=httpx.Timeout(30.0, connect=5.0))
        self._pause = pause
        self._gave_up = threading.Event()
        self._note = note
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)

    def close(self) -> None:
        self._http.close()

    def give_up(self) -> None:
        """Whatever other threads are sending ends with Stopped."""
        self._gave_up.set()

    @property
    def throttled(self) -> bool:
        return self._throttle is not None

    def call(self, method: str, path: str, body: Contract | None = None) -> bytes:
        """The JSON answer, empty for 204. Raises Refused or Stopped."""
        return self._call(method, path, None if body is None else body.to_json())

    def send_json(self, method: str, path: str, body: object = None) -> bytes:
        """`call` with any JSON value as the body."""
        return self._call(method, path, None if body is None else canonical_json(body))

    def get_bytes(self, url: str, limit: int) -> bytes:
        """The object behind a presigned URL, at most `limit` bytes. Raises Refused, Stopped, UnavailableError."""

        def fetch() -> httpx.Response:
            with self._http.stream("GET", url) as response:
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > limit:
                        raise UnavailableError(f"the object at {_short(url)} is longer than {limit} bytes")
                return httpx.Response(response.status_code, content=bytes(data))

        return self._persist(fetch, f"GET {_short(url)}").content

    def put_bytes(self, url: str, data: bytes, headers: dict[str, str]) -> str:
        """Sends one part; returns its ETag. Raises Refused (also when the URL expired) or Stopped."""
        response = self._persist(
            lambda: self._http.put(url, content=self._pieces(data), headers=headers, timeout=120.0),
            f"PUT {_short(url)}",
        )
        return str(response.headers.get("etag", ""))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """`data` as the throttle lets it through. Raises Stopped in the midst of it."""
        whole = memoryview(data)
        pieces = (
            (bytes(whole[i : i + _PIECE]) for i in range(0, len(data), _PIECE))
            if self._throttle is None
            else self._throttle.chunks(data)
        )
        for piece in pieces:
            if self._gave_up.is_set():
                raise Stopped
            yield piece

    def _open(self, path: str, body: Contract | None) -> bytes:
        """A POST without a token: how a token is got."""
        return self._ask("POST", path, None if body is None else body.to_json(), "")

    def _call(self, method: str, path: str, content: bytes | None) -> bytes:
        try:
            return self._ask(method, path, content, self._credentials.token(self._open))
        except Refused as error:
            if error.status != 401 or not self._credentials.reject():
                raise
        return self._ask(method, path, content, self._credentials.token(self._open))

    def _ask(self, method: str, path: str, content: bytes | None, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if content is not None:
            headers["Content-Type"] = "application/json"
        response = self._persist(
            lambda: self._http.request(method, self._api + path, content=content, headers=headers, timeout=120.0),
            f"{method} {path}",
        )
        return response.content

    def _persist(self, send: Callable[[], httpx.Response], what: str) -> httpx.Response:
        told = False
        while True:
            try:
                response = send()
                if response.status_code not in _RETRIED:
                    self._backoff.reset()
                if response.status_code < 300:
                    return response
                if response.status_code not in _RETRIED:
                    raise Refused(response.status_code, _problem(response))
                reason = f"status {response.status_code}"
            except (httpx.TransportError, httpx.DecodingError) as error:
                reason = f"{type(error).__name__}: {error}"
            if not told:
                self._note(f"{what}: {reason}; trying again until it answers")
                told = True
            if self._gave_up.is_set() or self._pause(self._backoff.next()):
                raise Stopped


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(code=f"http_{response.status_code}", message=response.text[:300] or response.reason_phrase)


def _short(url: str) -> str:
    return url.split("?", 1)[0]
