"""Refuses request bodies over a limit while they arrive, whatever their declared length. File bytes never pass here."""

from contextlib import suppress

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
