"""Several robots of one specification as one scene: their worlds are stepped in one batch, not in one each.

Small batches cost as much as large ones, so that training over a fleet in one scene is nearly as cheap as over one
robot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from simulator import latent
from simulator.scene import Scene
from simulator.worlds import Worlds
from storage.contracts.errors import InputError


@dataclass(frozen=True, eq=False)
class MixedScene:
    """R scenes of one simulator, specification and scale.

    World i is of robot (i div M) mod R and has member i mod M.
    """

    scenes: tuple[Scene, ...]

    def sample(self, n: int, seed: int, device: str = "cpu", *, compiled: bool = False) -> Worlds:
        """`n` hypotheses about these robots.

        Which robot and member world i has, and its sample, does not depend on n.
        """
        if n < 1:
            raise InputError(f"a scene is sampled into at least one world, given n={n}")
        first = self.scenes[0]
        member, robot = torch.arange(n) % first.model.members, self.robots(n)
        mean, factor = (torch.cat([getattr(s, name) for s in self.scenes]) for name in ("mean", "factor"))
        own = robot * first.model.members + member
        normal = latent.normals(seed, n, mean.shape[1], first.model.config.scene)
        z = mean[own] + first.model.temperature.scene * latent.away(factor, own, normal)
        return Worlds(first.model, first.spec, first.frame_on(device), z.to(device), seed, compiled=compiled)

    def first_members(self, count: int) -> "MixedScene":
        """As the first `count` members of the ensemble see the robots."""
        model = self.scenes[0].model
        fewer = model.with_theta(model.theta[:count])
        scenes = [replace(s, model=fewer, mean=s.mean[:count], factor=s.factor[:count]) for s in self.scenes]
        return MixedScene(tuple(scenes))

    def robots(self, n: int) -> torch.Tensor:
        """[n] index of the scene that each world belongs to."""
        return torch.arange(n) // self.scenes[0].model.members % len(self.scenes)


def can_mix(scenes: Sequence[Scene]) -> bool:
    """Whether the scenes share simulator, specification and scales: robots that the simulator knows do."""
    first = scenes[0]
    return all(
        s.model is first.model and s.spec.digest == first.spec.digest and s.frame.scales is first.frame.scales
        for s in scenes
    )
