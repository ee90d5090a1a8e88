"""The operators' pages: static files of this package, under headers that let them load nothing from elsewhere."""

from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from storage.objects import ObjectStore


class _Pages(StaticFiles):
    def __init__(self, folder: Path, policy: str) -> None:
        super().__init__(directory=folder, html=True)
        self._policy = policy

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI, store: ObjectStore) -> None:
    """Serves /web/ and sends / there."""
    with as_file(files("fleet_ingest") / "web") as folder:
        app.mount("/web", _Pages(Path(folder), _policy(store)), name="web")

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse("/web/")


def _policy(store: ObjectStore) -> str:
    """Scripts and styles from here; requests to here and to the object store, where the bytes go."""
    url = urlsplit(store.presign_get("0" * 64))
    bytes_go = f"{url.scheme}://{url.netloc}"
    return (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        f"img-src 'self' blob: data: {bytes_go}; connect-src 'self' {bytes_go}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
