"""Real robots that the calibration of a simulator is measured on, where their logs are at hand.

The logs are public and not part of the repository; without them the figures of real robots are left out, and the
targets that need them are missed.
"""

from dataclasses import dataclass

from simulator.prompt import Prompt
from storage.contracts.episode import Episode


@dataclass(frozen=True)
class RealRobot:
    """`fit`: runs that baselines may be fitted on; `test`: runs that nothing was fitted or chosen on."""

    name: str
    prompt: Prompt
    fit: tuple[Episode, ...]
    test: tuple[Episode, ...]


def real_robots() -> list[RealRobot]:
    """Empty where the logs are not at hand."""
    return []
