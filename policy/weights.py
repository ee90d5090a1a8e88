"""A policy network as safetensors bytes, to train on from it. Robots do not need these; they run ONNX."""

import json

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from policy.features import Scales
from policy.network import PolicyNetwork
from storage.contracts.errors import DataError

_SHAPE = "shape"


def pack_network(network: PolicyNetwork) -> bytes:
    """Equal weights give equal bytes."""
    hidden = [layer for layer in network.body if isinstance(layer, torch.nn.Linear)][:-1]
    angles = network.features.angle_columns.tolist()
    shape = {
        "history_steps": network.features.history_steps,
        "width": hidden[0].out_features,
        "depth": len(hidden),
        "angles": angles,
    }
    encoded = torch.tensor(list(json.dumps(shape, sort_keys=True).encode()), dtype=torch.uint8)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(network.state_dict().items())}
    data: bytes = to_bytes({**tensors, _SHAPE: encoded})
    return data


def unpack_network(data: bytes) -> PolicyNetwork:
    """Raises DataError (code `corrupt`) for bytes that `pack_network` did not write."""
    try:
        tensors = from_bytes(data)
        shape = json.loads(bytes(tensors.pop(_SHAPE).tolist()))
        names = ("state_centre", "state_scale", "command_centre", "command_scale")
        constants = {name: tensors[f"features.{name}"].double().numpy() for name in names}
        angle = np.zeros(len(constants["state_centre"]), dtype=bool)
        angle[shape["angles"]] = True
        network = PolicyNetwork(
            Scales(**constants, angle=angle), shape["history_steps"], shape["width"], shape["depth"]
        )
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise DataError(f"these are not the weights of a policy: {error}", code="corrupt") from error
    return network
