"""The learned simulator as `policy.ports` wants it: fleets and worlds whose resets take a policy's window of history.

Row k of a policy's commands acted before row k of its states; the simulator's history starts with a state. Nothing
else differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """Robots that are stepped as one batch; a step costs about as much as for one of them. `compiled` worlds take long
    to begin with and then less than half the time a step."""

    scene: MixedScene
    compiled: bool = False

    def sample(self, n: int, seed: int, device: str | torch.device = "cpu") -> SimulatedWorlds:
        worlds = self.scene.sample(n, seed, str(device), compiled=self.compiled)
        return SimulatedWorlds(worlds, self.scene.robots(n).to(worlds.device))

    def certain(self) -> "SimulatedFleet":
        """The fleet with one hypothesis per robot and member: the mean of the posterior."""
        known = (replace(scene, factor=torch.zeros_like(scene.factor)) for scene in self.scene.scenes)
        return replace(self, scene=MixedScene(tuple(known)))

    @property
    def members(self) -> int:
        return self.scene.scenes[0].model.members

    def first_members(self, count: int) -> "SimulatedFleet":
        """The fleet as the first `count` members of the ensemble see it."""
        return replace(self, scene=self.scene.first_members(count))


def ground_all(simulator: Simulator, spec: RobotSpec, prompts: Sequence[Sequence[Episode]]) -> list[SimulatedFleet]:
    """The robots, each grounded in its own episodes; those that can be stepped as one batch together."""
    fleets: list[list[Scene]] = []
    for episodes in prompts:
        scene = simulator.ground(Prompt(spec, tuple(episodes)))
        like = next((fleet for fleet in fleets if can_mix([fleet[0], scene])), None)
        if like is None:
            fleets.append([scene])
        else:
            like.append(scene)
    return [SimulatedFleet(MixedScene(tuple(fleet))) for fleet in fleets]
