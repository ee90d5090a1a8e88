"""Getting in and being thrown out: robots' keys, nonces, operators, roles, quotas, and what the audit trail says."""

import base64
import hashlib
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fleet_ingest.api.app import create_app
from fleet_ingest.api.tokens import issue
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.protocol import SignedNonce, TokenGiven
from storage.catalog.quotas import Quota
from tests.fleet_ingest.harness import FLEET, SECRET
from tests.fleet_ingest.service import A, B, Service, log_of, problem

NEW = "cartpole-0009"


def nonce(service: Service, serial: str) -> str:
    return str(service.http.post(f"/robots/{serial}/challenge").json()["nonce"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def operator(service: Service, role: str) -> dict[str, str]:
    secret = service.catalog.operators.add(role, role)
    return bearer(service.http.post("/sign-in", json={"name": role, "secret": secret}).json()["token"])


def ask_token(service: Service, serial: str, signed: SignedNonce):  # type: ignore[no-untyped-def]
    return service.http.post(f"/robots/{serial}/token", json=signed.model_dump(mode="json"))


def test_a_new_robot_waits_is_admitted_works_and_is_revoked(service: Service, tmp_path: Path) -> None:
    key = RobotKey.load(tmp_path / "new.key", NEW, note="board 7")
    found = problem(ask_token(service, NEW, key.signed(nonce(service, NEW))), 403, "key_waiting")
    chief = operator(service, "operator")
    (waiting,) = service.http.get("/keys", params={"state": "waiting"}, headers=chief).json()
    assert (waiting["robot"], waiting["note"]) == (NEW, "board 7")
    assert waiting["mark"] in found.message
    assert service.http.post(f"/keys/{waiting['id']}/admit", headers=chief).json()["decided_by"] == "operator:operator"
    given = TokenGiven.from_json(ask_token(service, NEW, key.signed(nonce(service, NEW))).content)
    assert (given.actor, given.expires_s) == (f"robot:{NEW}", 900)
    spec = FLEET.spec.model_dump(mode="json")
    assert service.http.put(f"/robots/{NEW}", json=spec, headers=bearer(given.token)).status_code == 200
    problem(service.http.get(f"/robots/{A}", headers=bearer(given.token)), 403, "forbidden")
    service.http.post(f"/keys/{waiting['id']}/revoke", headers=chief)
    problem(service.http.get(f"/robots/{NEW}", headers=bearer(given.token)), 401, "unauthorised")
    problem(ask_token(service, NEW, key.signed(nonce(service, NEW))), 403, "key_revoked")
    problem(service.http.post(f"/keys/{waiting['id']}/admit", headers=chief), 409, "conflict")
    trail = [(r.actor, r.action, r.outcome) for r in reversed(service.catalog.audit.list(subject=NEW))]
    assert trail == [
        (f"robot:{NEW}", "token", "refused"), ("operator:operator", "admit key", "done"),
        (f"robot:{NEW}", "token", "done"), ("operator:operator", "revoke key", "done"),
        (f"robot:{NEW}", "token", "refused"),
    ]  # fmt: skip


def test_a_nonce_is_good_once_for_one_robot_and_not_for_long(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = RobotKey.load(tmp_path / f"{A}.key", A)
    signed = key.signed(nonce(service, A))
    assert ask_token(service, A, signed).status_code == 200
    assert "used before" in problem(ask_token(service, A, signed), 401, "unauthorised").message
    # Of another robot, made up, signed by another key, for another serial, or too old.
    problem(ask_token(service, A, key.signed(nonce(service, B))), 401, "unauthorised")
    problem(ask_token(service, A, key.signed("s2r1.bm9uc2Vuc2U.bm9uc2Vuc2U")), 401, "unauthorised")
    other = RobotKey.load(tmp_path / "other.key", A).signed(nonce(service, A))
    forged = other.model_copy(update={"public_key": key.public_key})
    assert "signature" in problem(ask_token(service, A, forged), 401, "unauthorised").message
    as_b = RobotKey.load(tmp_path / f"{A}.key", B).signed(nonce(service, B))
    problem(ask_token(service, B, as_b), 403, "key_waiting")
    old, now = key.signed(nonce(service, A)), time.time_ns()
    monkeypatch.setattr("fleet_ingest.api.access.time.time_ns", lambda: now + 121 * 10**9)
    assert "expired" in problem(ask_token(service, A, old), 401, "unauthorised").message


def test_tokens_expire_and_cannot_be_made_up(service: Service) -> None:
    good = issue(SECRET, "robot", A, key=service.keys[A], seconds=60)
    assert service.http.get(f"/robots/{A}", headers=bearer(good)).status_code == 200
    body, signature = good.split(".")[1:]
    changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(body + "==").replace(b"0001", b"0002")).decode()
    for token in (
        issue(SECRET, "robot", A, key=service.keys[A], seconds=-1), issue(b"x" * 32, "robot", A, key=1, seconds=60),
        f"s2r1.{changed.rstrip('=')}.{signature}", f"s2r1.{body}.", "s2r1", "x", f"{good}x",
    ):  # fmt: skip
        problem(service.http.get(f"/robots/{A}", headers=bearer(token)), 401, "unauthorised")
    # A's key opens no session of B's.
    mixed = issue(SECRET, "robot", B, key=service.keys[A], seconds=60)
    problem(service.http.get(f"/robots/{B}", headers=bearer(mixed)), 401, "unauthorised")


def test_roles(service: Service) -> None:
    begun = service.begin(b"12345678").json()["upload"]
    roles = {role: operator(service, role) for role in ("viewer", "operator", "admin")}
    release = {"note": "why not"}
    tries = [
        ("GET", "/episodes", None, "viewer"), ("GET", f"/uploads/{begun}", None, "viewer"),
        ("POST", "/notes", {"robot": A, "text": "x"}, "operator"), ("GET", "/audit", None, "admin"),
        ("POST", "/uploads", {"robot": A} | announced(b"87654321"), "operator"), ("GET", "/operators", None, "admin"),
        ("PUT", f"/robots/{A}/quota", {"bytes_per_day": 1, "files_per_day": 1, "open_uploads": 1}, "admin"),
        ("POST", "/operators", {"name": "new", "role": "viewer"}, "admin"),
        ("POST", f"/uploads/{begun}/release", release, "operator"), ("GET", "/keys", None, "viewer"),
    ]  # fmt: skip
    for method, path, body, least in tries:
        for role, headers in roles.items():
            allowed = list(roles).index(role) >= list(roles).index(least)
            status = service.http.request(method, path, json=body, headers=headers).status_code
            assert (status != 403) == allowed, (method, path, role, status)
        status = service.http.request(method, path, json=body, headers=service.headers(B)).status_code
        assert status == 403, (method, path, "another robot")
    refused = [r for r in service.catalog.audit.list() if r.outcome == "refused"]
    assert {r.actor for r in refused} == {"operator:viewer", "operator:operator", f"robot:{B}"}


def announced(data: bytes) -> dict[str, object]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"sha256": sha256, "size": len(data), "format": "mcap", "idempotency_key": f"key/{sha256}"}


def test_sessions_of_operators_end(service: Service) -> None:
    admin = operator(service, "admin")
    secret = service.http.post("/operators", json={"name": "anna", "role": "operator"}, headers=admin).json()["secret"]
    stored = service.catalog.database.read(lambda c: c.exec_driver_sql("SELECT secret FROM operators").all())
    assert secret not in str(stored)
    session = bearer(service.http.post("/sign-in", json={"name": "anna", "secret": secret}).json()["token"])
    assert service.http.get("/me", headers=session).json() == {"actor": "operator:anna", "role": "operator"}
    service.http.patch("/operators/anna", json={"role": "viewer"}, headers=admin)
    assert service.http.get("/me", headers=session).json()["role"] == "viewer"
    service.http.patch("/operators/anna", json={"state": "disabled"}, headers=admin)
    problem(service.http.get("/me", headers=session), 401, "unauthorised")
    problem(service.http.post("/sign-in", json={"name": "anna", "secret": secret}), 401, "unauthorised")
    problem(service.http.patch("/operators/admin", json={"role": "viewer"}, headers=admin), 409, "conflict")
    assert service.http.post("/sign-out", headers=admin).status_code == 204
    problem(service.http.get("/me", headers=admin), 401, "unauthorised")


def test_secrets_cannot_be_guessed_fast(service: Service) -> None:
    service.catalog.operators.add("anna", "viewer")
    for name in ("anna", "nobody"):
        for _ in range(5):
            problem(service.http.post("/sign-in", json={"name": name, "secret": "x"}), 401, "unauthorised")
        response = service.http.post("/sign-in", json={"name": name, "secret": "x"})
        problem(response, 429, "slow_down")
        assert 1 <= int(response.headers["retry-after"]) <= 30


def test_quotas(service: Service) -> None:
    service.catalog.quotas.set(A, Quota(bytes_per_day=100, files_per_day=3, open_uploads=2))
    assert service.begin(b"1" * 60).status_code == 200
    response = service.begin(b"2" * 60)
    assert "bytes in 24 hours" in problem(response, 429, "quota").message
    assert response.headers["retry-after"]
    assert service.begin(b"1" * 60).json()["state"] == "start", "what was begun is gone on with"
    assert service.begin(b"3" * 10).status_code == 200
    assert "begun and not finished" in problem(service.begin(b"4" * 10), 429, "quota").message
    assert service.begin(log_of(B), B).status_code == 200, "another robot has its own"
    used = service.http.get(f"/robots/{A}/quota", headers=service.headers(A)).json()
    assert (used["bytes_used"], used["files_used"], used["open_used"]) == (70, 2, 2)


def test_the_first_account_is_made_once(service: Service) -> None:
    secret = service.catalog.operators.first()
    assert secret is not None
    assert service.catalog.operators.first() is None
    given = service.http.post("/sign-in", json={"name": "local", "secret": secret}).json()
    assert given["role"] == "admin"


def test_calls_under_another_name_are_refused(service: Service) -> None:
    settings = service.settings.model_copy(update={"hosts": ("127.0.0.1",), "origins": ("https://robots.example",)})
    http = TestClient(create_app(settings))
    for host, status in (("127.0.0.1:80", 200), ("robots.example", 200), ("evil.example", 400), ("", 400)):
        assert http.get("/health", headers={"host": host}).status_code == status, host


def test_the_key_file_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "robot.key"
    first = RobotKey.load(path, A)
    assert RobotKey.load(path, A).public_key == first.public_key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("no key")
    with pytest.raises(Exception, match="holds no Ed25519 private key"):
        RobotKey.load(path, A)
