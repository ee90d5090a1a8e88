"""The learned simulator as `policy.ports` wants it: fleets and worlds whose resets take a policy's window of history.

Row k of a policy's commands acted before row k of its states; the simulator's history starts with a state. Nothing else differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policy.ports import History
from simulator.history import History as SimulatorHistory
from simulator.mixture import MixedScene, can_mix
from simulator.prompt import Prompt
from simulator.scene import Scene
from simulator.simulator import Simulator
from simulator.state import Events, StepOutcome, WorldState
from simulator.worlds import Worlds
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec


class SimulatedWorlds:
    """Sampled worlds of the simulator; see `policy.ports.WorldsPort`."""

    def __init__(self, worlds: Worlds, robot: Tensor) -> None:
        self._worlds = worlds
        self.robot = robot

    @property
    def n(self) -> int:
        return self._worlds.n

    @property
    def spec(self) -> RobotSpec:
        return self._worlds.spec

    def reset(self, history: Any = None, task_start: Any = None, seed: int | None = None) -> WorldState:
        """World states after a policy's window [N, K, ...]; without one, as the simulator draws starts."""
        if history is None:
            return self._worlds.reset(None, task_start, seed)
        window: History = history
        return self._worlds.reset(SimulatorHistory(window.state, window.command[:, 1:]), task_start, seed)

    def step(self, state: WorldState, command: Tensor) -> tuple[WorldState, StepOutcome, Events]:
        return self._worlds.step(state, command)

    def observe(self, state: WorldState) -> Tensor:
        return self._worlds.observe(state)


@dataclass(frozen=True)
class SimulatedFleet:
    """Robots of one specification and one set of scales, stepped as one batch: a step costs about as much as for one of them."""

    scenes: tuple[Scene, ...]

    def sample(self, n: int, seed: int, device: str | torch.device = "cpu") -> SimulatedWorlds:
        """At least `n` worlds, equally many of each robot and of each member of the ensemble."""
        members = self.scenes[0].model.members
        each = math.ceil(n / len(self.scenes) / members) * members
        parts = [scene.sample(each, seed * len(self.scenes) + i, str(device)) for i, scene in enumerate(self.scenes)]
        # World i of a batch is of member i mod M, so blocks of a multiple of M keep their members.
        first, z = parts[0], torch.cat([part.z for part in parts])
        robot = torch.arange(len(parts), device=z.device).repeat_interleave(each)
        return SimulatedWorlds(Worlds(first.model, first.spec, first.frame, z, seed), robot)


def ground_all(simulator: Simulator, spec: RobotSpec, prompts: Sequence[Sequence[Episode]]) -> list[SimulatedFleet]:
    """The robots, each grounded in its own episodes; those of equal scales together, since they can be stepped as one batch."""
    fleets: list[list[Scene]] = []
    for episodes in prompts:
        scene = simulator.ground(Prompt(spec, tuple(episodes)))
        like = next((fleet for fleet in fleets if _alike(fleet[0], scene)), None)
        if like is None:
            fleets.append([scene])
        else:
            like.append(scene)
    return [SimulatedFleet(tuple(fleet)) for fleet in fleets]


def _alike(a: Scene, b: Scene) -> bool:
    return a.model is b.model and a.spec == b.spec and a.frame.scales.to_json() == b.frame.scales.to_json()
