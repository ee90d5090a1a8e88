"""The learned part of a simulator: shape, configuration, frozen scales per structure, start states and weights. No
behaviour beyond opening frames; training, worlds and scoring build on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from simulator import network, task_head
from simulator.config import SimulatorConfig
from simulator.encoders.registry import encoders
from simulator.frame import Frame
from simulator.parameters import Layout, initialise, unpack
from simulator.proportions import proportions
from simulator.recording import Recording
from simulator.relations import Relations, View, channels_key, undetermined
from simulator.relations import find as find_relations
from simulator.scales import Scales, scales_of
from simulator.structure import Shape, Structure
from storage.contracts.base import Contract
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

STARTS = 64


class Traits(Contract):
    """What the training data could teach: entities that die or that appear, logged rewards (with their median,
    deviation and range), terminations."""

    mortal: bool = False
    appears: bool = False
    rewarded: bool = False
    terminates: bool = False
    reward_center: float = 0.0
    reward_scale: float = 1.0
    reward_low: float = 0.0
    reward_high: float = 0.0


class Temperature(Contract):
    """Factors on what is sampled, fitted by `calibrate`: noise of each step and of the start, and the scene's
    deviation."""

    process: float = Field(default=1.0, gt=0)
    scene: float = Field(default=1.0, gt=0)


@dataclass(frozen=True, eq=False)
class Model:
    """`theta` [M, P]; `scales` by structure key; `starts` by structure key: first rows of training episodes [n, S];
    `relations` by `channels_key`, found in the logs of robots whose specification leaves them open."""

    config: SimulatorConfig
    shape: Shape
    traits: Traits
    theta: Tensor
    scales: dict[str, Scales]
    starts: dict[str, np.ndarray] = field(default_factory=dict)
    temperature: Temperature = field(default_factory=Temperature)
    relations: dict[str, Relations] = field(default_factory=dict)

    @property
    def members(self) -> int:
        return int(self.theta.shape[0])

    @property
    def layout(self) -> Layout:
        return model_layout(self.shape, self.config)

    def weights(self, device: str = "cpu") -> dict[str, Tensor]:
        return unpack(self.theta.to(device), self.layout)

    def with_theta(self, theta: Tensor) -> "Model":
        return replace(self, theta=theta)

    def grown(self, *, notes: bool, tasks: bool) -> "Model":
        """The model with an encoder for notes and a head for what tasks pay, where asked for, which know nothing yet;
        itself if nothing is to be added."""
        shape = self.shape.model_copy(update={"notes": notes or self.shape.notes, "tasks": tasks or self.shape.tasks})
        if shape == self.shape:
            return self
        grown = replace(self, shape=shape)
        kept = unpack(self.theta, self.layout)
        fresh = unpack(initial_weights(shape, self.config, range(self.members)), grown.layout)
        parts = [kept.get(name, fresh[name]).reshape(self.members, -1) for name in grown.layout]
        return grown.with_theta(torch.cat(parts, dim=1))

    def structure(self, spec: RobotSpec) -> Structure:
        """Raises InputError when the robot does not fit into the model's slots."""
        view = self.view(spec)
        inside = spec if view is None else view.refined
        needed = self._needed(inside)
        if not self.shape.covers(needed):
            told = (
                "; or prompt with seconds of its log, which may tell what its channels are"
                if undetermined(spec)
                else ""
            )
            raise InputError(
                f"robot '{spec.name}' needs {needed.pairs} integrated, {needed.others} other, {needed.inputs} input "
                f"and {needed.categories} category slots per entity; this simulator has {self.shape.pairs}, "
                f"{self.shape.others}, {self.shape.inputs} and {self.shape.categories}",
                remedy=f"train a simulator with logs of such a robot among its data{told}",
            )
        return Structure(inside, self.shape, view)

    def _needed(self, inside: RobotSpec) -> Shape:
        """Slots that a robot cannot do without."""
        needed = Shape.of([inside], history_s=self.config.history_s, delay_s=self.config.delay_s)
        return needed.model_copy(update={"feature_names": (), "taps": 1, "knots": 1})

    def told_by(self, spec: RobotSpec, episodes: Sequence[Episode]) -> "Model":
        """The model with the relations that logs of a robot which it never saw show among its unnamed channels; itself
        where it knows the robot, where there is nothing to find, or no slots for what was found."""
        key = channels_key(spec)
        if not episodes or key in self.relations or not undetermined(spec):
            return self
        if self.shape.covers(self._needed(spec)) and Structure(spec, self.shape).key in self.scales:
            return self
        found = self.relations | {key: find_relations(episodes)}
        view = view_of(spec, found)
        fits = view is not None and self.shape.covers(self._needed(view.refined))
        return replace(self, relations=found) if fits else self

    def view(self, spec: RobotSpec) -> View | None:
        return view_of(spec, self.relations)

    def frame(self, spec: RobotSpec, recording: Recording | None = None, device: str = "cpu") -> Frame:
        """Scales are the trained ones of equal structures, else those of the specification refined by `recording`."""
        structure = self.structure(spec)
        scales = self.scales.get(structure.key)
        if scales is None:
            scales = recording_scales(structure, recording)
        return Frame.of(structure, scales, history_s=self.config.history_s, delay_s=self.config.delay_s, device=device)


def view_of(spec: RobotSpec, relations: Mapping[str, Relations]) -> View | None:
    """How a simulator sees the columns of `spec`; None: as they are."""
    found = relations.get(channels_key(spec))
    return View.of(spec, found) if found is not None and (found.angles or found.rates) else None


def initial_weights(shape: Shape, config: SimulatorConfig, members: range) -> Tensor:
    """[M, P] at random, and `proportions` on top."""
    layout = model_layout(shape, config)
    theta = initialise(layout, config.seed, members)
    if shape.pairs:
        unpack(theta, layout)["power.static.small"].add_(torch.from_numpy(proportions(shape)))
    return theta


def model_layout(shape: Shape, config: SimulatorConfig) -> Layout:
    found = network.layout(shape, config) | task_head.layout(shape, config)
    for encoder in encoders():
        found |= encoder.layout(shape, config)
    return found


def recording_scales(structure: Structure, recording: Recording | None) -> Scales:
    """Scales of a structure from its specification and, if given, rows of data."""
    e, k, j = structure.entities, structure.shape.slots, structure.shape.inputs
    if recording is None:
        none = np.zeros((0, e, k))
        return scales_of(structure, none, none > 0, np.zeros((0, e, j)), none, none > 0)
    x, valid, dt = recording.x.numpy(), recording.valid.numpy(), recording.dt.numpy()
    rows = recording.starts(1)
    delta = (x[rows + 1] - x[rows]).astype(np.float64)
    delta = np.where(structure.angle, (delta + np.pi) % (2 * np.pi) - np.pi, delta)
    rates = delta / dt[rows, None, None]
    return scales_of(structure, x, valid, recording.inputs.numpy(), rates, valid[rows] & valid[rows + 1])


def starts_of(recording: Recording) -> np.ndarray:
    """[n, S] first rows of at most 64 episodes, evenly spread: the learned start distribution."""
    structure = recording.structure
    spec, shape = structure.spec, structure.shape
    rows = torch.unique(recording.first).numpy()
    rows = rows[np.linspace(0, len(rows) - 1, min(STARTS, len(rows))).astype(int)]
    out = np.zeros((len(rows), spec.state_layout.width), dtype=np.float32)
    out[:, structure.columns] = recording.x.numpy()[rows].reshape(len(rows), -1)[:, structure.column_slot]
    if shape.categories:
        flat = recording.labels.numpy()[rows].reshape(len(rows), -1)
        out[:, structure.category_columns] = flat[:, structure.category_slot]
    return out if structure.view is None else structure.view.restore(torch.from_numpy(out)).numpy()
