"""How unlike a state is to all that robots have logged: what exploring policies are paid for.

Where no log has shown any reward there is nothing to train on but this. A policy that reaches what nobody has logged
brings home what the simulator knows least (state novelty by distance to the nearest of a covering set, compare Liu and
Abbeel 2021, arXiv:2103.04551). It judges single states, and says nothing of what they are worth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from policy.coverage import half_range, spread_out
from policy.windows import LoggedStarts

REFERENCES = 256
_NEAREST = 1e-6
"""Squared distance at which the root has a gradient still."""


@dataclass(frozen=True)
class Novelty:
    """`known` [R, S]: states that cover the logs, in units of `scale` [S], half of the range of the middle nine tenths
    of each column."""

    known: Tensor
    scale: Tensor

    @classmethod
    def of(cls, logged: LoggedStarts, generator: torch.Generator) -> "Novelty":
        """Raises ValueError without any logged window."""
        if not len(logged):
            raise ValueError("novelty is told from logged states, and there are none")
        states = logged.windows.state[:, -1]
        scale = half_range(states)
        return cls((states / scale)[spread_out(states / scale, REFERENCES, generator)], scale)

    def __call__(self, state: Tensor) -> Tensor:
        """[N] in [0, 1): d / (1 + d) of `state` [N, S], where d is the distance to the nearest known state, a root mean
        square over columns."""
        apart = (state / self.scale)[:, None] - self.known
        nearest = apart.square().mean(dim=2).amin(dim=1)
        distance = torch.sqrt(nearest + _NEAREST)
        return distance / (1.0 + distance)

    def to(self, device: torch.device) -> "Novelty":
        return Novelty(self.known.to(device), self.scale.to(device))
