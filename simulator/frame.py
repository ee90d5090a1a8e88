"""A structure and its scales as tensors: what the network needs to read and write one kind of robot in physical
units.

Internal layout, everywhere in this package: [M, E, B, ...] - members, entities, batch - so that one batched matrix
product serves all members and pooling over entities is another.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulator.features import static_features
from simulator.scales import Scales
from simulator.structure import CHUNK_KNOTS, KNOT_S, Structure, knot_count, tap_count


@dataclass(frozen=True, eq=False)
class Frame:
    """Tensors [E, 1, K] broadcast over the internal layout. `dt` is the control period in seconds.

    `step_scale` is the change of a slot in one period; `adjacency` [3E, E]; `unit_matrix` [E, K, K] or None;
    `static` [E, F]; a knot of history is `knot_stride` rows apart, a knot of a prompt's chunk `chunk_stride`.
    """

    structure: Structure
    scales: Scales
    center: Tensor
    scale: Tensor
    rate: Tensor
    step_scale: Tensor
    present: Tensor
    angle: Tensor
    wrapped: Tensor
    unit_matrix: Tensor | None
    input_center: Tensor
    input_scale: Tensor
    input_present: Tensor
    label_mask: Tensor
    tap_mask: Tensor
    adjacency: Tensor
    static: Tensor
    dt: float
    knots: int
    knot_stride: int
    chunk_stride: int

    @classmethod
    def of(
        cls, structure: Structure, scales: Scales, *, history_s: float, delay_s: float, device: str = "cpu"
    ) -> "Frame":
        spec, shape = structure.spec, structure.shape
        dt = spec.period_s
        knots = min(shape.knots, knot_count(spec, history_s))
        taps = min(shape.taps, tap_count(spec, delay_s))
        labels = np.arange(max(1, shape.labels))[None, None] < structure.label_count[:, :, None]

        def put(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device=device, dtype=dtype)

        base = put(scales.rate)[:, None] * dt
        return cls(
            structure=structure, scales=scales, center=put(scales.center)[:, None], scale=put(scales.scale)[:, None],
            rate=put(scales.rate)[:, None], step_scale=base, present=put(structure.present, torch.bool)[:, None],
            angle=put(structure.angle, torch.bool)[:, None], wrapped=put(scales.wrapped, torch.bool),
            unit_matrix=None if structure.unit_matrix is None else put(structure.unit_matrix),
            input_center=put(scales.input_center), input_scale=put(scales.input_scale),
            input_present=put(structure.input_present), label_mask=put(labels, torch.bool)[:, None],
            tap_mask=put(np.arange(shape.taps) >= shape.taps - taps), adjacency=put(structure.adjacency),
            static=put(static_features(structure, scales)), dt=dt, knots=knots,
            knot_stride=max(1, int(history_s * spec.control_rate_hz / knots + 1e-6)),
            chunk_stride=max(1, round(KNOT_S * spec.control_rate_hz)),
        )  # fmt: skip

    @property
    def history_rows(self) -> int:
        """Past rows that a reset reads, for knots and for commands under way."""
        return max(self.structure.shape.knots * self.knot_stride, self.structure.shape.taps)

    @property
    def chunk_rows(self) -> int:
        return CHUNK_KNOTS * self.chunk_stride

    def normalise_inputs(self, inputs: Tensor) -> Tensor:
        """[..., E, J] physical to scaled; absent slots are zero."""
        return (inputs - self.input_center) / self.input_scale * self.input_present

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b for [M, E, B, K], angles wrapped to [-pi, pi)."""
        return wrap_where(a - b, self.angle)

    def renormalise(self, x: Tensor) -> Tensor:
        """Projects directions and orientations of [M, E, B, K] back to unit length."""
        if self.unit_matrix is None:
            return x
        squared = torch.matmul(x * x, self.unit_matrix)
        return torch.where(squared > 0, x * torch.rsqrt(squared.clamp_min(1e-12)), x)


def wrap_where(delta: Tensor, angle: Tensor) -> Tensor:
    """Wraps to [-pi, pi) where `angle`; the gradient is that of `delta`."""
    turns = torch.floor((delta.detach() + torch.pi) / (2 * torch.pi)) * (2 * torch.pi)
    return torch.where(angle, delta - turns, delta)
