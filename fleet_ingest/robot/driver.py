"""The driver port: the only thing that a robot maker writes.

A driver speaks in the channels of its `RobotSpec`, in SI units. It neither clamps nor logs nor knows the network; the
robot process does that for all drivers alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from storage.contracts.robot import RobotSpec


@dataclass(frozen=True)
class Outcome:
    """How the last interval ended. `reward` is NaN where the robot measures none."""

    reward: float = float("nan")
    terminated: bool = False
    truncated: bool = False


class RobotDriver(Protocol):
    """One robot. Calls come in the order reset, read, (apply, outcome, read)*, stop; reset may follow at any time."""

    @property
    def spec(self) -> RobotSpec:
        """The channels, units, rates and limits that the maker's data sheet states."""
        ...

    def reset(self, start: dict[str, float], seed: int) -> None:
        """Brings the robot to `start` (state channel -> value; others at rest) and draws its noise from `seed`.

        Raises UnknownName for a channel that is not a state channel.
        """
        ...

    def read(self) -> tuple[int, np.ndarray]:
        """(time in ns of the robot's clock, state [S] as measured). Reading twice gives the same values."""
        ...

    def apply(self, command: np.ndarray) -> None:
        """Applies `command` [C], finite and within limits, for one period; on a virtual clock it advances it."""
        ...

    def exogenous(self) -> np.ndarray:
        """[X] the exogenous inputs that acted in the last interval."""
        ...

    def outcome(self) -> Outcome:
        """Reward and ends of the last interval, where the robot knows them."""
        ...

    def stop(self) -> None:
        """Brings the robot to a safe state. May be called more than once."""
        ...
