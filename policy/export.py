"""From a trained network to an ONNX file and its manifest: equal weights give equal bytes.

The graph is written out node by node, because PyTorch's exporter takes seconds and writes names of source files into
it. It says again what `policy.features` and `policy.network` compute; a test holds the two together.
This module does not run policies; `policy.runtime` does.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from policy.network import PolicyNetwork
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

OPSET = 18
IR_VERSION = 9


def export_onnx(
    network: PolicyNetwork,
    spec: RobotSpec,
    task: Task,
    *,
    name: str | None = None,
    simulator: str | None = None,
    seed: int = 0,
) -> tuple[PolicyManifest, bytes]:
    """The manifest and the ONNX bytes of `network`. Raises ContractError if it is for other columns than `spec`."""
    data = to_onnx(network, spec)
    manifest = PolicyManifest(
        name=name or task.name,
        onnx_sha256=sha256_hex(data),
        spec=spec,
        task=task.name,
        history_steps=network.features.history_steps,
        control_rate_hz=spec.control_rate_hz,
        simulator=simulator,
        seed=seed,
    )
    return manifest, data


def to_onnx(network: PolicyNetwork, spec: RobotSpec) -> bytes:
    """ONNX bytes with inputs `state_history`, `command_history` and output `command`, dynamic in the batch."""
    features = network.features
    steps, states, commands = features.history_steps, spec.state_layout.width, spec.command_layout.width
    found = (len(features.state_centre), len(features.command_centre))
    if found != (states, commands):
        raise ContractError(
            f"the network reads {found} state and command columns; '{spec.name}' has {(states, commands)}"
        )
    graph = _Graph()
    answer = _squash(graph, network, _body(graph, network.body, _features(graph, network)))
    graph.add("Identity", [answer], name="command")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [
                helper.make_tensor_value_info("state_history", TensorProto.FLOAT, ["batch", steps, states]),
                helper.make_tensor_value_info("command_history", TensorProto.FLOAT, ["batch", steps, commands]),
            ],
            [helper.make_tensor_value_info("command", TensorProto.FLOAT, ["batch", commands])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sim2real",
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    """Nodes and constants in the order in which they were added; numbered, so equal graphs have equal bytes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], *, name: str | None = None, **attributes: float | int) -> str:
        output = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, tensor: Tensor) -> str:
        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _features(graph: _Graph, network: PolicyNetwork) -> str:
    """See `policy.features.Features.forward`."""
    f = network.features
    parts = []
    if len(f.angle_columns):
        angle = graph.add("Gather", ["state_history", graph.constant(f.angle_columns)], axis=2)
        parts += [graph.add("Sin", [angle]), graph.add("Cos", [angle])]
    for source, centre, scale, columns in (
        ("state_history", f.state_centre, f.state_scale, f.other_columns),
        ("command_history", f.command_centre, f.command_scale, None),
    ):
        if columns is not None and not len(columns):
            continue
        value = graph.add("Sub", [source, graph.constant(centre)])
        value = graph.add("Div", [value, graph.constant(scale)])
        if columns is not None:
            value = graph.add("Gather", [value, graph.constant(columns)], axis=2)
        parts.append(graph.add("Asinh", [value]))
    joined = graph.add("Concat", parts, axis=2)
    return graph.add("Flatten", [joined], axis=1)


def _body(graph: _Graph, body: nn.Sequential, value: str) -> str:
    for layer in body:
        match layer:
            case nn.Linear():
                value = graph.add("Gemm", [value, graph.constant(layer.weight), graph.constant(layer.bias)], transB=1)
            case nn.LayerNorm():
                inputs = [value, graph.constant(layer.weight), graph.constant(layer.bias)]
                value = graph.add("LayerNormalization", inputs, axis=-1, epsilon=layer.eps)
            case nn.ELU():
                value = graph.add("Elu", [value], alpha=layer.alpha)
            case _:
                raise ContractError(f"a policy is made of Linear, LayerNorm and ELU; found {type(layer).__name__}")
    return value


def _squash(graph: _Graph, network: PolicyNetwork, value: str) -> str:
    """See `policy.network.PolicyNetwork.squash`."""
    f = network.features
    bent = graph.add("Tanh", [value])
    scaled = graph.add("Mul", [bent, graph.constant(f.command_scale)])
    return graph.add("Add", [scaled, graph.constant(f.command_centre)])


def largest_difference(
    network: PolicyNetwork, onnx_bytes: bytes, spec: RobotSpec, *, n: int = 64, seed: int = 0
) -> float:
    """The largest difference of commands between PyTorch and ONNX Runtime over `n` random windows, in half ranges."""
    import onnxruntime

    generator = torch.Generator().manual_seed(seed)
    steps = network.features.history_steps
    state = 3.0 * torch.randn(n, steps, spec.state_layout.width, generator=generator)
    command = 3.0 * torch.randn(n, steps, spec.command_layout.width, generator=generator)
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    answer = session.run(["command"], {"state_history": state.numpy(), "command_history": command.numpy()})[0]
    with torch.no_grad():
        expected = network.cpu()(state, command).numpy()
    return float(np.abs((answer - expected) / network.features.command_scale.numpy()).max())
