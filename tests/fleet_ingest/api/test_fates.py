"""After the upload: the card, release from quarantine, notes and photos, what is collected, what is gone on with."""

import hashlib
import json
import time

import httpx
import numpy as np

from fleet_ingest.robot.protocol import PART_BYTES
from tests.fleet_ingest.service import A, B, Service, log_of, problem

TABLE = b"t,x,u\n" + b"".join(b"%.2f,%.3f,%.3f\n" % (i / 50, np.sin(i / 9), np.cos(i / 7)) for i in range(200))
MAPPING = {
    "name": "table",
    "time": {"column": "t", "unit": "s"},
    "channels": [
        {"column": "x", "name": "x", "kind": "linear", "unit": "m"},
        {"column": "u", "name": "u", "kind": "effort", "unit": "N", "role": "command"},
    ],
}


def test_the_fate_of_a_file_has_its_card(service: Service) -> None:
    receipt = service.upload(log_of(A), name="run 1.mcap", session="monday", priority="incident", notes="new tyres")
    fate = service.http.get(f"/uploads/{receipt['upload']}/fate", headers=service.headers(None)).json()
    line = fate["line"]
    assert (line["name"], line["session"], line["priority"], line["sender"]) == (
        "run 1.mcap", "monday", "incident", f"robot:{A}",
    )  # fmt: skip
    assert fate["card"]["state"] == "accepted"
    assert {t["name"]: t["decoded"] for t in fate["card"]["topics"]}["/state"] == 11
    assert [n["text"] for n in fate["notes"]] == ["new tyres"]
    (found,) = service.http.get("/uploads", params={"name": "run 1"}, headers=service.headers(A)).json()["rows"]
    assert found == line
    problem(service.http.get("/uploads", params={"robot": A}, headers=service.headers(B)), 403, "forbidden")
    assert service.http.get("/uploads", headers=service.headers(B)).json()["rows"] == []


def test_history_is_paged(service: Service) -> None:
    for i in range(5):
        service.begin(b"x" * (i + 1))
    rows, before = [], None
    while True:
        query = {"limit": 2} | ({"before": before} if before else {})
        page = service.http.get("/uploads", params=query, headers=service.headers(None)).json()
        rows += [row["size"] for row in page["rows"]]
        before = page["next"]
        if before is None:
            break
    assert rows == [5, 4, 3, 2, 1]


def test_a_quarantined_table_is_released_with_a_mapping(service: Service) -> None:
    receipt = service.upload(TABLE, format="csv")
    assert (receipt["state"], receipt["reason_code"]) == ("quarantined", "mapping")
    path = f"/uploads/{receipt['upload']}"
    assert service.http.get(f"{path}/fate", headers=service.headers(None)).json()["releasable"]
    problem(service.post(f"{path}/release", {"note": "mine"}, A), 403, "forbidden")
    kept = service.post(f"/robots/{A}/mappings", MAPPING, None).json()["sha256"]
    state = service.post(f"{path}/release", {"note": "its mapping", "mapping_sha256": kept}, None).json()
    assert (state["receipt"]["state"], len(state["receipt"]["episodes"])) == ("accepted", 1)
    problem(service.post(f"{path}/release", {"note": "again"}, None), 409, "conflict")
    (mapping,) = service.http.get(f"/robots/{A}/mappings", headers=service.headers(None)).json()
    assert mapping == {"sha256": kept, "name": "table"}
    assert [r.detail for r in service.catalog.audit.list(action="release")] == ["mapping: its mapping"]


def test_what_is_hostile_is_never_released(service: Service) -> None:
    receipt = service.upload(log_of(B), A)
    assert receipt["reason_code"] == "wrong_robot"
    found = problem(service.post(f"/uploads/{receipt['upload']}/release", {"note": "please"}, None), 409, "conflict")
    assert "names another robot" in found.message


def test_photos_are_verified_and_belong_to_their_note(service: Service) -> None:
    note = service.post("/notes", {"robot": A, "text": "loose cable", "session": "monday"}).json()["id"]
    data = b"\x89PNG\r\n\x1a\n" + b"pixels" * 10
    photo = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "name": "a.png", "media_type": "image/png"}
    problem(service.post(f"/notes/{note}/slots", photo, B), 403, "forbidden")
    slot = service.post(f"/notes/{note}/slots", photo).json()
    problem(service.post(f"/notes/{note}/photos/{photo['sha256']}/complete", photo), 409, "photo_missing")
    assert httpx.put(slot["url"], content=data, headers=slot["headers"], trust_env=False).status_code == 200
    kept = service.post(f"/notes/{note}/photos/{photo['sha256']}/complete", photo).json()
    assert [p["name"] for p in kept["photos"]] == ["a.png"]
    url = service.http.get(f"/notes/{note}/photos/{photo['sha256']}", headers=service.headers(A)).json()["url"]
    assert httpx.get(url, trust_env=False).content == data
    text = b"#!/bin/sh\necho no picture at all\n"
    script = photo | {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)}
    slot = service.post(f"/notes/{note}/slots", script).json()
    httpx.put(slot["url"], content=text, headers=slot["headers"], trust_env=False)
    problem(service.post(f"/notes/{note}/photos/{script['sha256']}/complete", script), 422, "no_photo")
    receipt = service.upload(log_of(A), notes="loose cable", session="monday")
    known = service.catalog.notes.of_episodes(receipt["episodes"])
    assert [(n.id, n.photos[0].sha256) for n in known[receipt["episodes"][0]]] == [(note, photo["sha256"])]


def test_a_check_that_was_interrupted_is_gone_on_with(service: Service) -> None:
    data = log_of(A)
    upload = int(service.begin(data).json()["upload"])
    service.store.put_bytes(data)
    service.catalog.uploads.verifying(upload)  # as a process leaves it that is killed before validation
    janitor = service.app.state.janitor
    assert janitor.sweep()["resumed"] == 0, "too young: it may be under way elsewhere"
    service.catalog.database.write(lambda c: c.exec_driver_sql("UPDATE uploads SET updated_ns = 1"))
    assert janitor.sweep()["resumed"] == 1
    end = time.monotonic() + 30
    while service.catalog.uploads.get(upload).state == "verifying":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert service.catalog.uploads.get(upload).state == "accepted"


def test_abandoned_uploads_are_collected_and_can_begin_again(service: Service) -> None:
    data = np.random.default_rng(5).bytes(PART_BYTES + 10)
    upload = int(service.begin(data).json()["upload"])
    service.send(str(upload), data)
    orphan = service.store.begin_multipart(service.store.staging_key(A, 999))
    janitor = service.app.state.janitor
    assert janitor.sweep() == {"resumed": 0, "abandoned": 0, "orphans": 0}, "nothing is old yet"
    service.catalog.database.write(lambda c: c.exec_driver_sql("UPDATE uploads SET updated_ns = 1"))
    janitor._grace_s = -5.0  # what is in the staging area counts as old
    swept = janitor.sweep()
    assert (swept["abandoned"], swept["orphans"]) == (1, 1)
    assert service.store.open_multiparts() == []
    assert orphan
    state = service.http.get(f"/uploads/{upload}", headers=service.headers(A)).json()
    assert state["state"] == "abandoned"
    problem(service.post(f"/uploads/{upload}/complete", {}), 409, "abandoned")
    assert service.begin(data).json()["state"] == "start"
    service.send(str(upload), data)
    assert service.post(f"/uploads/{upload}/complete", {}).json()["receipt"]["verified"]


def test_episodes_are_asked_for_by_their_facts(service: Service) -> None:
    for seed in range(3):
        service.upload(log_of(A, seed))
    service.upload(log_of(B), B)
    get = lambda **query: service.http.get("/episodes", params=query, headers=service.headers(None)).json()
    assert len(get()["rows"]) == 4
    assert len(get(robot=A)["rows"]) == 3
    assert len(get(robot=A, outcome="truncated", tag="purpose:random", coverage_min=1.0)["rows"]) == 3
    assert get(outcome="fell")["rows"] == get(tag="purpose:evaluation")["rows"] == get(from_ns=1)["rows"] == []
    seen, after = [], None
    while True:
        page = get(limit=3, **({"after": after} if after else {}))
        seen += [row["sha256"] for row in page["rows"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 4
    totals = service.http.get("/episodes/totals", headers=service.headers(None)).json()
    assert (totals["episodes"], round(totals["duration_s"], 6)) == (4, 0.8)
    assert {(t["robot"], t["episodes"]) for t in totals["rows"]} == {(A, 3), (B, 1)}
    assert json.dumps(get(robot=B)["rows"][0]["tags"]).count("purpose") == 1


def test_a_cut_robot_log_is_released_into_what_was_recorded(service: Service) -> None:
    whole = log_of(A)
    receipt = service.upload(whole[: int(len(whole) * 0.8)])
    assert (receipt["state"], receipt["reason_code"]) == ("quarantined", "truncated")
    path = f"/uploads/{receipt['upload']}"
    released = service.post(f"{path}/release", {"note": "the battery fell out"}, None).json()["receipt"]
    assert (released["state"], released["reason_code"], len(released["episodes"])) == ("salvaged", "truncated", 1)
    (row,) = service.catalog.episodes.find(robots=[A])
    assert 5 <= row.steps < 10
    card = service.http.get(f"{path}/fate", headers=service.headers(None)).json()["card"]
    assert card["salvage"]["lost_from_byte"] <= int(len(whole) * 0.8)


def test_what_the_robot_lost_is_told_once_and_stays_in_the_history(service: Service) -> None:
    held, lost = log_of(A), log_of(A, seed=1)
    service.upload(held)
    begun = service.begin(lost, name="run-1.mcap").json()
    service.post(f"/uploads/{begun['upload']}/parts", {"parts": service.wanted(lost)})
    usage = service.catalog.quotas.usage(A)
    never = {"sha256": "ab" * 32, "size": 10**9, "priority": "incident", "name": "run-2.mcap"}
    logs = [
        {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} | more
        for data, more in ((held, {}), (lost, {"priority": "routine"}))
    ]
    body = {
        "logs": [row | {"reason": "room for a log of priority incident", "at_ns": 10**18} for row in [*logs, never]]
    }
    for _ in range(2):
        assert service.post(f"/robots/{A}/lost", body).status_code == 204
    rows = service.http.get("/uploads", headers=service.headers(None)).json()["rows"]
    assert [(r["state"], r["reason_code"], r["name"]) for r in rows] == [
        ("abandoned", "evicted", "run-2.mcap"), ("abandoned", "evicted", "run-1.mcap"), ("accepted", None, None),
    ]  # fmt: skip
    assert "disk was full" in rows[0]["words"]
    fate = service.http.get(f"/uploads/{rows[0]['id']}/fate", headers=service.headers(None)).json()
    assert fate["detail"].startswith("lost on the robot at 2001-09-09")
    assert service.store.open_multiparts() == []
    assert service.catalog.quotas.usage(A).bytes < usage.bytes, "what was not sent uses up no quota"
    problem(service.post(f"/robots/{A}/lost", body, B), 403, "forbidden")
    assert service.upload(lost)["state"] == "accepted", "a copy that turns up is taken in"
    assert service.catalog.uploads.find(A, hashlib.sha256(lost).hexdigest()).reason_code is None  # type: ignore[union-attr]
