"""Scales of a scene: from the specification's limits and units, refined by robust statistics of data, then frozen.

There is no table per robot: two robots of equal structure share scales, and a robot never seen gets them from its
specification and its prompt by the same rule. Scales are features of the network too.
"""

from dataclasses import dataclass

import numpy as np

from simulator.structure import Structure
from storage.contracts.channel import Channel

_UNIT_SCALE = {"m": 0.5, "rad": 1.0, "m/s": 1.0, "rad/s": 3.0, "N": 10.0, "N*m": 1.0, "V": 5.0, "K": 10.0}
_ENOUGH = 100
_RESIDUAL = 0.1
"""Share of a velocity's scale that the learned residual on a position's rate is expressed in."""


@dataclass(frozen=True)
class Scales:
    """`center`, `scale` [E, K] in channel units; `rate` [E, K] per second; `input_center`, `input_scale` [E, J];
    `wrapped` [E, K] is 1 for angles that logs give within [-pi, pi]."""

    center: np.ndarray
    scale: np.ndarray
    rate: np.ndarray
    input_center: np.ndarray
    input_scale: np.ndarray
    wrapped: np.ndarray

    def to_json(self) -> dict[str, object]:
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, values: dict[str, list[list[float]]]) -> "Scales":
        return cls(**{name: np.array(values[name], dtype=np.float32) for name in cls.__dataclass_fields__})

    def close_to(self, other: "Scales", factor: float = 2.0) -> bool:
        """Are all scales within `factor` of the other's?"""
        ratios = [self.scale / other.scale, self.rate / other.rate, self.input_scale / other.input_scale]
        return all(bool(((r < factor) & (r > 1 / factor)).all()) for r in ratios)


def scales_of(
    structure: Structure,
    slots: np.ndarray,
    valid: np.ndarray,
    inputs: np.ndarray,
    rates: np.ndarray,
    rate_valid: np.ndarray,
) -> Scales:
    """Scales from samples `slots` [n, E, K] (with `valid`), `inputs` [n, E, J] and `rates` [n, E, K] in units per
    second.

    Fewer than 100 valid samples of a slot leave it with what its specification says. n may be 0.
    """
    shape = structure.shape
    center, scale = _nominal(structure.channel_at, structure.present.shape)
    input_center, input_scale = _nominal(structure.input_at, structure.input_present.shape)
    rate = scale / 0.5
    wrapped = structure.angle & (np.abs(np.where(valid, slots, 0.0)).max(0, initial=0.0) <= np.pi + 1e-5)
    for e, k in structure.channel_at:
        middle, spread = _robust(slots[valid[:, e, k], e, k])
        if spread is not None and spread > 0:
            is_derivative = shape.pairs <= k < 2 * shape.pairs
            center[e, k], scale[e, k] = (0.0 if is_derivative else middle), spread
        _, change = _robust(rates[rate_valid[:, e, k], e, k])
        rate[e, k] = change if change is not None and change > 0 else scale[e, k] / 0.5
    for e, j in structure.input_at:
        _, spread = _robust(inputs[:, e, j])
        if structure.input_at[e, j][0].limits is None and spread is not None and spread > 0:
            input_scale[e, j] = spread
    for e, k in structure.channel_at:
        if k < shape.pairs:
            rate[e, k] = _RESIDUAL * scale[e, k + shape.pairs]
        if structure.angle[e, k] or structure.unit_group[e, k] >= 0:
            center[e, k], scale[e, k] = 0.0, 1.0
    arrays = (center, scale, rate, input_center, input_scale, wrapped)
    return Scales(*(a.astype(np.float32) for a in arrays))


def _nominal(at: dict[tuple[int, int], tuple[Channel, int]], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    center, scale = np.zeros(shape), np.ones(shape)
    for place, (channel, _) in at.items():
        if channel.limits is not None and np.isfinite(channel.limits).all():
            center[place] = (channel.limits[0] + channel.limits[1]) / 2
            scale[place] = (channel.limits[1] - channel.limits[0]) / 2
        else:
            scale[place] = _UNIT_SCALE.get(channel.unit, 1.0)
    return center, scale


def _robust(values: np.ndarray) -> tuple[float, float | None]:
    """Median and the spread that would be a Gaussian's standard deviation: from the 5 % and 95 % quantiles, else
    the std."""
    if len(values) < _ENOUGH:
        return 0.0, None
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    spread = (high - low) / 3.29
    return float(middle), float(spread if spread > 1e-9 else values.std())
