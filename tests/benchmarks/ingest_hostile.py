"""Hostile requests to the ingest API: each must be refused within 5 s, with nothing written outside the robot's prefix.

Robot `mallory` is admitted and misbehaves; robot `alice` has a verified file. Real API process, real S3 server. The
figures count attempts and those that were not refused as they should be; schemathesis then asks the whole OpenAPI
description. What hostile *files* do is measured by the validator's half of this benchmark.

    python -m tests.benchmarks.ingest_hostile --json
"""

import argparse
import base64
import hashlib
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from fleet_ingest.api.tokens import issue
from fleet_ingest.robot.credentials import RobotKey
from fleet_ingest.robot.protocol import PART_BYTES
from storage.catalog.catalog import Catalog
from storage.objects import ObjectStore
from tests.benchmarks.envelope import Figure, Target, envelope, parser, publish
from tests.fleet_ingest.harness import FLEET, SECRET, ApiServer, S3Server, headers

ALICE, MALLORY = "alice-1", "mallory-1"
SECRET_FILE = b"time,x\n0,1\n1,2\n"
CONFIG = Path(__file__).parents[1] / "fleet_ingest" / "api" / "schemathesis.toml"


class Attempt(NamedTuple):
    """`refused`: whether `act` was answered as it should be."""

    name: str
    act: Callable[[], bool]


class Attacked(NamedTuple):
    """What is attacked, as mallory sees it, and alice's verified file."""

    api: ApiServer
    store: ObjectStore
    catalog: Catalog
    http: httpx.Client
    folder: Path
    key: RobotKey
    mine: dict[str, str]
    hers: dict[str, str]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def announce(robot: str, data: bytes, **changes: Any) -> dict[str, Any]:
    sha256 = digest(data)
    body = {"robot": robot, "sha256": sha256, "size": len(data), "format": "csv", "idempotency_key": f"key/{sha256}"}
    return body | changes


def begin(t: Attacked, data: bytes, **changes: Any) -> httpx.Response:
    return t.http.post("/uploads", json=announce(MALLORY, data) | changes, headers=t.mine)


def slot(t: Attacked, data: bytes) -> tuple[str, dict[str, Any]]:
    upload = begin(t, data).json()["upload"]
    parts = {"parts": [{"number": 1, "size": len(data), "sha256": checksum(data)}]}
    return upload, t.http.post(f"/uploads/{upload}/parts", json=parts, headers=t.mine).json()["parts"][0]


def put(found: dict[str, Any], data: bytes, url: str | None = None) -> int:
    held = {name: value for name, value in found["headers"].items() if name != "content-length"}
    with httpx.Client(trust_env=False, timeout=30) as client:
        try:
            return client.put(url or found["url"], content=data, headers=held).status_code
        except httpx.HTTPError:
            return 400  # the store hung up on bytes that it will not have


def says(code: str, *statuses: int) -> Callable[[httpx.Response], bool]:
    return lambda r: r.status_code in statuses and r.json()["code"] == code


def identity(t: Attacked) -> Iterator[Attempt]:
    """Tokens and keys of others."""
    refused, closed = says("forbidden", 403), says("unauthorised", 401)
    her_upload = t.http.get("/uploads", headers=t.hers).json()["rows"][0]["id"]
    part = {"parts": [{"number": 1, "size": 1, "sha256": checksum(b"x")}]}
    for method, path, body in (
        ("GET", f"/robots/{ALICE}", None), ("PUT", f"/robots/{ALICE}", FLEET.spec.model_dump(mode="json")),
        ("GET", f"/robots/{ALICE}/assignment", None), ("POST", "/uploads", announce(ALICE, b"mine now")),
        ("GET", f"/uploads/{her_upload}", None), ("GET", f"/uploads/{her_upload}/fate", None),
        ("POST", f"/uploads/{her_upload}/parts", part), ("POST", f"/uploads/{her_upload}/complete", {}),
        ("POST", f"/uploads/{her_upload}/release", {"note": "x"}), ("POST", "/notes", {"robot": ALICE, "text": "x"}),
        ("GET", f"/uploads?robot={ALICE}", None), ("GET", "/episodes", None), ("GET", "/keys", None),
        ("POST", "/keys/1/admit", None), ("POST", "/operators", {"name": "m", "role": "admin"}),
        ("GET", "/audit", None),
    ):  # fmt: skip
        yield Attempt(
            f"wrong token: {method} {path}",
            lambda m=method, p=path, b=body: refused(t.http.request(m, p, json=b, headers=t.mine)),
        )
    mixed = issue(SECRET, "robot", ALICE, key=t.catalog.keys.list(MALLORY)[0].id, seconds=60)
    old = issue(SECRET, "robot", MALLORY, key=t.catalog.keys.list(MALLORY)[0].id, seconds=-1)
    for name, token in (("of another key", mixed), ("expired", old), ("made up", "s2r1.W10.x"), ("none", "")):
        held = {"Authorization": f"Bearer {token}"} if token else {}
        yield Attempt(f"token {name}", lambda h=held: closed(t.http.get(f"/robots/{ALICE}", headers=h)))
    signed = t.key.signed(t.http.post(f"/robots/{MALLORY}/challenge").json()["nonce"]).model_dump(mode="json")
    t.http.post(f"/robots/{MALLORY}/token", json=signed)
    yield Attempt("replayed nonce", lambda: closed(t.http.post(f"/robots/{MALLORY}/token", json=signed)))
    yield Attempt("nonce of another robot", lambda: closed(t.http.post(f"/robots/{ALICE}/token", json=signed)))


def claims(t: Attacked) -> Iterator[Attempt]:
    """Claims about files: a hash that alice owns, sizes that are lies, parts that do not fit."""

    def claim_hers() -> bool:
        answer = begin(t, SECRET_FILE).json()
        done = t.http.post(f"/uploads/{answer['upload']}/complete", json={}, headers=t.mine)
        return answer["state"] == "start" and answer["receipt"] is None and says("parts_missing", 409)(done)

    def lie(size: int) -> bool:
        data = os.urandom(1000)
        answer = begin(t, data, size=size)
        if answer.status_code != 200:
            return answer.status_code == 422
        number = max(1, -(-size // PART_BYTES))
        last = size - (number - 1) * PART_BYTES
        body = {"parts": [{"number": number, "size": last, "sha256": checksum(data)}]}
        given = t.http.post(f"/uploads/{answer.json()['upload']}/parts", json=body, headers=t.mine)
        return given.status_code == 409 or put(given.json()["parts"][0], data) >= 400

    yield Attempt("a hash that another robot owns", claim_hers)
    yield Attempt("her mapping as mine", lambda: hers_as_mapping(t))
    for size in (0, -1, 999, 1001, 2**40, 2**70, PART_BYTES * 3):
        yield Attempt(f"declared size {size}", lambda s=size: lie(s))


def hers_as_mapping(t: Attacked) -> bool:
    data = b"t,x\n0,1\n1,2\n2,3\n" + os.urandom(4).hex().encode()
    upload, found = slot(t, data)
    put(found, data)
    t.http.post("/uploads", json=announce(MALLORY, data, mapping_sha256=digest(SECRET_FILE)), headers=t.mine)
    done = t.http.post(f"/uploads/{upload}/complete", json={"wait_s": 4}, headers=t.mine)
    return "0,1" not in done.text and "time,x" not in done.text


def urls(t: Attacked) -> Iterator[Attempt]:
    """Presigned requests: replayed, expired, changed."""
    data = b"1,2\n" + os.urandom(8).hex().encode()
    upload, found = slot(t, data)
    bigger = data + b"x" * 10_000
    yield Attempt("oversize body to a URL", lambda: put(found, bigger) >= 400)
    yield Attempt("other bytes to a URL", lambda: put(found, bytes(reversed(data))) >= 400)
    stripped = {"url": found["url"], "headers": {}}
    yield Attempt("without the checksum", lambda: put(stripped, data) >= 400)
    for name, url in (
        ("another robot's prefix", found["url"].replace(f"/{MALLORY}/", f"/{ALICE}/")),
        ("objects/", re.sub(r"/staging/[^?]*", f"/objects/aa/bb/{'a' * 64}", found["url"])),
        ("climbing", found["url"].replace(f"/{MALLORY}/", f"/{MALLORY}/../{ALICE}/")),
        ("another part", found["url"].replace("partNumber=1", "partNumber=2")),
        ("longer life", re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=604800", found["url"])),
    ):
        yield Attempt(f"URL changed: {name}", lambda u=url: put(found, data, u) >= 400)
    put(found, data)
    t.http.post(f"/uploads/{upload}/complete", json={"wait_s": 4}, headers=t.mine)
    yield Attempt("URL replayed after completion", lambda: put(found, data) >= 400)
    key = t.store.staging_key(MALLORY, "77777")
    session = t.store.begin_multipart(key)
    old = t.store.presign_part(key, session, 1, len(data), checksum(data), 1)
    time.sleep(2.1)
    yield Attempt("expired URL", lambda: put({"url": old.url, "headers": old.headers}, data) >= 400)
    t.store.abort_multipart(key, session)


def words(t: Attacked) -> Iterator[Attempt]:
    """Names and bodies."""
    invalid = says("invalid", 422)
    names = (
        "../x.mcap",
        "/etc/passwd",
        "a\\b.csv",
        "a\nb",
        "a\0b",
        "\x1b[2J",
        "a\u202egpj.exe",
        "..",
        ".hidden",
        "x" * 999,
    )
    for name in names:
        yield Attempt(f"file name {name[:12]!r}", lambda n=name: invalid(begin(t, b"data", name=n)))
    for field, value in (
        ("robot", "../alice-1"), ("robot", "a/b"), ("session", "../x"), ("format", "../x"), ("sha256", "../../x"),
        ("idempotency_key", "a\nbcdefgh"), ("priority", "highest"), ("notes", "x" * 30_000), ("surprise", 1),
        ("assignment", "1; DROP TABLE robots"),
    ):  # fmt: skip
        changed = {field: value}
        yield Attempt(
            f"{field} {str(value)[:16]!r}", lambda c=changed: begin(t, b"data", **c).status_code in (403, 422)
        )
    for path in (
        "/robots/..%2f..%2fetc",
        "/robots/%00",
        "/web/../../api/app.py",
        "/web/%2e%2e/api/app.py",
        "/web//etc/passwd",
    ):
        yield Attempt(f"path {path}", lambda p=path: raw(t, p) in (400, 404, 405, 422))
    big = b"x" * (5 * 2**20)
    yield Attempt("body of 5 MiB", lambda: says("too_large", 413)(t.http.post("/uploads", content=big, headers=t.mine)))
    yield Attempt("body of 5 MiB in chunks", lambda: says("too_large", 413)(chunked(t)))
    deep = b"[" * 100_000
    yield Attempt(
        "deeply nested JSON",
        lambda: t.http.post("/uploads", content=deep, headers=t.mine | JSON).status_code in (400, 422),
    )
    host = t.mine | {"Host": "evil.example"}
    yield Attempt("another host name", lambda: says("host", 400)(t.http.get(f"/robots/{MALLORY}", headers=host)))


JSON = {"Content-Type": "application/json"}


def raw(t: Attacked, path: str) -> int:
    """The status of a request whose path no client library tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", t.api.port, timeout=10)
    connection.request("GET", path, headers=t.mine)
    return connection.getresponse().status


def chunked(t: Attacked) -> httpx.Response:
    return t.http.post("/uploads", content=(b"x" * 2**20 for _ in range(5)), headers=t.mine)


@contextmanager
def attacked(folder: Path) -> Iterator[Attacked]:
    s3 = S3Server(folder / "s3")
    s3.start()
    api = ApiServer(folder / "api", s3.config)
    try:
        api.start()
        with (
            Catalog.open(api.catalog_url) as catalog,
            httpx.Client(base_url=api.url, trust_env=False, timeout=30) as http,
        ):
            keys = {serial: RobotKey.load(folder / serial, serial) for serial in (ALICE, MALLORY)}
            ids = {s: catalog.keys.admit(s, key.public_key, "benchmark").id for s, key in keys.items()}
            for serial in ids:
                catalog.robots.register(serial, FLEET.spec)
            held = {serial: headers(serial, number) for serial, number in ids.items()}
            made = Attacked(
                api, ObjectStore(s3.config), catalog, http, folder, keys[MALLORY], held[MALLORY], held[ALICE]
            )
            alice(made)
            yield made
    finally:
        api.kill()
        s3.kill()
        s3.remove_sockets()


def alice(t: Attacked) -> None:
    """Her verified file."""
    upload = t.http.post("/uploads", json=announce(ALICE, SECRET_FILE), headers=t.hers).json()["upload"]
    body = {"parts": [{"number": 1, "size": len(SECRET_FILE), "sha256": checksum(SECRET_FILE)}]}
    found = t.http.post(f"/uploads/{upload}/parts", json=body, headers=t.hers).json()["parts"][0]
    put(found, SECRET_FILE)
    t.http.post(f"/uploads/{upload}/complete", json={}, headers=t.hers)


def strangers(t: Attacked, before: set[str]) -> list[str]:
    """Keys that appeared outside mallory's staging prefix and are no verified file of hers or mine."""
    pages = t.store.client.get_paginator("list_objects_v2").paginate(Bucket=t.store.config.bucket)
    now = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
    verified = {row.sha256 for row in t.catalog.uploads.list() if row.is_final}
    return sorted(
        k for k in now - before if not k.startswith(f"staging/{MALLORY}/") and k.rsplit("/", 1)[1] not in verified
    )


def keys_of(t: Attacked) -> set[str]:
    pages = t.store.client.get_paginator("list_objects_v2").paginate(Bucket=t.store.config.bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def ask_all(t: Attacked, examples: int) -> tuple[int, int]:
    """(cases, failures) of schemathesis over the whole description."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{t.api.url}/openapi.json",
        "--header", f"Authorization: {headers()['Authorization']}", "--workers", "1", "--seed", "1",
        "--phases", "coverage,fuzzing,stateful", "--max-examples", str(examples),
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800, cwd=t.folder).stdout
    cases = re.search(r"(\d+) generated", said)
    failures = re.search(r"found (\d+) unique failure", said)
    if cases is None:
        raise RuntimeError(said[-2000:])
    if failures:
        sys.stderr.write(said)
    return int(cases[1]), int(failures[1]) if failures else 0


def measure(folder: Path, examples: int) -> dict[str, Figure]:
    with attacked(folder) as t:
        process = psutil.Process(t.api.child.pid)  # type: ignore[union-attr]
        before, resident = keys_of(t), process.memory_info().rss
        count, passed, slowest, peak = 0, [], 0.0, resident
        for group in (identity, claims, urls, words):
            for attempt in group(t):
                count += 1
                begun = time.perf_counter()
                if not attempt.act():
                    passed.append(attempt.name)
                slowest = max(slowest, time.perf_counter() - begun)
                peak = max(peak, process.memory_info().rss)
        outside = strangers(t, before)
        cases, failures = ask_all(t, examples)
    for name in passed + outside:
        sys.stderr.write(f"NOT REFUSED: {name}\n")
    return {
        "attempts": Figure(count, "requests", count),
        "not_refused": Figure(len(passed), "requests", count),
        "slowest": Figure(slowest, "s", count),
        "memory_growth": Figure((peak - resident) / 1e6, "MB", count),
        "written_outside_prefix": Figure(len(outside), "keys", count),
        "schemathesis_cases": Figure(cases, "cases", cases),
        "schemathesis_failures": Figure(failures, "failures", cases),
    }


TARGETS = {
    "not_refused": Target(0, "lower"),
    "slowest": Target(5.0, "lower"),
    "memory_growth": Target(256.0, "lower"),
    "written_outside_prefix": Target(0, "lower"),
    "schemathesis_failures": Target(0, "lower"),
}


def main(argv: list[str] | None = None) -> int:
    arguments: argparse.Namespace = parser(__doc__.splitlines()[0]).parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        figures = measure(Path(folder), 1 if arguments.quick else 20)
    publish(envelope("ingest_hostile", figures, TARGETS, [1]), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
