"""Many worlds at once get what each would get alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from policy.runtime.batch import BatchRunner
from policy.runtime.runner import PolicyRunner
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import ContractError
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


def policy() -> tuple[PolicyManifest, bytes]:
    """command = 1, 10 (states, column a) and 100, 1000 (commands) times the rows of the windows, oldest first."""
    weights = {"ws": np.array([[[1, 0], [10, 0]]]), "wc": np.array([[[100], [1000]]])}
    nodes = [
        helper.make_node("Mul", ["state_history", "ws"], ["a"]),
        helper.make_node("Mul", ["command_history", "wc"], ["b"]),
        helper.make_node("ReduceSum", ["a", "axes"], ["sa"], keepdims=0),
        helper.make_node("ReduceSum", ["b", "axes"], ["sb"], keepdims=0),
        helper.make_node("Add", ["sa", "sb"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "one"], ["command"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2, width])
        for name, width in (("state_history", 2), ("command_history", 1))
    ]
    output = helper.make_tensor_value_info("command", TensorProto.FLOAT, ["B", 1])
    constants = [
        *(helper.make_tensor(n, TensorProto.FLOAT, w.shape, w.astype(np.float32)) for n, w in weights.items()),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(nodes, "sum", inputs, [output], constants)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = bytes(model.SerializeToString())
    manifest = PolicyManifest(
        name="p", onnx_sha256=sha256_hex(data), spec=SPEC, task="t", history_steps=2, control_rate_hz=10
    )
    return manifest, data


def test_each_world_gets_what_it_would_get_alone() -> None:
    many, alone = BatchRunner(*policy()), [PolicyRunner(*policy()) for _ in range(3)]
    states = np.arange(24, dtype=float).reshape(4, 3, 2)
    many.reset(states[0])
    for runner, first in zip(alone, states[0], strict=True):
        runner.reset(first)
    last: np.ndarray | None = None
    for t in range(4):
        found = many.act(states[t], last)
        expected = [r.act(states[t, i], None if last is None else last[i]) for i, r in enumerate(alone)]
        assert found == pytest.approx(np.stack(expected))
        last = found * 1e-3 + t
    # the first call by hand: rows are both the first state and the safe command
    many.reset(states[0])
    assert many.act(states[0])[2, 0] == pytest.approx(4 + 40 + 50 + 500)


def test_worlds_begin_before_they_act() -> None:
    runner = BatchRunner(*policy())
    with pytest.raises(ContractError, match="reset"):
        runner.act(np.zeros((3, 2)))
    runner.reset(np.zeros((3, 2)))
    with pytest.raises(ContractError, match="reset"):
        runner.act(np.zeros((4, 2)))
