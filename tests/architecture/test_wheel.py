"""The base install: the wheel and nothing but its base requirements is a robot, without torch and under 150 MB.

The requirements are linked from this environment, file by file, so that the test needs no network.
"""

import json
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 150
ABSENT = ("torch", "ray", "boto3", "pyarrow", "sqlalchemy", "prefect", "fastapi", "mujoco", "matplotlib")
PROBE = """
import importlib, importlib.util, json, pathlib, pkgutil, psutil, sys
import numpy as np
import fleet_ingest.robot, policy.runtime
for package in (fleet_ingest.robot, policy.runtime):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
answer = session.run(None, {"x": np.ones((1, 64), np.float32)})[0]
print(json.dumps({
    "answer": float(answer.sum()),
    "megabytes": psutil.Process().memory_info().rss / 1e6,
    "found": [name for name in %r if importlib.util.find_spec(name)],
    "from": str(pathlib.Path(fleet_ingest.robot.__path__[0])),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Returns the distributions that `requirements` pull in, extras and markers obeyed."""
    found: dict[str, Distribution] = {}
    todo = [(Requirement(line), "") for line in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        key = f"{requirement.name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found[key] = distribution(requirement.name)
        for inner in ("", *requirement.extras):
            todo += [(Requirement(line), inner) for line in found[key].requires or []]
    return found


def link(source: Distribution, site: Path) -> None:
    for file in source.files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(Path(str(source.locate_file(file))).resolve())


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and its base requirements alone; returns its bin folder."""
    home = tmp_path_factory.mktemp("base")
    venv.create(home, symlinks=True, with_pip=False)
    site = next(home.glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    for found in closure(required).values():
        link(found, site)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    command = [
        *pip,
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--disable-pip-version-check",
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run([*pip, "check"], check=True, capture_output=True)
    return home / "bin"


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "flows", "simulator", "policy", "fleet_ingest", "storage",
    }  # fmt: skip


def test_the_robot_command_answers(base: Path) -> None:
    answer = subprocess.run([base / "sim2real-robot", "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert "--serial" in answer.stdout


def test_the_robot_runs_a_policy_in_little_memory_without_the_engine(base: Path, tmp_path: Path) -> None:
    model = tmp_path / "sum.onnx"
    weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 1], np.ones((64, 1), np.float32))
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", n]) for name, n in (("x", 64), ("y", 1))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "sum", shapes[:1], shapes[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    command = [str(base / "python"), "-I", "-c", PROBE % (ABSENT,), str(model)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert said["answer"] == 64.0
    assert said["found"] == []
    assert Path(said["from"]).is_relative_to(base.parent)
    assert said["megabytes"] < LIMIT_MB


def test_closure_follows_extras_and_refuses_what_is_absent() -> None:
    names = {key.split("[")[0] for key in closure(["httpx"])}
    assert {"httpx", "httpcore", "anyio", "certifi"} <= names
    assert "h2" not in names
    assert "h2" in {key.split("[")[0] for key in closure(["httpx[http2]"])}
    with pytest.raises(PackageNotFoundError):
        closure(["no-such-package-here"])
