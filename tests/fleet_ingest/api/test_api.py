"""The ingest API against a real S3 server and a real catalog: protocol, tokens, hostile requests, idempotency."""

import base64
import hashlib
import json
import time
from typing import Any

import httpx
import numpy as np

from fleet_ingest.robot.plan import Assignment
from fleet_ingest.robot.protocol import PART_BYTES, Problem
from tests.fleet_ingest.harness import plan, store_policy
from tests.fleet_ingest.service import A, B, Service, log_of, problem


def test_a_log_becomes_an_episode_with_a_verified_receipt(service: Service) -> None:
    data = log_of(A)
    receipt = service.upload(data)
    assert (receipt["state"], receipt["verified"], receipt["robot"]) == ("accepted", True, A)
    (row,) = service.catalog.episodes.find(robots=[A])
    assert receipt["episodes"] == [row.sha256]
    assert row.raw_sha256 == hashlib.sha256(data).hexdigest()
    assert row.steps == 10
    assert service.store.get_bytes(row.raw_sha256) == data


def test_repeating_every_request_changes_nothing(service: Service) -> None:
    data = log_of(A)
    first, second = service.begin(data), service.begin(data)
    assert first.json() == second.json()
    assert first.json()["state"] == "start"
    body = service.send(first.json()["upload"], data)
    path = f"/uploads/{first.json()['upload']}/complete"
    receipts = [service.post(path, body).json() for _ in range(3)]
    assert receipts[0] == receipts[1] == receipts[2]
    have = service.begin(data).json()
    assert have == receipts[0]
    assert have["state"] == "have"
    assert service.http.get(f"/uploads/{have['upload']}", headers=service.headers(A)).json() == have
    assert len(service.catalog.episodes.find()) == 1


def test_another_robots_equal_file_is_not_held(service: Service) -> None:
    data = log_of(A)
    service.upload(data)
    begun = service.begin(data, B).json()
    assert begun["state"] == "start"
    # B announces A's digest without having the bytes: nothing is given, nothing is promoted.
    problem(service.post(f"/uploads/{begun['upload']}/complete", {}, B), 409, "parts_missing")
    assert service.begin(data, B).json()["state"] == "start"


def test_a_log_that_says_it_is_another_robots_is_quarantined(service: Service) -> None:
    receipt = service.upload(log_of(B), A)
    assert (receipt["state"], receipt["reason_code"], receipt["episodes"]) == ("quarantined", "wrong_robot", [])
    assert service.catalog.episodes.find() == []


def test_a_token_opens_its_own_robot_only(service: Service) -> None:
    begun = service.begin(log_of(A)).json()["upload"]
    key = service.catalog.assignments.assign("k/1", A, plan(1, "random"), None).id
    tries = [
        service.http.get(f"/robots/{A}", headers=service.headers(B)),
        service.http.get(f"/robots/{A}/assignment", headers=service.headers(B)),
        service.register(A, B),
        service.http.get(f"/uploads/{begun}", headers=service.headers(B)),
        service.post(f"/uploads/{begun}/parts", {"parts": [{"number": 1, "size": 1, "sha256": "A" * 43 + "="}]}, B),
        service.post(f"/uploads/{begun}/complete", {}, B),
        service.post(f"/assignments/{key}/complete", {"logs": []}, B),
        service.post(f"/assignments/{key}/refuse", {"code": "x", "message": "y"}, B),
        service.begin(log_of(A), A, robot=B),
        service.begin(log_of(B), B, assignment=key),
    ]
    for response in tries:
        found = problem(response, 403, "forbidden")
        assert "belong" in found.message or "may not" in found.message
        assert found.remedy
    assert service.http.get(f"/robots/{A}", headers=service.headers(None)).status_code == 200
    problem(service.http.get(f"/robots/{A}"), 401, "unauthorised")
    problem(service.http.get(f"/robots/{A}", headers={"Authorization": "Bearer "}), 401, "unauthorised")
    odd = {b"Authorization": b"Bearer \xff"}
    problem(service.http.get(f"/robots/{A}", headers=odd), 401, "unauthorised")


HOSTILE: list[dict[str, Any]] = [
    {"size": 0},
    {"size": 2**40},
    {"size": -1},
    {"sha256": "A" * 64},
    {"sha256": "../../etc/passwd"},
    {"format": "mcap/../x"},
    {"idempotency_key": "short"},
    {"idempotency_key": "line\nbreak-in-a-key"},
    {"assignment": "1; drop table"},
    {"surprise": 1},
]


def test_hostile_announcements_are_refused(service: Service) -> None:
    for change in HOSTILE:
        problem(service.begin(b"12345678", A, **change), 422, "invalid")
    assert service.catalog.uploads.list() == []


def test_hostile_serials_are_refused(service: Service) -> None:
    for serial in ["..", "a b", "a%2Fb", "x" * 200, "-a", "a\u00e9"]:
        response = service.register(serial, None)
        assert response.status_code in (404, 405, 422)
        assert Problem.from_json(response.content).message
    assert len(service.catalog.robots.list()) == 2


def test_long_bodies_are_refused_before_they_are_read(service: Service) -> None:
    response = service.http.post("/uploads", content=b"x" * (5 * 2**20), headers=service.headers(A))
    problem(response, 413, "too_large")
    chunks = (b"x" * 2**20 for _ in range(5))
    problem(service.http.post("/uploads", content=chunks, headers=service.headers(A)), 413, "too_large")


def test_a_key_of_another_file_conflicts(service: Service) -> None:
    key = f"{A}/my-key"
    assert service.begin(b"first file", A, idempotency_key=key).status_code == 200
    problem(service.begin(b"other file", A, idempotency_key=key), 409, "conflict")


def test_parts_that_do_not_fit_the_file_are_refused(service: Service) -> None:
    upload = service.begin(b"x" * 100).json()["upload"]
    digest = base64.b64encode(hashlib.sha256(b"x" * 100).digest()).decode()
    for part in ({"number": 2, "size": 100, "sha256": digest}, {"number": 1, "size": 99, "sha256": digest}):
        problem(service.post(f"/uploads/{upload}/parts", {"parts": [part]}), 409, "conflict")
    other = base64.b64encode(hashlib.sha256(b"y" * 100).digest()).decode()
    part = {"number": 1, "size": 100, "sha256": other}
    assert (
        "another digest"
        in problem(service.post(f"/uploads/{upload}/parts", {"parts": [part]}), 409, "conflict").message
    )


def test_s3_refuses_other_bytes_than_announced_for_a_slot(service: Service) -> None:
    data = b"x" * 100
    upload = service.begin(data).json()["upload"]
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    wanted = {"parts": [{"number": 1, "size": 100, "sha256": digest}]}
    slot = service.post(f"/uploads/{upload}/parts", wanted).json()["parts"][0]
    put = httpx.put(slot["url"], content=b"y" * 100, headers=slot["headers"], trust_env=False)
    assert put.status_code == 400
    problem(service.post(f"/uploads/{upload}/complete", {}), 409, "parts_missing")


def test_multipart_bytes_of_another_digest_are_dropped_and_can_be_sent_again(service: Service) -> None:
    data = np.random.default_rng(0).bytes(PART_BYTES + 1000)
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    upload = service.begin(data).json()["upload"]
    body = service.send(upload, wrong)
    problem(service.post(f"/uploads/{upload}/complete", body), 409, "digest_mismatch")
    assert service.begin(data).json()["state"] == "start"
    assert not service.store.exists_key(service.store.staging_key(A, upload))
    # The right bytes are no log, but they are kept and verified.
    done = service.post(f"/uploads/{upload}/complete", service.send(upload, data)).json()
    assert (done["receipt"]["state"], done["receipt"]["verified"]) == ("quarantined", True)
    assert service.store.exists(hashlib.sha256(data).hexdigest())


def test_multipart_goes_on_where_it_stopped(service: Service) -> None:
    data = np.random.default_rng(1).bytes(2 * PART_BYTES + 10)
    upload = service.begin(data).json()["upload"]
    wanted = service.wanted(data)
    (slot,) = service.post(f"/uploads/{upload}/parts", {"parts": wanted[1:2]}).json()["parts"]
    middle = data[PART_BYTES : 2 * PART_BYTES]
    assert httpx.put(slot["url"], content=middle, headers=slot["headers"], trust_env=False).status_code == 200
    begun = service.begin(data).json()
    assert (begun["state"], begun["received"]) == ("resume", [2])
    found = problem(service.post(f"/uploads/{upload}/complete", {}), 409, "parts_missing")
    assert "lacks 2 of its 3 parts, the first is 1" in found.message
    assert service.http.get(f"/uploads/{upload}", headers=service.headers(A)).json()["problem"]["code"] == found.code
    slots = service.post(f"/uploads/{upload}/parts", {"parts": wanted}).json()["parts"]
    assert [s["held"] for s in slots] == [False, True, False]
    service.send(upload, data)
    assert service.post(f"/uploads/{upload}/complete", {}).json()["receipt"]["verified"]


def test_a_part_that_was_announced_otherwise_starts_the_upload_over(service: Service) -> None:
    data = np.random.default_rng(2).bytes(PART_BYTES + 10)
    upload = service.begin(data).json()["upload"]
    service.send(upload, data)
    other = service.wanted(data[:-1] + b"x")
    problem(service.post(f"/uploads/{upload}/parts", {"parts": other}), 409, "parts_differ")
    assert service.begin(data).json()["state"] == "start"
    service.send(upload, data)
    assert service.post(f"/uploads/{upload}/complete", {}).json()["receipt"]["verified"]


def test_truncated_logs_are_quarantined_with_a_reason(service: Service) -> None:
    for cut in (10, 300, -5):
        receipt = service.upload(log_of(A)[:cut])
        assert (receipt["state"], receipt["verified"]) == ("quarantined", True)
        assert receipt["reason_code"]
        assert receipt["detail"]
        again = service.begin(log_of(A)[:cut]).json()
        assert (again["state"], again["receipt"]) == ("have", receipt)


def test_files_that_are_no_logs_and_mappings_that_are_none(service: Service) -> None:
    assert service.upload(b"time,x\n0,1\n1,2\n", format="csv")["state"] == "quarantined"
    secret = service.store.put_bytes(b"somebody's private bytes")
    receipt = service.upload(b"time,x\n0,1\n1,3\n", format="csv", mapping_sha256=secret)
    assert (receipt["state"], receipt["reason_code"]) == ("quarantined", "mapping")
    assert "private" not in json.dumps(receipt)


def test_assignments_are_served_in_order_and_complete_only_with_all_logs(service: Service) -> None:
    assert service.http.get(f"/robots/{A}/assignment", headers=service.headers(A)).status_code == 204
    policy = store_policy(service.catalog, service.store, [1, 2, 3, 4])
    first = service.catalog.assignments.assign("c/0/a", A, plan(1, "evaluation"), policy).id
    service.catalog.assignments.assign("c/0/b", A, plan(1, "random"), None)
    served = service.http.get(f"/robots/{A}/assignment", headers=service.headers(A))
    assignment = Assignment.from_json(served.content)
    assert (assignment.id, assignment.key, assignment.policy) == (first, "c/0/a", policy)
    assert assignment.manifest is not None
    onnx = httpx.get(str(assignment.onnx_url), trust_env=False).content
    assert hashlib.sha256(onnx).hexdigest() == assignment.manifest.onnx_sha256
    path = f"/assignments/{first}/complete"
    problem(service.post(path, {"logs": []}), 409, "logs_missing")
    problem(service.post(path, {"logs": ["0" * 64]}), 409, "logs_missing")
    data = log_of(A)
    service.upload(data, assignment=first)
    for _ in range(2):
        assert service.post(path, {"logs": [hashlib.sha256(data).hexdigest()]}).status_code == 204
    following = Assignment.from_json(service.http.get(f"/robots/{A}/assignment", headers=service.headers(A)).content)
    assert following.key == "c/0/b"
    assert [e.raw_sha256 for e in service.catalog.episodes.find(assignment=first)] == [hashlib.sha256(data).hexdigest()]


def test_a_refusal_is_recorded(service: Service) -> None:
    key = service.catalog.assignments.assign("k/1", A, plan(1, "random"), None).id
    assert service.post(f"/assignments/{key}/refuse", {"code": "digest", "message": "bad"}).status_code == 204
    (event,) = service.catalog.events.list(kind="assignment_refused")
    assert event.data["code"] == "digest"


def test_unknown_things_are_404_and_the_documentation_is_true(service: Service) -> None:
    problem(service.http.get("/uploads/999", headers=service.headers(A)), 404, "unknown")
    problem(service.post("/assignments/999/complete", {"logs": []}), 404, "unknown")
    problem(service.http.get("/nothing", headers=service.headers(A)), 404, "http_404")
    problem(service.http.get("/robots/nobody", headers=service.headers(None)), 404, "unknown")
    paths = service.http.get("/openapi.json").json()["paths"]
    assert {
        "/health", "/robots/{serial}", "/robots/{serial}/assignment", "/robots/{serial}/challenge",
        "/robots/{serial}/token", "/assignments/{identifier}/complete", "/assignments/{identifier}/refuse",
        "/uploads", "/uploads/{identifier}", "/uploads/{identifier}/parts", "/uploads/{identifier}/complete",
        "/uploads/{identifier}/release", "/episodes", "/audit", "/sign-in",
    } <= set(paths)  # fmt: skip
    assert {"401", "403", "409", "422"} <= set(paths["/uploads"]["post"]["responses"])


def test_a_server_killed_while_it_validates_needs_no_byte_again(service: Service, monkeypatch: Any) -> None:
    """The bytes are an object before validation ends, and leave the staging area only when the row says so."""
    data = log_of(A)
    begun = service.begin(data).json()
    service.send(begun["upload"], data)

    def killed(*words: Any, kept: Any, **more: Any) -> None:
        kept()
        raise MemoryError("as good as a kill")

    path = f"/uploads/{begun['upload']}/complete"
    with monkeypatch.context() as patch:
        patch.setattr("fleet_ingest.api.ingest.ingest_object", killed)
        assert service.post(path, {}).status_code == 500
    assert service.catalog.uploads.get(int(begun["upload"])).state == "verifying"
    receipt = service.post(path, {}).json()["receipt"]
    assert (receipt["state"], len(receipt["episodes"])) == ("accepted", 1)
    assert service.store.staged_objects() == []


def test_no_row_vouches_for_bytes_that_are_not_an_object_yet(service: Service, monkeypatch: Any) -> None:
    service.upload(log_of(A, seed=1))  # the validator's child has started
    data, order = log_of(A), list[str]()
    adopt, finish = type(service.store).adopt, type(service.catalog.uploads).finish

    def slow_adopt(*words: Any) -> None:
        time.sleep(1.5)
        adopt(*words)
        order.append("object")

    def noted_finish(*words: Any, **more: Any) -> Any:
        order.append("row")
        return finish(*words, **more)

    monkeypatch.setattr(type(service.store), "adopt", slow_adopt)
    monkeypatch.setattr(type(service.catalog.uploads), "finish", noted_finish)
    assert service.upload(data)["state"] == "accepted"
    assert order == ["object", "row"]
