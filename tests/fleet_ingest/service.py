"""The API in this process on a fresh catalog and a real S3 server, with two admitted robots, for tests."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from fleet_ingest.api.app import create_app
from fleet_ingest.api.settings import ApiSettings
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment, PlannedEpisode
from fleet_ingest.robot.protocol import PART_BYTES, Problem
from storage.catalog.catalog import Catalog
from storage.objects import ObjectStore
from tests.fleet_ingest.harness import FLEET, SECRET, S3Server, headers, plan

A, B = "cartpole-0001", "cartpole-0002"


class Service:
    """An API on a fresh catalog, with robots A and B registered."""

    def __init__(self, directory: Path, server: S3Server) -> None:
        (directory / "secret").write_bytes(SECRET)
        url = f"sqlite:///{directory / 'catalog.db'}"
        self.settings = ApiSettings(
            catalog_url=url, s3=server.config, secret_file=directory / "secret", hosts=("testserver",)
        )
        self.app = create_app(self.settings)
        self.http = TestClient(self.app, raise_server_exceptions=False)
        self.catalog, self.store = Catalog.open(url), ObjectStore(server.config)
        self.keys: dict[str, int] = {}
        for serial in (A, B):
            public = RobotKey.load(directory / f"{serial}.key", serial).public_key
            self.keys[serial] = self.catalog.keys.admit(serial, public, "test").id
            assert self.register(serial, serial).status_code == 200

    def headers(self, serial: str | None) -> dict[str, str]:
        return headers(serial, self.keys.get(serial or "", 0))

    def register(self, serial: str, holder: str | None) -> httpx.Response:
        return self.http.put(f"/robots/{serial}", json=FLEET.spec.model_dump(mode="json"), headers=self.headers(holder))

    def post(self, path: str, body: Any, serial: str | None = A) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.headers(serial))

    def begin(self, data: bytes, serial: str = A, **changes: Any) -> httpx.Response:
        sha256 = hashlib.sha256(data).hexdigest()
        body = {"robot": serial, "sha256": sha256, "size": len(data), "format": "mcap"}
        return self.post("/uploads", body | {"idempotency_key": f"{serial}/{sha256}"} | changes, serial)

    def wanted(self, data: bytes) -> list[dict[str, Any]]:
        chunks = [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
        digests = [base64.b64encode(hashlib.sha256(c).digest()).decode() for c in chunks]
        return [
            {"number": i + 1, "size": len(c), "sha256": d} for i, (c, d) in enumerate(zip(chunks, digests, strict=True))
        ]

    def send(self, upload: str, data: bytes, serial: str = A) -> dict[str, Any]:
        """Asks for all slots, fills those that are not held, returns the body for `complete`."""
        chunks = [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
        wanted = self.wanted(data)
        slots = self.post(f"/uploads/{upload}/parts", {"parts": wanted}, serial).json()
        for slot, chunk in zip(slots["parts"], chunks, strict=True):
            if not slot["held"]:
                put = httpx.put(slot["url"], content=chunk, headers=slot["headers"], trust_env=False)
                assert put.status_code == 200, put.text
        return {}

    def upload(self, data: bytes, serial: str = A, **changes: Any) -> dict[str, Any]:
        begun = self.begin(data, serial, **changes).json()
        done = self.post(f"/uploads/{begun['upload']}/complete", self.send(begun["upload"], data, serial), serial)
        assert done.status_code == 200, done.text
        return dict(done.json()["receipt"])


def log_of(serial: str, seed: int = 0) -> bytes:
    planned = PlannedEpisode(index=0, seed=seed, duration_s=0.2, purpose="random")
    body = json.dumps({"id": 1, "key": "k", "robot": serial, "plan": plan(1, "random")})
    return write_log(run_episode(FLEET.open(serial), Assignment.from_json(body), planned, None))


def problem(response: httpx.Response, status: int, code: str) -> Problem:
    assert response.status_code == status, response.text
    found = Problem.from_json(response.content)
    assert found.code == code
    return found
