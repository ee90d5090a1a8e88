"""The robot process's loop against a scripted API: what it refuses to run, and how it meets failing servers."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet_ingest.robot.agent import Agent
from fleet_ingest.robot.credentials import FixedToken
from fleet_ingest.robot.spool import Spool
from fleet_ingest.standins.cartpole import CartPoleStandIn
from tests.fleet_ingest.harness import FLEET, linear_policy, plan

SERIAL = "cartpole-0001"
ARM_TASK = {"name": "t", "reward": "arm.angle", "horizon_s": 1}


class ScriptedApi:
    """Serves one assignment, the ONNX bytes under /onnx, and takes everything else down in `calls`."""

    def __init__(self) -> None:
        self.assignment: dict[str, Any] | None = None
        self.onnx = b""
        self.calls: list[tuple[str, str, Any]] = []
        self.failures = 0
        self.old = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                status, answer = api.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = handle_any

            def log_message(self, format: str, *arguments: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.failures > 0:
            self.failures -= 1
            return 503, b"not yet"
        self.calls.append((method, path, json.loads(body) if body else None))
        if path == "/onnx":
            return 200, self.onnx
        if path.endswith("/assignment"):
            return (204, b"") if self.assignment is None else (200, json.dumps(self.assignment).encode())
        if path.endswith("/refuse"):
            self.assignment = None
            return 204, b""
        if path.endswith("/lost") and self.old:
            return 404, b"{}"
        if path == "/uploads":
            return 422, json.dumps({"code": "invalid", "message": "not this one", "remedy": "none"}).encode()
        return 200, b"{}"

    def called(self, ending: str) -> list[Any]:
        return [body for _, path, body in self.calls if path.endswith(ending)]


class WatchedCartPole(CartPoleStandIn):
    def reset(self, start: dict[str, float], seed: int) -> None:
        super().reset(start, seed)
        self.applied = 0

    def apply(self, command: np.ndarray) -> None:
        super().apply(command)
        self.applied += 1


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    scripted = ScriptedApi()
    yield scripted
    scripted.server.shutdown()
    scripted.server.server_close()


def run_until(api: ScriptedApi, directory: Path, condition: Callable[[], bool]) -> tuple[WatchedCartPole, list[str]]:
    """Runs the agent until `condition` holds (checked at each of its notes and calls), then stops it."""
    notes: list[str] = []
    driver = WatchedCartPole(SERIAL)
    agent = Agent(
        driver, SERIAL, api=api.url, credentials=FixedToken("t"), state=directory, poll_s=0.01, note=notes.append
    )
    thread = threading.Thread(target=agent.run)
    thread.start()
    for _ in range(1500):
        if condition():
            break
        thread.join(0.01)
    agent.stop()
    thread.join(20)
    agent.close()
    assert condition(), notes
    return driver, notes


def assignment(api: ScriptedApi, **changes: Any) -> dict[str, Any]:
    manifest, api.onnx = linear_policy([1.0, 0.0, 0.0, 0.0])
    values = {"id": 5, "key": "k", "robot": SERIAL, "plan": plan(1, "evaluation", duration_s=0.2)}
    values |= {"policy": manifest.digest, "manifest": manifest.model_dump(mode="json"), "onnx_url": f"{api.url}/onnx"}
    return values | changes


def other_spec(api: ScriptedApi) -> dict[str, Any]:
    manifest, _ = linear_policy([1.0, 0.0, 0.0, 0.0])
    spec = FLEET.spec.model_dump(mode="json") | {"control_rate_hz": 100.0}
    made = type(manifest).model_validate(manifest.model_dump(mode="json") | {"spec": spec, "control_rate_hz": 100.0})
    return assignment(api, policy=made.digest, manifest=made.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda api: assignment(api, robot="cartpole-0002"), "unfit", "is for robot 'cartpole-0002'"),
        (lambda api: assignment(api, policy="0" * 64), "digest", "the assignment names 000000"),
        (other_spec, "unfit", "differ from this robot's"),
        (lambda api: assignment(api, plan=plan(1, "evaluation") | {"task": ARM_TASK}), "unfit", "arm.angle"),
    ],
)  # fmt: skip
def test_what_is_not_its_own_is_refused_and_never_run(
    api: ScriptedApi, tmp_path: Path, change: Callable[[ScriptedApi], dict[str, Any]], code: str, words: str
) -> None:
    api.assignment = change(api)
    driver, _ = run_until(api, tmp_path, lambda: bool(api.called("/assignments/5/refuse")))
    (refusal,) = api.called("/assignments/5/refuse")
    assert refusal["code"] == code
    assert words in refusal["message"]
    assert driver.applied == 0


def test_an_exchanged_onnx_file_is_refused(api: ScriptedApi, tmp_path: Path) -> None:
    api.assignment = assignment(api)
    _, api.onnx = linear_policy([99.0, 0.0, 0.0, 0.0])
    driver, _ = run_until(api, tmp_path, lambda: bool(api.called("/assignments/5/refuse")))
    assert api.called("/assignments/5/refuse")[0]["code"] == "digest"
    assert driver.applied == 0


def test_an_answer_that_is_no_assignment_ends_nothing(api: ScriptedApi, tmp_path: Path) -> None:
    api.assignment = {"id": "x"}
    _, notes = run_until(api, tmp_path, lambda: len(api.called("/assignment")) >= 2)
    assert any("not a valid Assignment" in note for note in notes)


def test_a_failing_server_is_asked_again_and_named_once(api: ScriptedApi, tmp_path: Path) -> None:
    api.failures = 3
    _, notes = run_until(api, tmp_path, lambda: bool(api.called("/assignment")))
    assert [note for note in notes if "503" in note] == [
        f"PUT /robots/{SERIAL}: status 503; trying again until it answers"
    ]
    assert api.called(f"/robots/{SERIAL}")[0]["name"] == "cartpole"


def test_a_log_that_the_server_refuses_stays_and_does_not_stop_the_robot(api: ScriptedApi, tmp_path: Path) -> None:
    api.assignment = assignment(api, policy=None, manifest=None, onnx_url=None, plan=plan(2, "random", duration_s=0.1))
    _, notes = run_until(api, tmp_path, lambda: len(api.called("/uploads")) >= 3)
    assert len([n for n in notes if "the server refuses log" in n]) == 2
    assert len(list((tmp_path / "logs").iterdir())) == 2


@pytest.mark.parametrize("old", [False, True], ids=["this server", "one that does not know of lost logs"])
def test_lost_logs_are_told_of_once_and_hold_nothing_up(api: ScriptedApi, tmp_path: Path, old: bool) -> None:
    api.old = old
    spool = Spool(tmp_path, SERIAL)
    digest = spool.put("k", 0, b"a log")
    (log,) = spool.waiting()
    log.path.write_bytes(b"damaged")
    spool.spoil(log)
    spool.close()
    _, notes = run_until(api, tmp_path, lambda: len(api.called("/assignment")) >= 3)
    told = api.called("/lost")
    assert [(row["sha256"], row["reason"]) for row in told[0]["logs"]] == [(digest, "changed on disk")]
    assert len(told) == 1 or old
    assert sum("was not told of 1 lost logs" in note for note in notes) == (1 if old else 0)
