"""Counter-based noise: a pure function of (seed, world, step), so that world i does not depend on how many worlds
there are.

The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"),
applied to the world, then to the step, then to the lane; normals come from Box and Muller. Not for cryptography.
The functions hold no state; a `Clock` and its `Stream`s only remember numbers that they drew ahead.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_M1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_M2 = -7723592293110705685  # 0x94D049BB133111EB


_AHEAD, _MOST_NUMBERS = 16, 1 << 20
"""Steps whose numbers are drawn at once, as long as they are not more than this many."""


def normal(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """Standard normals [..., count], float32. `world` and `step` are int64 [...]."""
    half = (count + 1) // 2
    bits = _bits(seed, stream, world, step, half)
    radius = torch.sqrt(-2.0 * torch.log(_unit(bits >> 40)))
    angle = (2.0 * math.pi) * _unit(bits >> 8)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)[..., :count]


def uniform(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """Uniforms [..., count] in (0, 1], float32."""
    return _unit(_bits(seed, stream, world, step, count) >> 40)


def _bits(seed: int, stream: int, world: Tensor, step: Tensor, count: int) -> Tensor:
    """int64 [..., count]."""
    key = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + 1) & 0xFFFFFFFFFFFFFFFF
    signed = key - (1 << 64) if key >= 1 << 63 else key
    lane = torch.arange(1, count + 1, dtype=torch.int64, device=world.device) * _GOLDEN
    per_world = _mix(_mix(world * _GOLDEN + signed) + step * _M1)
    return _mix(per_world[..., None] + lane)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _M1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _M2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def _unit(bits: Tensor) -> Tensor:
    """The low 24 bits as a number in (0, 1]."""
    return ((bits & 0xFFFFFF) + 1).to(torch.float32) * (1.0 / (1 << 24))


class Clock:
    """Follows the counters of one batch of worlds from step to step, so that streams may draw ahead."""

    def __init__(self) -> None:
        self._now: Tensor | None = None
        self.first = torch.zeros(0, dtype=torch.int64)
        self.epoch, self.index = 0, 0

    def place(self, counter: Tensor) -> int:
        """Steps since the counter that the present epoch began with; an unknown counter begins another."""
        if counter is not self._now:
            self._now, self.first = counter, counter
            self.epoch, self.index = self.epoch + 1, 0
        return self.index

    def next(self, counter: Tensor) -> Tensor:
        """`counter` + 1, known as what follows `counter`."""
        self.place(counter)
        self._now = counter + 1
        self.index += 1
        return self._now


class Stream:
    """The numbers of one stream for all worlds: those of `draw` (`normal` or `uniform`), some steps at a time."""

    def __init__(
        self, draw: Callable[[int, int, Tensor, Tensor, int], Tensor], seed: int, stream: int, count: int, clock: Clock
    ) -> None:
        self._draw, self._seed, self._stream, self._count, self._clock = draw, seed, stream, count, clock
        self._key: tuple[int, int, int] | None = None
        self._rows: tuple[Tensor, ...] = ()

    def at(self, world: Tensor, counter: Tensor) -> Tensor:
        """[N, count], the same as `draw(seed, stream, world, counter, count)`."""
        index = self._clock.place(counter)
        ahead = max(1, min(_AHEAD, _MOST_NUMBERS // max(1, len(world) * self._count)))
        key = (self._clock.epoch, index // ahead, id(world))
        if key != self._key:
            steps = self._clock.first + torch.arange(ahead, device=world.device)[:, None] + index // ahead * ahead
            self._rows = self._draw(self._seed, self._stream, world.expand(ahead, -1), steps, self._count).unbind(0)
            self._key, self._world = key, world
        return self._rows[index % ahead]
