"""What is refused before any endpoint sees it: request bodies over a limit, whatever their declared length, and calls
under a host name that is not ours (a page elsewhere that points its own name at this address). File bytes never pass
here.
"""

from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet_ingest.api.errors import answer
from fleet_ingest.robot.protocol import Problem

MAX_BODY_BYTES = 4 * 2**20


class _TooLong(Exception):
    pass


class BodyLimit:
    """ASGI middleware; answers 413."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._limit:
            await self._refuse(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise _TooLong
            return message

        async def unless_refused(message: Message) -> None:
            # The framework turns a failing read into an answer of its own: that one is dropped.
            if taken <= self._limit:
                await send(message)

        with suppress(_TooLong):
            await self._app(scope, counted, unless_refused)
        if taken > self._limit:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the request's body is longer than {self._limit} bytes"
        problem = Problem(code="too_large", message=message, remedy="Files go to the presigned URLs, not here.")
        await answer(413, problem)(scope, receive, send)


class HostCheck:
    """ASGI middleware; answers 400 to requests whose Host is neither in `hosts` nor that of one of `origins`."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset(hosts) | {urlsplit(origin).netloc.rsplit(":", 1)[0] for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            name = host if host.endswith("]") else host.rsplit(":", 1)[0]
            if name not in self._hosts:
                problem = Problem(
                    code="host",
                    message=f"this API is not called '{name[:80]}'",
                    remedy="Add the name to `hosts` in its settings, or call it by one of them.",
                )
                await answer(400, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)
