"""What training believes about each robot that it learns from: a posterior over its scene latent, learned beside the
weights.

It is scaffolding: most scenes of a batch take their robot's latent from here, so that the latent means something from
the first update on; logs are read by inverting what was learned (`inference`), and the encoder of notes learns to say
the same (amortised inference; Papamakarios and Murray 2016). It is dropped when training ends: a simulator knows robots
by their prompts only. What a batch withholds of a specification is added to it by `network.hidden`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulator.config import SimulatorConfig
from simulator.fleet import Group

_DEVIATION = 0.3
"""Deviation that a posterior starts with."""


@dataclass(frozen=True, eq=False)
class KnownRobots:
    """`names` [G]: serials of each group, in the order of their posteriors; `first` [G]: the first column of each
    group; `serial` [G]: per group the index of each of its robots' serial; `width` columns in all. A robot under
    several specifications has one posterior: what differs is specified."""

    names: tuple[tuple[str, ...], ...]
    first: tuple[int, ...]
    serial: tuple[Tensor, ...]
    width: int
    scene: int

    @classmethod
    def of(cls, groups: Sequence[Group], config: SimulatorConfig) -> "KnownRobots":
        orders, first, serials, width = [], [], [], 0
        for group in groups:
            names = [name.rpartition("@")[0] for name in group.recording.robots]
            order = sorted(set(names))
            orders.append(tuple(order))
            first.append(width)
            serials.append(torch.tensor([order.index(name) for name in names]))
            width += 2 * len(order) * group.frame.structure.entities * config.scene
        return cls(tuple(orders), tuple(first), tuple(serials), width, config.scene)

    def initial(self, members: int) -> Tensor:
        """[M, width]: mean 0 and deviation `_DEVIATION` for everyone."""
        flat = torch.zeros(members, self.width // 2, 2)
        flat[..., 1] = float(np.log(_DEVIATION))
        return flat.flatten(1)

    def beginning_with(self, read: Callable[[int, str], tuple[Tensor, Tensor]]) -> Tensor:
        """[M, width]: what `read(group number, serial)` says, mean and deviation [M, E * Z]. Weights that were trained
        before expect each robot's own latent, and would unlearn under another."""
        found = [read(place, name) for place, names in enumerate(self.names) for name in names]
        return torch.cat([torch.stack([mean, deviation.log()], -1).flatten(1) for mean, deviation in found], dim=1)

    def posterior(self, columns: Tensor, place: int, entities: int, robot: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation [M, E, G, Z] of the robots `robot` [M, G] of group number `place`."""
        own = self._table(columns, place, entities)
        index = self.serial[place][robot]
        found = own[torch.arange(len(robot))[:, None], index].transpose(1, 2)
        return found[..., 0], torch.exp(found[..., 1])

    def mismatch(self, columns: Tensor, place: int, entities: int) -> Tensor:
        """[M]: how far the latents of all robots of a group together are from the prior N(0, 1), by their first two
        moments, over latents. A scene without a prompt should spread as its kind of robots does: means move apart for
        it, what is known of each robot is no less sure."""
        own = self._table(columns, place, entities)
        mean, spread = own[..., 0].mean(1), own[..., 0].var(1, correction=0)
        second = spread + torch.exp(2.0 * own[..., 1].detach()).mean(1)
        return (mean**2 + (second - 1.0) ** 2).sum((1, 2))

    def _table(self, columns: Tensor, place: int, entities: int) -> Tensor:
        """[M, R, E, Z, 2] means and logarithms of deviations."""
        count = len(self.names[place])
        size = 2 * count * entities * self.scene
        part = columns[:, self.first[place] : self.first[place] + size]
        return part.reshape(-1, count, entities, self.scene, 2)
