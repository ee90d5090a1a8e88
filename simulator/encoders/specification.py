"""Prompt encoder for the specification: the more quantities of an entity it says, the less is left to be unsure of.

What their values do is the network's; this is about what stays open. It looks at no value and no name.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from simulator import features, network
from simulator.config import SimulatorConfig
from simulator.encoders.registry import Factors
from simulator.frame import Frame
from simulator.network import Weights
from simulator.prompt import Prompt
from simulator.structure import Shape

_GAIN = 10.0
"""On weights, so that they learn as fast as they have to move: there are few of them."""


class SpecificationEncoder:
    name = "specification"
    parts = ("robot",)

    def layout(self, shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
        quantities = len(features.physical_fields(shape))
        return {"specification.small": (quantities, config.scene), "specification.b": (config.scene,)}

    def factors(self, w: Weights, frame: Frame, prompt: Prompt) -> Factors | None:
        members = w["specification.b"].shape[0]
        precision = self.precision(w, frame, frame.static[None, :, None].expand(members, -1, -1, -1))
        precision = precision.transpose(1, 2).flatten(2)
        return Factors(torch.zeros_like(precision), precision)

    def precision(self, w: Weights, frame: Frame, static: Tensor) -> Tensor:
        """[M, E, B, Z] of `static` [M, E, B, F]: of the opinion that nothing is unusual."""
        said = static[..., features.said_columns(frame.structure.shape)]
        raw = network.linear(said, _GAIN * w["specification.small"], _GAIN * w["specification.b"])
        return softplus(raw - 2.0)


ENCODER = SpecificationEncoder()
