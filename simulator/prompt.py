"""What a simulator is told about a robot: its specification, seconds of its log, operators' notes. All but the
first optional."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec

MOST_CLIPS = 32
"""Episodes of a robot that a prompt is made of where there are more: encoders read no more than some seconds of them,
evenly spread, and what many of them hold in common tells more than the latest few."""

_T = TypeVar("_T")


def clips_of(episodes: Sequence[_T], most: int = MOST_CLIPS) -> list[_T]:
    """At most `most` of `episodes` (or of their names), evenly spread over them, the last one included."""
    count = min(most, len(episodes))
    return [episodes[(i + 1) * len(episodes) // count - 1] for i in range(count)]


@dataclass(frozen=True)
class Prompt:
    """`episodes` are clips of this very robot; their channels must be those of `robot`. `notes` are sentences in
    English, quantities with units; what a sentence says twice counts once. Notes that the episodes hold count, too."""

    robot: RobotSpec
    episodes: tuple[Episode, ...] = ()
    notes: str = ""

    @property
    def said(self) -> str:
        """All notes, those of the prompt first, each once."""
        noted = (note for episode in self.episodes for note in episode.notes)
        return "\n".join(note for note in dict.fromkeys((self.notes, *noted)) if note.strip())

    def __post_init__(self) -> None:
        object.__setattr__(self, "episodes", tuple(self.episodes))
        for episode in self.episodes:
            if episode.spec.state_layout.columns != self.robot.state_layout.columns:
                given, own = (", ".join(s.state_layout.columns) for s in (episode.spec, self.robot))
                raise ContractError(
                    f"the prompt's episode of '{episode.robot}' has channels {given}; "
                    f"robot '{self.robot.name}' has {own}"
                )
