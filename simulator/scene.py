"""A scene: one robot as the simulator understands it from a prompt. Sampling it gives hypotheses; editing it gives
another."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulator import noise
from simulator.encoders.registry import encoders, posterior
from simulator.features import edited
from simulator.frame import Frame
from simulator.model import Model
from simulator.prompt import Prompt
from simulator.recording import Recording
from simulator.worlds import Worlds
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

SCENE_STREAM = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """`mean`, `deviation` [M, Z]: each member's posterior over the scene latent. `unused`: parts of the prompt that
    no encoder of this simulator reads, such as notes; they did not change the scene."""

    model: Model
    spec: RobotSpec
    frame: Frame
    mean: Tensor
    deviation: Tensor
    unused: tuple[str, ...] = ()

    def sample(self, n: int, seed: int, device: str = "cpu") -> Worlds:
        """`n` hypotheses about this robot. World i has member i mod M and a scene sample that depends on (seed, i)
        only."""
        if n < 1:
            raise InputError(f"a scene is sampled into at least one world, given n={n}")
        world = torch.arange(n)
        member = world % self.model.members
        width = self.mean.shape[1]
        normal = noise.normal(seed, SCENE_STREAM, world, torch.zeros_like(world), width)
        z = self.mean[member] + self.deviation[member] * normal
        return Worlds(self.model, self.spec, self.frame_on(device), z.to(device), seed)

    def edit(self, edits: dict[str, str]) -> "Scene":
        """The scene with quantities of its specification changed, e.g. `{"payload.mass": "x1.5", "pole.length":
        "0.4"}`.

        What the prompt taught about everything else is kept. Raises UnknownName for a quantity that the robot does
        not have.
        """
        spec = edited(self.spec, edits, self.model.shape)
        structure = self.model.structure(spec)
        config = self.model.config
        frame = Frame.of(structure, self.frame.scales, history_s=config.history_s, delay_s=config.delay_s)
        return replace(self, spec=spec, frame=frame)

    def frame_on(self, device: str) -> Frame:
        if device == "cpu":
            return self.frame
        config, frame = self.model.config, self.frame
        return Frame.of(
            frame.structure, frame.scales, history_s=config.history_s, delay_s=config.delay_s, device=device
        )


def ground(model: Model, prompt: Prompt) -> Scene:
    """The posterior over scenes given a prompt. No gradient step; a robot never seen is usable at once."""
    recording = Recording.of(prompt.episodes, model.structure(prompt.robot)) if prompt.episodes else None
    frame = model.frame(prompt.robot, recording)
    weights = model.weights()
    with torch.no_grad():
        found = [encoder.factors(weights, frame, prompt) for encoder in encoders()]
        mean, deviation = posterior([f for f in found if f is not None], model.members, model.config.scene)
    read = {part for encoder in encoders() for part in encoder.parts}
    unused = tuple(part for part in ("notes",) if getattr(prompt, part) and part not in read)
    return Scene(model, prompt.robot, frame, mean, deviation, unused)
