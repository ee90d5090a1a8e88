"""From a trained network to an ONNX file and its manifest: equal weights give equal bytes.

PyTorch's exporter writes the graph; what it adds for people (names of source files, stack traces) is dropped, so that bytes do
not depend on where the code lies. Normalisation is inside the graph. This module does not run policies; `policy.runtime` does.
"""

import io
import logging
import warnings

import numpy as np
import onnx
import torch

from policy.network import PolicyNetwork
from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import DataError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

OPSET = 18


def export_onnx(
    network: PolicyNetwork, spec: RobotSpec, task: Task, *, name: str | None = None, simulator: str | None = None, seed: int = 0
) -> tuple[PolicyManifest, bytes]:
    """The manifest and the ONNX bytes of `network`. Raises DataError if the file does not compute what the network does."""
    data = to_onnx(network.cpu().eval(), spec)
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
    steps = network.features.history_steps
    example = (torch.zeros(2, steps, spec.state_layout.width), torch.zeros(2, steps, spec.command_layout.width))
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network, example, input_names=["state_history", "command_history"], output_names=["command"], opset_version=OPSET,
            dynamic_shapes=({0: batch}, {0: batch}), dynamo=True, verbose=False, external_data=False,
        )  # fmt: skip
    buffer = io.BytesIO()
    if program is None:
        raise DataError("the exporter returned no program", code="onnx")
    program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    _strip(model)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def largest_difference(network: PolicyNetwork, onnx_bytes: bytes, spec: RobotSpec, *, n: int = 64, seed: int = 0) -> float:
    """The largest difference of commands between PyTorch and ONNX Runtime over `n` random windows, in half ranges."""
    import onnxruntime

    generator = torch.Generator().manual_seed(seed)
    steps = network.features.history_steps
    state = 3.0 * torch.randn(n, steps, spec.state_layout.width, generator=generator)
    command = 3.0 * torch.randn(n, steps, spec.command_layout.width, generator=generator)
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    answer = session.run(["command"], {"state_history": state.numpy(), "command_history": command.numpy()})[0]
    with torch.no_grad():
        expected = network(state, command).numpy()
    return float(np.abs((answer - expected) / network.features.command_scale.numpy()).max())


def _strip(model: onnx.ModelProto) -> None:
    """Removes what says where and when the graph was made."""
    model.producer_version = ""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
