"""A dataset: an immutable list of episodes with their split, and the fixed scales that errors are divided by."""

from hashlib import sha256
from typing import Literal

from pydantic import Field

from storage.contracts.base import Contract

Split = Literal["train", "validation", "test"]


class EpisodeRef(Contract):
    """One episode of a dataset. `sha256` is the digest of its stored object; `notes` is what people said of it with its
    upload, as known when the dataset was made, so that the dataset's digest names all that a simulator learns from."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    robot: str
    split: Split
    duration_s: float
    steps: int
    notes: tuple[str, ...] = Field(default=(), exclude_if=lambda notes: not notes)


class DatasetManifest(Contract):
    """Episodes sorted by digest; `channel_std` is per column of the state, fixed when the dataset was first made."""

    name: str
    spec_digest: str
    episodes: tuple[EpisodeRef, ...]
    channel_std: dict[str, float] = Field(default_factory=dict)

    def of(self, split: Split) -> tuple[EpisodeRef, ...]:
        return tuple(e for e in self.episodes if e.split == split)


def split_of(key: str, *, test: float = 0.2, validation: float = 0.1) -> Split:
    """The split of an episode by a hash of its key: stable under adding and removing others.

    `key` is a digest of the raw log, so that parts of one log never stand on two sides.
    """
    position = int.from_bytes(sha256(key.encode()).digest()[:8], "big") / 2**64
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"
