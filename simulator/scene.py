"""A scene: one robot as the simulator understands it from a prompt. Sampling it gives hypotheses; editing it gives
another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulator import editing, latent
from simulator.encoders.registry import encoders, posterior
from simulator.frame import Frame
from simulator.inference import inferred
from simulator.model import Model
from simulator.prompt import Prompt
from simulator.recording import Recording
from simulator.scales import Scales
from simulator.worlds import Worlds
from storage.contracts.channel import Channel
from storage.contracts.errors import InputError
from storage.contracts.robot import Entity, RobotSpec


@dataclass(frozen=True, eq=False)
class Scene:
    """`mean` [M, E * Z], `factor` [M, E * Z, E * Z]: each member's posterior, Z numbers per entity; the factor is lower
    triangular, and times its transpose the covariance.

    `unused`: parts of the prompt that no encoder of this simulator reads, such as notes where no training data held
    any; they did not change the scene. `known`: robots that the simulator was trained on. `parts`: how many entities
    each robot of a composed scene has, in order; empty for a scene of one robot.
    """

    model: Model
    spec: RobotSpec
    frame: Frame
    mean: Tensor
    factor: Tensor
    unused: tuple[str, ...] = ()
    known: tuple[RobotSpec, ...] = ()
    parts: tuple[int, ...] = ()

    @property
    def deviation(self) -> Tensor:
        """[M, E * Z] of each number."""
        found: Tensor = torch.linalg.vector_norm(self.factor, dim=2)
        return found

    @property
    def independent(self) -> Tensor:
        """[M, E * Z] deviation of each number if all others were known: the best that independent numbers can say."""
        return torch.diagonal(torch.cholesky_inverse(self.factor.double()), dim1=1, dim2=2).rsqrt().float()

    def sample(self, n: int, seed: int, device: str = "cpu", *, compiled: bool = False) -> Worlds:
        """`n` hypotheses about this robot. World i has member i mod M and a scene sample that depends on (seed, i)
        only, entity by entity. `compiled` pays from some thousand steps on (see `simulator.compiled`)."""
        if n < 1:
            raise InputError(f"a scene is sampled into at least one world, given n={n}")
        member = torch.arange(n) % self.model.members
        normal = latent.normals(seed, n, self.mean.shape[1], self.model.config.scene)
        z = self.mean[member] + self.model.temperature.scene * latent.away(self.factor, member, normal)
        return Worlds(self.model, self.spec, self.frame_on(device), z.to(device), seed, compiled=compiled)

    def edit(self, edits: Mapping[str, str]) -> "Scene":
        """The scene with quantities of its specification changed, e.g. `{"payload.mass": "x1.5", "pole.length":
        "0.4"}`.

        What the prompt taught about everything else is kept. Raises UnknownName for a quantity that the robot does
        not have.
        """
        spec = editing.edited(self.spec, edits, self.model.shape, self.known)
        return self._of(spec, self.frame.scales)

    def add(self, entity: Entity, channels: Sequence[Channel] = ()) -> "Scene":
        """The scene with one more entity, such as a lamp; the prompt told nothing about it, so its latent is the prior.

        Raises InputError when it is there already or needs more slots than this simulator has.
        """
        spec = editing.added(self.spec, entity, channels)
        own = self.frame.scales
        fresh = latent.kept_scales(self.model.frame(spec).scales, [len(self.spec.entities)])
        made = self._of(spec, latent.joined_scales(own, fresh), self.parts and (*self.parts[:-1], self.parts[-1] + 1))
        prior = torch.zeros_like(self.mean[:, : self.model.config.scene])
        factor = latent.joined_factors(self.factor, torch.diag_embed(prior + 1.0))
        return replace(made, mean=torch.cat([self.mean, prior], 1), factor=factor)

    def remove(self, name: str) -> "Scene":
        """The scene without an entity and its channels. Raises UnknownName, or InputError when others hang on it."""
        spec = editing.removed(self.spec, name)
        keep = [i for i, row in enumerate(self.spec.entities) if row.name != name]
        gone = next(i for i, row in enumerate(self.spec.entities) if row.name == name)
        made = self._of(spec, latent.kept_scales(self.frame.scales, keep), _without(self.parts, gone))
        factor = latent.kept_factor(self.factor, keep, self.model.config.scene)
        return replace(made, mean=latent_rows(self)[0][:, keep].flatten(1), factor=factor)

    def compose(self, other: "Scene", names: tuple[str, str] = ("first", "second")) -> "Scene":
        """Both robots side by side in one world: names get a prefix, and the two do not act on each other.

        Each keeps its posterior. Raises InputError for scenes of two simulators or of two control rates.
        """
        if other.model is not self.model:
            raise InputError("two scenes can be composed when one simulator grounded both")
        spec = editing.composed(self.spec, other.spec, names)
        parts = tuple(size for scene in (self, other) for size in (scene.parts or (len(scene.spec.entities),)))
        made = self._of(spec, latent.joined_scales(self.frame.scales, other.frame.scales), parts)
        mean = torch.cat([self.mean, other.mean], dim=1)
        factor = latent.joined_factors(self.factor, other.factor)
        unused = tuple(dict.fromkeys((*self.unused, *other.unused)))
        return replace(made, mean=mean, factor=factor, unused=unused)

    def frame_on(self, device: str) -> Frame:
        if device == "cpu":
            return self.frame
        return _frame(self.model, self.spec, self.frame.scales, self.parts, device)

    def _of(self, spec: RobotSpec, scales: Scales, parts: tuple[int, ...] | None = None) -> "Scene":
        parts = self.parts if parts is None else parts
        return replace(self, spec=spec, frame=_frame(self.model, spec, scales, parts), parts=parts)


def latent_rows(scene: Scene) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the posterior by entity, [M, E, Z] each."""
    entities = len(scene.spec.entities)
    return latent.rows_of(scene.mean, entities), latent.rows_of(scene.deviation, entities)


def ground(model: Model, prompt: Prompt, known: tuple[RobotSpec, ...] = ()) -> Scene:
    """The posterior over scenes given a prompt: opinions of all encoders, then what logs say (see `inference`). Weights
    stay as they are; a robot never seen is usable at once."""
    model = model.told_by(prompt.robot, prompt.episodes)
    recording = Recording.of(prompt.episodes, model.structure(prompt.robot)) if prompt.episodes else None
    frame = model.frame(prompt.robot, recording)
    weights = model.weights()
    width = len(prompt.robot.entities) * model.config.scene
    with torch.no_grad():
        found = [encoder.factors(weights, frame, prompt) for encoder in encoders()]
        mean, deviation = posterior([f for f in found if f is not None], model.members, width)
    mean, factor = inferred(model, prompt.robot, prompt.episodes, mean, deviation)
    reading = [encoder for encoder in encoders() if encoder.layout(model.shape, model.config)]
    read = {part for encoder in reading for part in encoder.parts}
    unused = ("notes",) if prompt.said and "notes" not in read else ()
    return Scene(model, prompt.robot, frame, mean, factor, unused, known)


def _frame(model: Model, spec: RobotSpec, scales: Scales, parts: tuple[int, ...], device: str = "cpu") -> Frame:
    """Raises InputError when the robot does not fit into the model's slots."""
    structure, config = model.structure(spec), model.config
    frame = Frame.of(structure, scales, history_s=config.history_s, delay_s=config.delay_s, device=device)
    if not parts:
        return frame
    return replace(frame, adjacency=torch.from_numpy(latent.separated(structure, parts)).to(device))


def _without(parts: tuple[int, ...], gone: int) -> tuple[int, ...]:
    """Sizes of the parts after entity `gone` was removed; parts without entities vanish."""
    ends = [sum(parts[: i + 1]) for i in range(len(parts))]
    part = next((i for i, end in enumerate(ends) if gone < end), None)
    return tuple(size - (i == part) for i, size in enumerate(parts) if size - (i == part) > 0)
