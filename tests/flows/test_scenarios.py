"""Scenarios as files, as commands and as artefacts; a logged failure becomes a test that can fail."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from typer.testing import CliRunner

from flows.cli.main import app
from flows.driving import as_policy
from flows.scenarios import Failure, from_failure, read_scenario, store_scenario, stored_scenarios, write_scenario
from flows.sources import Sources
from storage.catalog.catalog import Catalog
from storage.codecs.episodes import decode_episode
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec
from storage.contracts.scenario import Scenario


def scenario(*arguments: object) -> tuple[int, Any]:
    made = CliRunner().invoke(app, ["scenario", *map(str, arguments), "--json"])
    if made.exception is not None and not isinstance(made.exception, SystemExit):
        raise made.exception
    return made.exit_code, json.loads(made.stdout.splitlines()[-1])


def test_a_logged_failure_becomes_a_test_that_fails_and_one_that_passes(bundle: Any, tmp_path: Path) -> None:
    log, file, junit = bundle.logs[1], tmp_path / "fast.yaml", tmp_path / "junit.xml"
    speed = float(np.quantile(np.abs(decode_episode(log.read_bytes()).column("link1.rate")), 0.3))
    code, made = scenario(
        "new", "--from-episode", log, "--name", "too-fast", "--never", f"abs(link1.rate) > {speed:.3f}",
        "--after", 0.2, "-o", file, "--no-store",
    )  # fmt: skip
    assert (code, made["name"]) == (0, "too-fast")
    code, harsh = scenario("run", file, "--episode", log, "--simulator", bundle.folder, "--junit", junit)
    assert (code, harsh["passed"]) == (7, False)
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    text = file.read_text().replace(f"> {speed:.3f}", "> 1000")
    file.write_text(text)
    code, calm = scenario("run", file, "--episode", log, "--simulator", bundle.folder, "--junit", junit)
    assert (code, calm["passed"]) == (0, True)
    assert ElementTree.parse(junit).getroot().get("failures") == "0"
    _, again = scenario("run", file, "--episode", log, "--simulator", bundle.folder)
    assert again["results"][0]["digest"] == calm["results"][0]["digest"]
    assert harsh["results"][0]["trajectories"] == calm["results"][0]["trajectories"]


def test_the_window_lies_around_the_failure(bundle: Any) -> None:
    episode = decode_episode(bundle.logs[1].read_bytes())
    made = from_failure("x", "a" * 64, episode, Failure("link1.rate > 0", at_s=2.0, before_s=0.5, after_s=0.3))
    assert made.past is not None
    assert made.past.state[-1] == pytest.approx(tuple(episode.state[75]))  # 1.5 s at 50 Hz
    assert len(made.past.state) == 31  # 0.6 s before it
    assert np.array(made.commands) == pytest.approx(episode.command[75:115])
    assert made.duration_s == pytest.approx(0.8)
    rate = episode.column("link1.rate")
    first = from_failure("x", "a" * 64, episode, Failure("link1.rate > 0.1", before_s=0.02))
    row = int(np.argmax(rate[1:] > 0.1)) + 1
    assert made.checks[0].when == "never"
    assert first.past is not None
    assert first.past.state[-1] == pytest.approx(tuple(episode.state[row - 1]))
    with pytest.raises(InputError, match="never holds"):
        from_failure("x", "a" * 64, episode, Failure("link1.rate > 1e6"))
    with pytest.raises(InputError, match="not within"):
        from_failure("x", "a" * 64, episode, Failure("link1.rate > 0", at_s=60.0))


def test_a_file_reads_back_as_it_was_written(bundle: Any, tmp_path: Path) -> None:
    episode = decode_episode(bundle.logs[1].read_bytes())
    made = from_failure("x", "a" * 64, episode, Failure("link1.rate > 0", at_s=2.0))
    write_scenario(made, tmp_path / "x.yaml")
    with Sources() as sources:
        assert read_scenario(tmp_path / "x.yaml", sources).digest == made.digest
        short = tmp_path / "short.yaml"
        short.write_text(
            f"name: still\nprompt: {{robot: {bundle.spec}}}\nduration_s: 0.2\n"
            "checks: [{expression: abs(link1.rate) < 1e3}]\n"
        )
        assert read_scenario(short, sources).prompt.robot.name == "standin.pendulum"
        short.write_text(short.read_text().replace("link1.rate", "link1.rat"))
        with pytest.raises(ContractError, match=r"short.yaml.*Did you mean 'link1.rate'"):
            read_scenario(short, sources)
        short.write_text("name: [unclosed")
        with pytest.raises(ContractError, match="neither YAML nor JSON"):
            read_scenario(short, sources)


def make_policy(folder: Path, spec: RobotSpec, value: float, seen: float = 0.0, told: float = 0.0) -> None:
    """Asks for `value`, and `seen` and `told` times the sums of its two windows of states and commands."""
    rows, wide = 2, {"state_history": spec.state_layout.width, "command_history": 1}
    nodes = [
        helper.make_node("Mul", ["state_history", "seen"], ["a"]),
        helper.make_node("ReduceSum", ["a", "both"], ["b"], keepdims=0),
        helper.make_node("Unsqueeze", ["b", "last"], ["c"]),
        helper.make_node("Mul", ["command_history", "told"], ["d"]),
        helper.make_node("ReduceSum", ["d", "last"], ["e"], keepdims=0),
        helper.make_node("Add", ["c", "e"], ["f"]),
        helper.make_node("Add", ["f", "value"], ["command"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", rows, w]) for n, w in wide.items()]
    constants = [
        *(
            helper.make_tensor(n, TensorProto.FLOAT, [], [x])
            for n, x in (("value", value), ("seen", seen), ("told", told))
        ),
        helper.make_tensor("both", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
    ]
    output = helper.make_tensor_value_info("command", TensorProto.FLOAT, ["B", 1])
    graph = helper.make_graph(nodes, "constant", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = bytes(model.SerializeToString())
    manifest = PolicyManifest(
        name="push", onnx_sha256=sha256_hex(data), spec=spec, task="t", history_steps=rows, control_rate_hz=50
    )
    folder.mkdir()
    (folder / "policy.onnx").write_bytes(data)
    (folder / "manifest.json").write_bytes(manifest.to_json())


def test_a_policy_bundle_drives_and_its_commands_are_clamped(bundle: Any, tmp_path: Path) -> None:
    spec = RobotSpec.from_json(bundle.spec.read_bytes())
    limit = float(spec.command_limits[0, 1])
    file = tmp_path / "push.yaml"
    file.write_text(
        f"name: push\nprompt: {{robot: {bundle.spec}}}\nduration_s: 0.2\nstart: {{link1.angle: 0.1}}\n"
        f"checks: [{{expression: abs(link1.torque - ({limit!r})) < 1e-5}}]\n"
    )
    for name, value, passed in (("strong", 1e6, True), ("weak", 0.0, False)):
        make_policy(tmp_path / name, spec, value)
        code, found = scenario("run", file, "--simulator", bundle.folder, "--policy", tmp_path / name)
        assert (code, found["passed"]) == ((0, True) if passed else (7, False))
        assert len(found["results"][0]["policy"]) == 64
    make_policy(tmp_path / "other", spec.model_copy(update={"channels": spec.channels[::-1]}), 0.0)
    with pytest.raises(InputError, match=r"reads .* has"):
        scenario("run", file, "--simulator", bundle.folder, "--policy", tmp_path / "other")


def test_a_policy_sees_its_worlds_and_what_was_applied_to_them(bundle: Any, tmp_path: Path) -> None:
    spec = RobotSpec.from_json(bundle.spec.read_bytes())
    limit = float(spec.command_limits[0, 1])
    make_policy(tmp_path / "p", spec, 0.0, seen=100.0, told=1.0)
    with Sources() as sources:
        drive = as_policy(*sources.policy(str(tmp_path / "p")), spec)
    first, then = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.5, 0.0], [0.0, 0.0]])
    assert drive(0, first)[:, 0].tolist() == pytest.approx([600.0, -200.0])  # two rows of the first state
    # the older row is the first state; the last command was clamped
    assert drive(1, then)[:, 0].tolist() == pytest.approx([350.0 + limit, -100.0 - limit])
    assert drive(0, then)[:, 0].tolist() == pytest.approx([100.0, 0.0])  # begins anew


class Objects:
    """An object store in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put_bytes(self, data: bytes) -> str:
        self.held[sha256_hex(data)] = data
        return sha256_hex(data)

    def get_bytes(self, digest: str) -> bytes:
        return self.held[digest]


def test_scenarios_are_kept_with_the_log_that_they_came_from(bundle: Any, sqlite_url: str) -> None:
    data = bundle.logs[1].read_bytes()
    episode, digest = decode_episode(data), sha256_hex(data)
    made = from_failure("too-fast", digest, episode, Failure("link1.rate > 0", at_s=2.0))
    with Catalog.open(sqlite_url) as catalog:
        engine: Any = SimpleNamespace(catalog=catalog, store=Objects())
        catalog.robots.register(episode.robot, episode.spec)
        catalog.episodes.add(engine.store.put_bytes(data), episode)
        assert store_scenario(engine, made, digest) == store_scenario(engine, made, digest) == made.digest
        assert stored_scenarios(engine, "standin.pendulum") == [made]
        lineage = catalog.artefacts.lineage(made.digest)
        assert [(node.kind, node.digest) for node in lineage.ancestors] == [("episode", digest)]
        assert [row.episode for row in catalog.scenarios.list()] == [digest]
        with Sources(engine) as sources:
            assert sources.episode(digest[:10])[0] == digest
            assert sources.episode("latest", episode.robot)[1].robot == episode.robot
            assert sources.spec(episode.robot) == episode.spec
        catalog.scenarios.retire(made.digest)
        assert stored_scenarios(engine) == []
    assert isinstance(made, Scenario)
