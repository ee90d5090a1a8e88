"""What a trainer needs of a simulator, as structural types: the learned one fits, and so does any analytic one in
a test.

Nothing here is implemented, and nothing here imports the simulator. Shapes: N worlds, K history steps, S state, C
command.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from storage.contracts.robot import RobotSpec


class History(NamedTuple):
    """A window of what a robot saw, oldest first, physical units: row k of `command` acted just before row k of
    `state`."""

    state: Tensor
    """[N, K, S]."""
    command: Tensor
    """[N, K, C]."""


class OutcomePort(Protocol):
    """What one interval gave, as the simulator predicts it; None where the task is an expression over channels."""

    @property
    def reward(self) -> Tensor | None: ...

    @property
    def terminated(self) -> Tensor | None: ...

    @property
    def hazard(self) -> Tensor | None:
        """[N] probability with which `terminated` was drawn, differentiable; None where it is no matter of chance."""


class WorldsPort(Protocol):
    """N hypotheses about one robot, fixed for their life. `step` is differentiable in `command` and in the state."""

    @property
    def n(self) -> int: ...

    @property
    def spec(self) -> RobotSpec: ...

    @property
    def robot(self) -> Tensor:
        """int64 [N]: which robot of the scene each world is a hypothesis about."""

    def reset(self, history: Any = None, task_start: Any = None, seed: int | None = None) -> Any:
        """World states after `history`; without one, as episodes begin."""

    def step(self, state: Any, command: Tensor) -> tuple[Any, OutcomePort, Any]:
        """One control period under `command` [N, C]; returns the next state, the outcome, events."""

    def observe(self, state: Any) -> Tensor:
        """[N, S] physical units, as the robot's log would show them."""


class ScenePort(Protocol):
    """One robot, or several of one specification, grounded. `sample` draws hypotheses: equal (n, seed) gives equal
    worlds."""

    def sample(self, n: int, seed: int, device: str | torch.device = "cpu") -> WorldsPort:
        """`n` worlds, or a few more where robots and members are to have equal shares."""
