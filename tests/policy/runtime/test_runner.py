"""The ONNX runner against policies whose answers are known by hand."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from policy.runtime.runner import PolicyRunner
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import ContractError, DataError
from storage.contracts.robot import RobotSpec

SPEC = RobotSpec(
    name="two-states",
    control_rate_hz=10,
    channels=(
        Channel(name="a", kind=Kind.LINEAR),
        Channel(name="b", kind=Kind.LINEAR),
        Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND, limits=(-9, 9)),
    ),
    safe_command=(0.5,),
)


def weighted_sum(rows: int, state_weights: np.ndarray, command_weights: np.ndarray, width: int = 2) -> bytes:
    """command = sum over all entries of history * weights: tells every row and column of both windows apart."""
    nodes = [
        helper.make_node("Mul", ["state_history", "ws"], ["a"]),
        helper.make_node("Mul", ["command_history", "wc"], ["b"]),
        helper.make_node("ReduceSum", ["a", "axes"], ["sa"], keepdims=0),
        helper.make_node("ReduceSum", ["b", "axes"], ["sb"], keepdims=0),
        helper.make_node("Add", ["sa", "sb"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "one"], ["command"]),
    ]
    inputs = [
        helper.make_tensor_value_info("state_history", TensorProto.FLOAT, ["B", rows, width]),
        helper.make_tensor_value_info("command_history", TensorProto.FLOAT, ["B", rows, 1]),
    ]
    output = helper.make_tensor_value_info("command", TensorProto.FLOAT, ["B", 1])
    constants = [
        helper.make_tensor("ws", TensorProto.FLOAT, state_weights.shape, state_weights.astype(np.float32)),
        helper.make_tensor("wc", TensorProto.FLOAT, command_weights.shape, command_weights.astype(np.float32)),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(nodes, "sum", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def manifest_for(data: bytes, rows: int) -> PolicyManifest:
    return PolicyManifest(
        name="p", onnx_sha256=sha256_hex(data), spec=SPEC, task="t", history_steps=rows, control_rate_hz=10
    )


def test_windows_are_oldest_first_and_padded_by_the_first_state_and_the_safe_command() -> None:
    # Row weights 1, 10, 100 (states: column a) and 1000, 10000, 100000 (commands).
    states = np.array([[1, 0], [10, 0], [100, 0]])[None]
    commands = np.array([[1000], [10000], [100000]])[None]
    data = weighted_sum(3, states, commands)
    runner = PolicyRunner(manifest_for(data, 3), data)
    runner.reset(np.array([2.0, 7.0]))
    # All rows are the first state: 2 * 111 + 0.5 * 111000
    assert runner.act(np.array([2.0, 7.0])) == pytest.approx([222 + 55500])
    # Windows: states 2, 2, 3; commands 0.5, 0.5, 4
    assert runner.act(np.array([3.0, 7.0]), np.array([4.0])) == pytest.approx([2 + 20 + 300 + 500 + 5000 + 400000])
    # Windows: states 2, 3, 5; commands 0.5, 4, -1
    assert runner.act(np.array([5.0, 7.0]), np.array([-1.0])) == pytest.approx([2 + 30 + 500 + 500 + 40000 - 100000])
    runner.reset(np.array([0.0, 7.0]))
    assert runner.act(np.array([0.0, 7.0])) == pytest.approx([55500])


def test_another_file_than_the_manifests_is_refused() -> None:
    data = weighted_sum(1, np.ones((1, 1, 2)), np.ones((1, 1, 1)))
    other = weighted_sum(1, np.zeros((1, 1, 2)), np.ones((1, 1, 1)))
    with pytest.raises(DataError, match="digest") as caught:
        PolicyRunner(manifest_for(data, 1), other)
    assert caught.value.code == "digest"


def test_what_is_no_onnx_or_has_other_inputs_is_refused() -> None:
    junk = b"not a model"
    with pytest.raises(DataError, match="no ONNX model") as caught:
        PolicyRunner(manifest_for(junk, 1), junk)
    assert caught.value.code == "onnx"
    wide = weighted_sum(2, np.ones((1, 2, 3)), np.ones((1, 2, 1)), width=3)
    with pytest.raises(DataError, match=r"state_history.*expected tensor\(float\) \[B, 2, 2\]"):
        PolicyRunner(manifest_for(wide, 2), wide)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["command"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 1])],
        [helper.make_tensor_value_info("command", TensorProto.FLOAT, ["B", 1])],
    )
    named = bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    onnx.checker.check_model(onnx.load_from_string(named))
    with pytest.raises(DataError, match=r"inputs \['x'\]"):
        PolicyRunner(manifest_for(named, 1), named)


def test_not_finite_answers_are_passed_on_and_shapes_are_checked() -> None:
    data = weighted_sum(1, np.ones((1, 1, 2)), np.ones((1, 1, 1)))
    runner = PolicyRunner(manifest_for(data, 1), data)
    with pytest.raises(ContractError, match="reset"):
        runner.act(np.zeros(2))
    runner.reset(np.array([np.nan, 0.0]))
    assert np.isnan(runner.act(np.array([np.nan, 0.0]))).all()
    with pytest.raises(ContractError, match=r"expected \(2,\)"):
        runner.act(np.zeros(3))


def test_the_runtime_needs_no_torch() -> None:
    code = "import sys, policy.runtime.runner; print([m for m in ('torch', 'ray', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
