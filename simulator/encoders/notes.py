"""Prompt encoder for operators' notes: each sentence, or part of one with a quantity of its own, is an opinion on the
scene.

An opinion's words (`text`) say which quantity is meant, its values (`quantities`) how large it is; the network sees
both with the static features of every entity and whether the words name it. Its weights exist where training data held
notes. In training, notes are true of the robot in all its episodes. It looks at no photos and asks nobody back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from simulator import features, network, quantities, text
from simulator.config import SimulatorConfig
from simulator.encoders.registry import Factors
from simulator.frame import Frame
from simulator.network import Weights
from simulator.prompt import Prompt
from simulator.quantities import Opinion
from simulator.structure import Shape
from storage.contracts.episode import Episode
from storage.contracts.robot import Entity

MOST_OPINIONS = 48
MOST_DRAWN = 4
_STREAM = 3  # of the draws of a batch
_MATCHES = 3
_TEXT_GAIN = 8.0  # vectors have length 1, and 384 columns
_TEXT_NOISE = 0.02
_LEAST_PRECISION = 0.02  # one that learns to trust no words at first could never learn what they mean


class Said(NamedTuple):
    """Opinions as inputs: `text` [..., n, 384], `numbers` [..., n, W], `match` [..., E, n, 3]."""

    text: Tensor
    numbers: Tensor
    match: Tensor

    @classmethod
    def of(cls, found: Sequence[Opinion], entities: Sequence[Entity]) -> "Said":
        words = text.embed([opinion.words for opinion in found])
        numbers = torch.from_numpy(np.stack([opinion.numbers for opinion in found]))
        names = [entity.name for entity in entities]
        named = torch.tensor([[float(_names(opinion.said, name)) for opinion in found] for name in names])
        other = ((named.sum(0) - named) > 0).float()
        likeness = text.embed([_spaced(name) for name in names]) @ words.T
        return cls(words, numbers, torch.stack([named, other, likeness], dim=-1))


@dataclass(frozen=True, eq=False)
class FleetNotes:
    """All opinions on the robots of a group, `said` [U]; `of_robot`: for each robot the indices of those on it."""

    said: Said
    of_robot: list[np.ndarray]

    @classmethod
    def of(cls, episodes: dict[str, list[Episode]], entities: Sequence[Entity]) -> "FleetNotes | None":
        """`episodes` by robot, in the order of the recording's robots; None where nobody wrote anything."""
        index: dict[tuple[str, str], int] = {}
        found: list[Opinion] = []
        of_robot = []
        for own in episodes.values():
            chosen: dict[int, None] = {}
            notes = dict.fromkeys(note for episode in own for note in episode.notes)
            opinions = (opinion for note in notes for opinion in quantities.opinions(note))
            for opinion in islice(opinions, MOST_OPINIONS):
                place = index.setdefault((opinion.said, opinion.words), len(index))
                found += [opinion] if place == len(found) else []
                chosen[place] = None
            of_robot.append(np.array(list(chosen), dtype=np.int64))
        return cls(Said.of(found, entities), of_robot) if found else None


class NoteRows(NamedTuple):
    """A batch's notes: `opinion` int64 and `used` [M, G, n]; `noise` [M, G, n, 384], added to vectors of words so that
    other words of the same meaning are understood."""

    opinion: Tensor
    used: Tensor
    noise: Tensor


def draw(notes: FleetNotes, config: SimulatorConfig, update: int, members: range, robot: np.ndarray) -> NoteRows:
    """Up to MOST_DRAWN opinions on each of the robots `robot` [M, G]; none at all in a share `notes_drop` of them."""
    index = np.zeros((*robot.shape, MOST_DRAWN), dtype=np.int64)
    used = np.zeros(index.shape, dtype=np.float32)
    noise = np.zeros((*index.shape, text.WIDTH), dtype=np.float32)
    for place, member in enumerate(members):
        rng = np.random.default_rng([config.seed, update, member, _STREAM])
        noise[place] = _TEXT_NOISE * rng.standard_normal(noise[place].shape, dtype=np.float32)
        for g, r in enumerate(robot[place]):
            known = notes.of_robot[r]
            count = min(len(known), int(rng.integers(1, MOST_DRAWN + 1)))
            if rng.random() < config.notes_drop:
                continue
            index[place, g, :count] = rng.choice(known, count, replace=False) if count else 0
            used[place, g, :count] = 1.0
    return NoteRows(*(torch.from_numpy(part) for part in (index, used, noise)))


class NotesEncoder:
    name = "notes"
    parts = ("notes",)

    def layout(self, shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
        if not shape.notes:
            return {}
        d, p, z = config.width, config.messages, config.scene
        return {
            "notes.text": (text.WIDTH, d), "notes.match": (_MATCHES, d), "notes.static": (features.width(shape), d),
            "notes.in.b": (d,), "notes.message": (d, p), "notes.numbers": (quantities.WIDTH, d),
            "notes.numbers.b": (d,), "notes.hidden": (3 * d + 3 * p, d), "notes.hidden.b": (d,),
            "notes.last": (d, d), "notes.last.b": (d,), "notes.precision": (d, z), "notes.precision.b": (z,),
            "notes.mean.small": (d, z), "notes.mean.b": (z,),
        }  # fmt: skip

    def factors(self, w: Weights, frame: Frame, prompt: Prompt) -> Factors | None:
        found = quantities.opinions(prompt.said)[:MOST_OPINIONS]
        if not found or "notes.text" not in w:
            return None
        said = Said.of(found, frame.structure.spec.entities)
        members = w["notes.text"].shape[0]
        each = Said(*(part.expand(members, *part.shape) for part in said))
        static = frame.static[None, :, None, :].expand(members, -1, len(found), -1)
        return Factors(*(part.transpose(1, 2).flatten(2) for part in self.encode(w, frame, each, static)))

    def drawn(self, w: Weights, frame: Frame, notes: FleetNotes, rows: NoteRows, static: Tensor) -> Factors:
        """Opinions of a batch, `static` [M, E, G, F]: mean and precision [M, E, G, n, Z], precision 0 where unused."""
        members, groups, count = rows.opinion.shape
        index = rows.opinion.flatten(1)
        words = notes.said.text[index] + rows.noise.flatten(1, 2)
        match = notes.said.match[:, index].transpose(0, 1)
        each = static.repeat_interleave(count, 2)
        mean, precision = self.encode(w, frame, Said(words, notes.said.numbers[index], match), each)
        used = rows.used.view(members, 1, groups, count, 1)
        return Factors(mean.unflatten(2, (groups, count)), precision.unflatten(2, (groups, count)) * used)

    def encode(self, w: Weights, frame: Frame, said: Said, static: Tensor) -> Factors:
        """`said` [M, ...] with R opinions, `static` [M, E, R, F]: mean and precision [M, E, R, Z]."""
        entities = static.shape[1]
        words = network.linear(_TEXT_GAIN * said.text[:, None], w["notes.text"]).expand(-1, entities, -1, -1)
        about = network.linear(said.match, w["notes.match"])
        about = silu(words + about + network.linear(static, w["notes.static"], w["notes.in.b"]))
        pooled = network.pool(network.linear(about, w["notes.message"]), frame.adjacency)
        size = network.linear(said.numbers[:, None], w["notes.numbers"], w["notes.numbers.b"])
        size = size.expand(-1, entities, -1, -1)
        # the words choose what a value means
        joined = torch.cat([about, about * size, silu(size), pooled], -1)
        hidden = silu(network.linear(joined, w["notes.hidden"], w["notes.hidden.b"]))
        hidden = hidden + silu(network.linear(hidden, w["notes.last"], w["notes.last.b"]))
        mean = network.linear(hidden, w["notes.mean.small"], w["notes.mean.b"])
        precision = softplus(network.linear(hidden, w["notes.precision"], w["notes.precision.b"]) - 2.0)
        return Factors(mean, _LEAST_PRECISION + precision)


def _spaced(name: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+|\d+", name))


def _names(said: str, name: str) -> bool:
    """Whether `said` holds `name` as words of its own, however they are joined: link2, link 2, Link-2."""
    joined = r"[\W_]*".join(re.escape(part) for part in _spaced(name).split())
    return bool(joined) and re.search(rf"(?<!\w){joined}(?!\w)", said, re.IGNORECASE) is not None


ENCODER = NotesEncoder()
