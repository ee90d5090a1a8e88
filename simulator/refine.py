"""The second stage of grounding: gradient steps on a scene's latent alone, so that rollouts follow the prompt's logs.

Prompt encoders answer at once, by what they learned to read (amortised inference); a few seconds of optimisation per
robot close the gap between that and the best latent (semi-amortised: Kim et al. 2018, arXiv:1802.02550). Weights stay
as they are, so that robots of one fleet still share one simulator. Training all is `train_simulator` with a parent.
Deterministic: equal scenes, logs and settings give equal bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulator.fleet import Group, draw, make_groups
from simulator.known import KnownRobots
from simulator.optimiser import Optimiser
from simulator.parameters import unpack
from simulator.rollout import Noise, batch_loss
from simulator.scene import Scene
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError

Progress = Callable[[float, str], None]
_FINAL = 0.1
"""Share of its start that the rate falls to, linearly."""


@dataclass(frozen=True)
class Refinement:
    """`updates` gradient steps on rollouts of `steps` control periods, `rows` (window, step) pairs per member each."""

    updates: int = 60
    steps: int = 16
    rows: int = 512
    rate: float = 0.04
    kl_weight: float = 3e-4
    seed: int = 0


def refined(
    scene: Scene, episodes: Sequence[Episode], how: Refinement | None = None, progress: Progress | None = None
) -> Scene:
    """`scene` with the posterior of each member moved to where its sampled rollouts score best on `episodes`, logs of
    this very robot with the channels of `scene`.

    Logs without two rows in succession change nothing.
    """
    how = how or Refinement()
    logs = [replace(episode, robot=scene.spec.name, spec=scene.spec) for episode in episodes if episode.steps]
    if not logs:
        return scene
    try:
        (group,) = make_groups(logs, scene.model, how.steps)
    except DataError:  # not two rows without a reset or a gap between them
        return scene
    known = KnownRobots.of([group], scene.model.config)
    state = Optimiser.of(known.beginning_with(lambda _place, _serial: (scene.mean, scene.deviation)))
    for update in range(how.updates):
        gradient = _gradient(scene, group, known, state.theta, update, how)
        rate = how.rate * (1.0 - (1.0 - _FINAL) * update / how.updates)
        state.update(gradient, update, rate, scene.model.config)
        if progress is not None:
            progress((update + 1) / how.updates, f"step {update + 1} of {how.updates} on the robot's latent")
    members, entities = scene.model.members, len(scene.spec.entities)
    only = torch.zeros(members, 1, dtype=torch.int64)
    mean, deviation = (part.flatten(1) for part in known.posterior(state.average, 0, entities, only))
    return replace(scene, mean=mean, deviation=deviation)


def _gradient(scene: Scene, group: Group, known: KnownRobots, columns: Tensor, update: int, how: Refinement) -> Tensor:
    """Of the training loss by what is believed of the robot, [M, width]."""
    model, members, steps = scene.model, range(scene.model.members), min(how.steps, group.longest)
    settings = {
        "known_share": 1.0, "prompt_drop": 1.0, "jitter": 0.0, "forget": 0.0, "history_drop": 0.0,
        "rows": how.rows, "seed": how.seed, "kl_weight": how.kl_weight,
    }  # fmt: skip
    config = model.config.model_copy(update=settings)
    batch = replace(draw(group, config, update, members, steps), task=None)
    noise = Noise.of(group, batch, config, update, members, steps)
    believed = columns.detach().requires_grad_()
    posterior = known.posterior(believed, 0, group.frame.structure.entities, batch.robot)
    loss = batch_loss(unpack(model.theta, model.layout), group, batch, config, model.traits, noise, steps, posterior)
    (gradient,) = torch.autograd.grad(loss.sum(), believed)
    return gradient
