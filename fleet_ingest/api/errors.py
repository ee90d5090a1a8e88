"""Every error answer is a Problem: {code, message, remedy}. Stack traces stay in the server's log."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from fleet_ingest.robot.protocol import Problem
from storage.contracts.errors import (
    ConflictError,
    DataError,
    IncompatibleError,
    InputError,
    Sim2RealError,
    UnavailableError,
    UnknownName,
)

_LOG = logging.getLogger("sim2real.api")
_STATUS: tuple[tuple[type[Sim2RealError], int, str], ...] = (
    (UnknownName, 404, "unknown"),
    (InputError, 422, "invalid"),
    (DataError, 422, "data"),
    (UnavailableError, 503, "unavailable"),
    (ConflictError, 409, "conflict"),
    (IncompatibleError, 500, "incompatible"),
)


class Forbidden(Sim2RealError):
    """No token (401), or one that does not open what was asked for (403)."""

    def __init__(self, status: int, message: str, remedy: str, *, code: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.code = code or ("unauthorised" if status == 401 else "forbidden")


class TooMuch(Sim2RealError):
    """A quota or a rate is used up: 429, to be tried again in `retry_s` seconds."""

    def __init__(self, code: str, message: str, remedy: str, *, retry_s: float) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.retry_s = retry_s


class Again(Sim2RealError):
    """The sender has to send (something) again: 409 with a code of its own."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


def install_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Sim2RealError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_the_body)
    app.add_exception_handler(HTTPException, _of_the_framework)
    app.add_exception_handler(Exception, _of_nobody)


def answer(status: int, problem: Problem) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(problem.to_json(), status_code=status, media_type="application/json", headers=headers)


def _of_ours(request: Request, error: Exception) -> Response:
    remedy = error.remedy if isinstance(error, Sim2RealError) else ""
    if isinstance(error, Forbidden):
        return answer(error.status, Problem(code=error.code, message=str(error), remedy=remedy))
    if isinstance(error, TooMuch):
        made = answer(429, Problem(code=error.code, message=str(error), remedy=remedy))
        made.headers["Retry-After"] = str(max(1, round(error.retry_s)))
        return made
    if isinstance(error, Again):
        return answer(409, Problem(code=error.code, message=str(error), remedy=remedy))
    status, code = next(((s, c) for kind, s, c in _STATUS if isinstance(error, kind)), (500, "error"))
    if isinstance(error, DataError):
        code = error.code
    return answer(status, Problem(code=code, message=str(error), remedy=remedy))


def _of_the_body(request: Request, error: Exception) -> Response:
    found = error.errors()[:10] if isinstance(error, RequestValidationError) else []
    lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in found]
    return answer(
        422, Problem(code="invalid", message="; ".join(lines), remedy="See /openapi.json for what is expected.")
    )


def _of_the_framework(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    made = answer(status, Problem(code=f"http_{status}", message=f"{request.method} {request.url.path}: {detail}"))
    if isinstance(error, HTTPException) and error.headers:
        made.headers.update(error.headers)
    if status == 405:
        made.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return made


def _methods(request: Request) -> set[str]:
    """What may be asked of this path; the framework's own answer names one endpoint's methods only."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match != Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return found


def _of_nobody(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, Problem(code="error", message="the server failed at this request; its log says why"))
