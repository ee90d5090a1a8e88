"""`upload`, `uploads`, `quarantine`, `access` as commands against a real API and S3 server, by address and account."""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet_ingest.robot.outgoing import SentFiles
from flows.artefacts import encoded_refs, load_refs, said_of
from flows.cli.logs import summary_of
from flows.cli.main import app
from flows.data import build_dataset
from flows.engine import Engine
from flows.remote import open_remote
from flows.retrain import true_throughout
from flows.settings import Settings
from flows.sources import Sources
from flows.uploading import FileResult, Wish, upload_paths, watch
from simulator.prompt import Prompt
from storage.catalog.catalog import Catalog
from storage.codecs.episodes import decode_episode
from storage.contracts.errors import InputError
from storage.embedded.home import Home
from storage.embedded.stack import Stack
from storage.objects import ObjectStore
from tests.fleet_ingest.harness import FLEET, ApiServer, S3Server, wait_for
from tests.fleet_ingest.service import log_of

SERIAL = "cartpole-0001"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, Catalog, str]]:
    folder = tmp_path_factory.mktemp("api")
    s3 = S3Server(folder / "s3")
    s3.start()
    server = ApiServer(folder / "api", s3.config)
    server.start()
    with Catalog.open(server.catalog_url) as catalog:
        catalog.robots.register(SERIAL, FLEET.spec)
        yield server, catalog, catalog.operators.add("anna", "admin")
    server.kill()
    s3.kill()
    s3.remove_sockets()


class Shell:
    def __init__(self, home: Path, url: str, secret: str) -> None:
        self.variables = {
            "SIM2REAL_HOME": str(home), "SIM2REAL_API_URL": url, "SIM2REAL_OPERATOR": "anna",
            "SIM2REAL_OPERATOR_SECRET": secret,
        }  # fmt: skip

    def __call__(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words), env=self.variables)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    def json(self, *words: str) -> tuple[int, Any]:
        code, out = self(*words, "--json")
        return code, json.loads(out.strip().splitlines()[-1])


@pytest.fixture
def sim2real(api: tuple[ApiServer, Catalog, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell(tmp_path / "home", api[0].url, api[2])
    for name, value in shell.variables.items():
        monkeypatch.setenv(name, value)
    return shell


def test_from_upload_to_release(sim2real: Shell, api: tuple[ApiServer, Catalog, str], tmp_path: Path) -> None:
    good, cut, table = tmp_path / "good.mcap", tmp_path / "cut.mcap", tmp_path / "table.csv"
    good.write_bytes(log_of(SERIAL, 1))
    cut.write_bytes(log_of(SERIAL, 2)[:2000])
    table.write_text("t,x\n" + "".join(f"{i / 50},{i % 7}\n" for i in range(100)))
    files = (str(good), str(cut), str(table))
    code, found = sim2real.json("upload", *files, "--robot", SERIAL, "--dry-run")
    assert (code, {f["state"] for f in found["files"]}) == (0, {"would be sent"})
    assert sim2real("uploads", "status", str(good))[0] == 9
    code, found = sim2real.json(
        "upload", *files, "--robot", SERIAL, "--session", "monday", "--notes", "new tyres", "--priority", "incident"
    )
    by_name = {Path(f["path"]).name: f for f in found["files"]}
    assert code == 3
    assert {name: f["state"] for name, f in by_name.items()} == {
        "good.mcap": "accepted", "cut.mcap": "quarantined", "table.csv": "quarantined",
    }  # fmt: skip
    code, line = sim2real("uploads", "status", str(good))
    assert code == 0
    assert len(line.strip().splitlines()) == 1
    assert f"good.mcap of {SERIAL}: accepted, 1 episode" in line
    assert sim2real("uploads", "status", str(cut))[0] == 3
    assert sim2real("uploads", "verify", str(good))[0] == 0
    copy = tmp_path / "elsewhere" / "good.mcap"
    copy.parent.mkdir()
    copy.write_bytes(good.read_bytes()[:-1])
    code, said = sim2real("uploads", "verify", str(copy))
    assert (code, "another file" in said) == (10, True)
    code, rows = sim2real.json("quarantine", "list")
    assert {row["name"] for row in rows["uploads"]} == {"cut.mcap", "table.csv"}
    number = str(by_name["table.csv"]["upload"])
    said = sim2real("quarantine", "explain", number)[1]
    assert "There is no mapping that fits this file." in said
    mapping = tmp_path / "table.map.yaml"
    mapping.write_text(
        "name: table\ntime: {column: t, unit: s}\nchannels:\n- {column: x, name: x, kind: linear, unit: m}\n"
    )
    code, fate = sim2real.json("quarantine", "release", number, "--note", "has one now", "--map", str(mapping))
    assert (code, fate["line"]["state"]) == (0, "accepted")
    (note,) = api[1].notes.of_uploads([by_name["good.mcap"]["upload"]])[by_name["good.mcap"]["upload"]]
    assert (note.text, note.session, note.author) == ("new tyres", "monday", "operator:anna")


def test_what_was_said_with_an_upload_is_learned_from_and_asked_with(
    sim2real: Shell, api: tuple[ApiServer, Catalog, str], tmp_path: Path
) -> None:
    noted, plain = tmp_path / "noted.mcap", tmp_path / "plain.mcap"
    noted.write_bytes(log_of(SERIAL, 21))
    plain.write_bytes(log_of(SERIAL, 22))
    assert sim2real("upload", str(noted), "--robot", SERIAL, "--notes", "payload 0.7 kg")[0] == 0
    assert sim2real("upload", str(plain), "--robot", SERIAL)[0] == 0
    catalog, home = api[1], Home(tmp_path / "home")
    engine = Engine(Settings(), home, Stack(home), catalog, ObjectStore(api[0].s3), {})
    raw = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (noted, plain)]
    rows = [row for row in catalog.episodes.find(robots=[SERIAL]) if row.raw_sha256 in raw]
    of_noted, of_plain = (next(row for row in rows if row.raw_sha256 == one) for one in raw)
    said = said_of(catalog, [row.sha256 for row in rows])
    assert said == {of_noted.sha256: ("payload 0.7 kg",)}
    assert true_throughout(rows, said) == {}  # the other upload does not say so
    assert true_throughout([of_noted], said) == said
    digest, bare = (build_dataset("d", rows, of_noted.spec_digest, channel_std={}, notes=n) for n in (said, None))
    assert digest.digest != bare.digest
    assert "notes" not in bare.to_json().decode()
    by_digest = dict(zip([ref.sha256 for ref in digest.episodes], encoded_refs(engine, digest.episodes), strict=True))
    assert decode_episode(by_digest[of_noted.sha256]).notes == ("payload 0.7 kg",)
    assert by_digest[of_plain.sha256] == engine.store.get_bytes(of_plain.sha256)
    assert [e.notes for e in load_refs(engine, digest.episodes)] == [ref.notes for ref in digest.episodes]
    asked = Sources(engine).noted_episode(of_noted.sha256)
    assert Sources(engine).episode(of_noted.sha256)[1].notes == ()
    assert Prompt(asked.spec, (asked,), "wet floor").said == "wet floor\npayload 0.7 kg"


def test_an_interrupted_upload_is_resumed(sim2real: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped.mcap"
    path.write_bytes(log_of(SERIAL, 5))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, open_remote() as remote:
        broken.setattr("fleet_ingest.robot.uploader.Uploader._send", stop)
        with pytest.raises(KeyboardInterrupt):
            upload_paths(remote, [path], Wish(SERIAL))
    assert sim2real("uploads", "status", str(path))[0] == 8
    code, found = sim2real.json("uploads", "resume")
    assert (code, [f["state"] for f in found["files"]]) == (0, ["accepted"])
    assert sim2real("uploads", "status", str(path))[0] == 0
    assert sim2real.json("uploads", "resume")[1]["files"] == []


def test_a_watched_folder_is_sent(sim2real: Shell, tmp_path: Path) -> None:
    folder, done = tmp_path / "logger", threading.Event()
    rows: list[FileResult] = []
    folder.mkdir()
    with open_remote() as remote:
        args = (remote, folder, Wish(SERIAL), rows.append)
        thread = threading.Thread(target=watch, args=args, kwargs={"every_s": 0.05, "stop": done.is_set})
        thread.start()
        (folder / "one.mcap").write_bytes(log_of(SERIAL, 7))
        wait_for(lambda: len(rows) == 1, 30, "the first file")
        (folder / "two.mcap").write_bytes(log_of(SERIAL, 8))
        wait_for(lambda: len(rows) == 2, 30, "the second file")
        done.set()
        thread.join(10)
    assert [(Path(r["path"]).name, r["state"]) for r in rows] == [("one.mcap", "accepted"), ("two.mcap", "accepted")]


def test_a_file_that_vanishes_or_meets_a_quota_ends_no_watch(
    sim2real: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = tmp_path / "logger", threading.Event()
    rows: list[FileResult] = []
    folder.mkdir()
    (folder / "gone.mcap").write_bytes(b"x")
    (folder / "kept.mcap").write_bytes(log_of(SERIAL, 11))
    measured = SentFiles.measured

    def renamed_meanwhile(sent: SentFiles, path: Path) -> str:
        if path.name == "gone.mcap":
            path.unlink(missing_ok=True)
        return measured(sent, path)

    monkeypatch.setattr(SentFiles, "measured", renamed_meanwhile)
    sim2real.json("access", "quota", SERIAL, "--files", "0")
    with open_remote() as remote:
        args = (remote, folder, Wish(SERIAL), rows.append)
        times = {"every_s": 0.05, "again_s": 0.2, "stop": done.is_set}
        thread = threading.Thread(target=watch, args=args, kwargs=times)
        thread.start()
        wait_for(lambda: any(r["code"] == "quota" for r in rows), 30, "the refusal")
        sim2real.json("access", "quota", SERIAL, "--files", "1000")
        wait_for(lambda: any(r["state"] == "accepted" for r in rows), 30, "the file, once there is room")
        done.set()
        thread.join(10)
    assert (Path(rows[0]["path"]).name, rows[0]["state"]) == ("gone.mcap", "changed")
    assert len([r for r in rows if r["code"] == "quota"]) == 1, "said again at every look"


def test_an_unknown_robot_is_refused_with_the_way_to_register_it(sim2real: Shell, tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(log_of(SERIAL, 10))
    code, found = sim2real.json("upload", str(path), "--robot", "arm-7", "--dry-run")
    assert (code, found["files"][0]["state"]) == (7, "refused")
    code, found = sim2real.json("upload", str(path), "--robot", "arm-7")
    row = found["files"][0]
    assert (code, row["state"], row["code"]) == (7, "refused", "unknown")
    assert "arm-7" in row["reason"]
    for way in ("--map", "sim2real import PATH --propose", "sim2real robot add", "sim2real-robot"):
        assert way in row["remedy"]
    assert "--propose" in sim2real("upload", str(path), "--robot", "arm-7")[1]


def test_refusals_have_their_own_exit_code(
    sim2real: Shell, api: tuple[ApiServer, Catalog, str], tmp_path: Path
) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(log_of(SERIAL, 9))
    sim2real.json("access", "quota", SERIAL, "--files", "0")
    code, found = sim2real.json("upload", str(path), "--robot", SERIAL)
    assert (code, found["files"][0]["code"]) == (7, "quota")
    code, found = sim2real.json("access", "quota", SERIAL, "--files", "1000")
    assert (code, found["files_per_day"]) == (0, 1000)
    assert [r.action for r in api[1].audit.list(actor="operator:anna", limit=1)] == ["set quota"]


@pytest.mark.parametrize("more", [("--dry-run",), ("elsewhere.mcap",)])
def test_watching_goes_with_neither_paths_nor_a_dry_run(
    sim2real: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    def sent(*_: object, **__: object) -> None:
        raise AssertionError("the folder was watched")

    monkeypatch.setattr("flows.uploading.watch", sent)
    with pytest.raises(InputError, match="--watch"):
        sim2real("upload", *more, "--watch", str(tmp_path), "--robot", SERIAL)


def test_keys_are_admitted_by_command(sim2real: Shell, api: tuple[ApiServer, Catalog, str]) -> None:
    api[1].keys.ask("new-1", "A" * 43 + "=")
    code, found = sim2real.json("access", "admit", "new-1")
    assert (code, found["state"]) == (0, "admitted")
    code, found = sim2real.json("access", "revoke", str(found["id"]))
    assert (code, found["state"]) == (0, "revoked")
    code, made = sim2real.json("access", "add", "bert", "--role", "viewer")
    assert (code, made["operator"]["role"], len(made["secret"])) == (0, "viewer", 29)


def test_a_dry_run_does_not_say_that_files_are_in() -> None:
    def row(state: str) -> dict[str, str]:
        return {"state": state}

    assert summary_of([row("would be sent"), row("there already: accepted")], 0).startswith("nothing was sent; 1 of 2")
    assert summary_of([row("accepted"), row("quarantined")], 1).startswith("1 of 2 files in; 1 quarantined")
    assert summary_of([row("refused")], 1) == "0 of 1 files in; 1 refused"
