"""The state of a batch of worlds: an explicit tree of tensors over padded entities. Nothing else is carried from
step to step.

Tensors are never written in place by this package; `set` gives a new state. Conditioning caches live in `Worlds`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from storage.contracts.errors import ContractError, UnknownName


@dataclass(frozen=True, eq=False)
class WorldState:
    """Shapes: N worlds, E entities, K slots, Q category slots, J input slots. Physical units unless said.

    Attributes:
        channels: float32 [N, E, K], what sensors would show without their noise. Angles are continuous, not wrapped.
        categories: int64 [N, E, Q], index of the label; events are 0 or 1.
        alive: bool [N, E].
        memory: float32 [N, E, m], latent: what no sensor shows.
        queue: float32 [N, taps, E, J], commands under way, oldest first, in units of their scale.
        z: float32 [N, Z], the scene sample; member: int64 [N], the ensemble member, fixed for a rollout.
        time_s: float64 [N]; world, counter: int64 [N], place in the noise stream.
    """

    channels: Tensor
    categories: Tensor
    alive: Tensor
    memory: Tensor
    queue: Tensor
    z: Tensor
    member: Tensor
    time_s: Tensor
    world: Tensor
    counter: Tensor

    @property
    def n(self) -> int:
        return int(self.channels.shape[0])

    def get(self, name: str) -> Tensor:
        if name not in _names():
            raise UnknownName("part of a world state", name, _names())
        value: Tensor = getattr(self, name)
        return value

    def set(self, name: str, value: Tensor) -> "WorldState":
        """A new state with one part replaced. Raises ContractError if its shape differs."""
        old = self.get(name)
        if value.shape != old.shape:
            raise ContractError(f"state.{name} has shape {tuple(old.shape)}, given {tuple(value.shape)}")
        return replace(self, **{name: value.to(old.dtype)})

    def clone(self) -> "WorldState":
        """A copy that shares no memory, except the scene sample, which is never written."""
        return self.map(lambda name, value: value if name == "z" else value.clone())

    def detach(self) -> "WorldState":
        return self.map(lambda name, value: value if name == "z" else value.detach())

    def where(self, mask: Tensor, other: "WorldState") -> "WorldState":
        """Worlds of `self` where `mask` [N] is true, of `other` elsewhere. Both must come from the same `Worlds`."""

        def pick(name: str, value: Tensor) -> Tensor:
            if name == "z":
                return value
            return torch.where(mask.view(-1, *(1,) * (value.dim() - 1)), value, other.get(name))

        return self.map(pick)

    def map(self, function: Callable[[str, Tensor], Tensor]) -> "WorldState":
        return WorldState(**{name: function(name, getattr(self, name)) for name in _names()})


def _names() -> list[str]:
    return [f.name for f in fields(WorldState)]


@dataclass(frozen=True, eq=False)
class StepOutcome:
    """`reward` [N], None when the simulator learned no logged reward; `terminated` bool [N], drawn with probability
    `hazard` [N], which is differentiable; None when no episode that it learned from ended."""

    reward: Tensor | None
    terminated: Tensor
    hazard: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Events:
    """What happened in a step: `categories` bool [N, E, Q] (label changed), `died` and `appeared` bool [N, E]."""

    categories: Tensor
    died: Tensor
    appeared: Tensor
