"""Counter-based noise: a pure function of (seed, world, step), so that world i does not depend on how many worlds
there are.

The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"),
applied to the world, then to the step, then to the lane; normals come from Box and Muller. Not for cryptography.
Holds no state.
"""

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_M1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_M2 = -7723592293110705685  # 0x94D049BB133111EB


def normal(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """Standard normals [N, count], float32. `world` and `step` are int64 [N]."""
    half = (count + 1) // 2
    bits = _bits(seed, stream, world, step, half)
    radius = torch.sqrt(-2.0 * torch.log(_unit(bits >> 40)))
    angle = (2.0 * math.pi) * _unit(bits >> 8)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)[:, :count]


def uniform(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """Uniforms [N, count] in (0, 1], float32."""
    return _unit(_bits(seed, stream, world, step, count) >> 40)


def _bits(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """int64 [N, count]."""
    key = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + 1) & 0xFFFFFFFFFFFFFFFF
    signed = key - (1 << 64) if key >= 1 << 63 else key
    lane = torch.arange(1, count + 1, dtype=torch.int64, device=world.device) * _GOLDEN
    per_world = _mix(_mix(world * _GOLDEN + signed) + step * _M1)
    return _mix(per_world[:, None] + lane)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _M1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _M2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def _unit(bits: Tensor) -> Tensor:
    """The low 24 bits as a number in (0, 1]."""
    return ((bits & 0xFFFFFF) + 1).to(torch.float32) * (1.0 / (1 << 24))
