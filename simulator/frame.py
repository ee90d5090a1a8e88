"""A structure and its scales as tensors: what the network needs to read and write one kind of robot in physical
units.

Internal layout, everywhere in this package: [M, E, B, ...] - members, entities, batch - so that one batched matrix
product serves all members and pooling over entities is another.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from simulator.features import static_features
from simulator.kinetics import Ties
from simulator.scales import Scales
from simulator.structure import Structure, knot_count, tap_count


@dataclass(frozen=True, eq=False)
class Frame:
    """Tensors [E, 1, K] broadcast over the internal layout; a scaled value is `x * inverse + offset`.

    `low`, `high` bound the inner nine tenths of a limited range, `depth` is one over the outer tenth; `step_scale` is
    the change of a slot in one control period `dt` (seconds); `rate_unit` its change in a second, `present_rate` the
    same and 0 for absent slots; `ties` of what moves together; `adjacency` [3E, E]; `unit_matrix` [E, K, K] or None;
    `static` [E, F]; knots of history are `knot_stride` rows apart.
    """

    structure: Structure
    scales: Scales
    scale: Tensor
    inverse: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    depth: Tensor
    limited: Tensor
    present_rate: Tensor
    rate_unit: Tensor
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
    lineage: Tensor
    turning: Tensor
    static: Tensor
    ties: Ties | None
    any_angle: bool
    any_limited: bool
    all_present: bool
    dt: float
    knots: int
    knot_stride: int

    @classmethod
    def of(
        cls, structure: Structure, scales: Scales, *, history_s: float, delay_s: float, device: str = "cpu"
    ) -> "Frame":
        spec = structure.spec
        knots = min(structure.shape.knots, knot_count(spec, history_s))
        tables = {name: torch.from_numpy(a).to(device) for name, a in _slot_tables(structure, scales).items()}
        tables |= {name: torch.from_numpy(a).to(device) for name, a in _tables(structure, scales, delay_s).items()}
        unit = structure.unit_matrix
        return cls(
            structure=structure,
            scales=scales,
            ties=None if structure.mechanism is None else Ties.of(structure.mechanism, device),
            unit_matrix=None if unit is None else torch.from_numpy(unit).to(device),
            any_angle=bool(structure.angle.any()),
            any_limited=bool(tables["limited"].any()),
            all_present=bool(structure.present.all()),
            dt=spec.period_s,
            knots=knots,
            knot_stride=max(1, int(history_s * spec.control_rate_hz / knots + 1e-6)),
            **tables,
        )

    @property
    def substeps(self) -> int:
        """Parts of a control period, none longer than `SUBSTEP_S`."""
        return max(1, math.ceil(self.dt / SUBSTEP_S - 1e-6)) if self.structure.shape.pairs else 1

    @property
    def substep(self) -> float:
        return self.dt / self.substeps

    @property
    def history_rows(self) -> int:
        """Past rows that a reset reads, for knots and for commands under way."""
        return max(self.structure.shape.knots * self.knot_stride, self.structure.shape.taps)

    def normalise_inputs(self, inputs: Tensor, rows: int = 0) -> Tensor:
        """[..., E, B, (rows,) J] physical to scaled; absent slots are zero. `rows`: axes between B and J."""
        center, scale, present = self.input_center, self.input_scale, self.input_present
        for _ in range(rows):
            center, scale, present = center[..., None, :], scale[..., None, :], present[..., None, :]
        return (inputs - center) / scale * present

    def rescaled(self, slot: Tensor, rate: Tensor, inputs: Tensor) -> "Frame":
        """The frame with scales times `slot`, rates times `rate` [M, E, B, K] and input scales times `inputs` [M, E, B,
        J], one per world: training varies them, so that a robot's own scales need not be those of any other."""
        return replace(
            self,
            scale=self.scale * slot,
            inverse=self.inverse / slot,
            offset=self.offset / slot,
            present_rate=self.present_rate * rate,
            rate_unit=self.rate_unit * rate,
            step_scale=self.step_scale * rate,
            input_scale=self.input_scale * inputs,
        )

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b for [..., E, (...,) B, K], angles wrapped to [-pi, pi)."""
        delta = a - b
        if not self.any_angle:
            return delta
        return wrap_where(delta, self.angle if delta.dim() < 6 else self.angle[:, None])

    def renormalise(self, x: Tensor) -> Tensor:
        """Projects directions and orientations of [M, E, B, K] back to unit length."""
        if self.unit_matrix is None:
            return x
        squared = torch.matmul(x * x, self.unit_matrix)
        return torch.where(squared > 0, x * torch.rsqrt(squared.clamp_min(1e-12)), x)


SUBSTEP_S = 0.05
_INNER = 0.9
_DEPTH = 2 * _INNER / (1 - _INNER)


def _slot_tables(structure: Structure, scales: Scales) -> dict[str, np.ndarray]:
    """[E, 1, K] by name of the field."""
    low, high, limited = _limits(structure)
    real = {
        "scale": scales.scale,
        "inverse": 1.0 / scales.scale,
        "offset": -scales.center / scales.scale,
        "low": low,
        "high": high,
        "depth": _DEPTH / (high - low),
        "present_rate": scales.rate * structure.present,
        "rate_unit": scales.rate,
        "step_scale": scales.rate * structure.spec.period_s,
    }
    flags = {"limited": limited, "present": structure.present, "angle": structure.angle}
    found = {name: a[:, None].astype(np.float32) for name, a in real.items()}
    return found | {name: a[:, None].astype(bool) for name, a in flags.items()}


def _tables(structure: Structure, scales: Scales, delay_s: float) -> dict[str, np.ndarray]:
    shape = structure.shape
    taps = min(shape.taps, tap_count(structure.spec, delay_s))
    labels = np.arange(max(1, shape.labels))[None, None] < structure.label_count[:, :, None]
    return {
        "wrapped": scales.wrapped.astype(bool),
        "label_mask": labels[:, None],
        "input_center": scales.input_center[:, None].astype(np.float32),
        "input_scale": scales.input_scale[:, None].astype(np.float32),
        "input_present": structure.input_present[:, None].astype(np.float32),
        "tap_mask": (np.arange(shape.taps) >= shape.taps - taps)[:, None].astype(np.float32),
        "adjacency": structure.adjacency.copy(),
        "lineage": structure.lineage,
        "turning": structure.angle[:, :1, None].astype(np.float32) * (shape.pairs > 0),
        "static": static_features(structure, scales),
    }


def _limits(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds [E, K] of the inner nine tenths of each slot's range, and which slots have one. Angles have none."""
    low, high = np.full(structure.present.shape, -1.0), np.ones(structure.present.shape)
    limited = np.zeros_like(structure.present)
    for place, (channel, _) in structure.channel_at.items():
        if channel.limits is not None and np.isfinite(channel.limits).all() and not structure.angle[place]:
            center, half = sum(channel.limits) / 2, (channel.limits[1] - channel.limits[0]) / 2
            low[place], high[place] = center - _INNER * half, center + _INNER * half
            limited[place] = True
    return low, high, limited


def wrap_where(delta: Tensor, angle: Tensor) -> Tensor:
    """Wraps to [-pi, pi) where `angle`; the gradient is that of `delta`."""
    turns = torch.floor((delta.detach() + torch.pi) / (2 * torch.pi)) * (2 * torch.pi)
    return torch.where(angle, delta - turns, delta)
