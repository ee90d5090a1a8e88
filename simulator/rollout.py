"""Training rollouts: the model's own sampled predictions over several steps, and the loss on them.

The continuous loss is the fair continuous ranked probability score of the samples (Gneiting and Raftery 2007; fair
version Ferro 2014), per slot and step, divided by the typical change over as many steps: proper, so the sampled
trajectories themselves are calibrated. Labels and lives are scored by cross entropy given the logged ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from simulator import dynamics, network, task_head
from simulator.config import SimulatorConfig
from simulator.dynamics import Core
from simulator.encoders import notes as notes_encoder
from simulator.encoders import specification as specification_encoder
from simulator.fleet import Batch, Group
from simulator.frame import Frame
from simulator.model import Traits
from simulator.network import Conditioning, Weights
from simulator.task_head import TaskRows

_DISCRETE_WEIGHT = 0.5
_TASK_WEIGHT = 1.0


@dataclass(frozen=True, eq=False)
class Noise:
    """Standard normals of one update: `scene` [M, B, Z], `start` [M, E, B, K], `process`, `sensor` [R, M, E, B, K]."""

    scene: Tensor
    start: Tensor
    process: Tensor
    sensor: Tensor

    @classmethod
    def of(
        cls, group: Group, batch: Batch, config: SimulatorConfig, update: int, members: range, steps: int
    ) -> "Noise":
        """Those of `update` for a rollout of `steps` steps from the rows of `batch`."""
        structure = group.frame.structure
        shape = (structure.entities, batch.rows.shape[1] * config.samples, structure.shape.slots)
        return cls.draw(config.seed, update, members, config.scene * structure.entities, steps, shape)

    @classmethod
    def draw(
        cls, seed: int, update: int, members: range, scene: int, steps: int, shape: tuple[int, int, int]
    ) -> "Noise":
        """`shape` is (E, B, K); a member's numbers depend on (seed, update, member) only."""
        parts = []
        for member in members:
            generator = torch.Generator().manual_seed(((seed * 1_000_003 + update) * 257 + member) % (1 << 62))
            parts.append(
                (
                    torch.randn(shape[1], scene, generator=generator),
                    torch.randn(shape, generator=generator),
                    torch.randn(2, steps, *shape, generator=generator),
                )
            )
        both = torch.stack([p[2] for p in parts], dim=2)
        return cls(torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts]), both[0], both[1])


def batch_loss(
    w: Weights, group: Group, batch: Batch, config: SimulatorConfig, traits: Traits, noise: Noise, steps: int,
    known: tuple[Tensor, Tensor],
) -> Tensor:  # fmt: skip
    """Loss per member [M]. `known`: what training believes of the robots of `batch` besides what their specifications
    say, mean and deviation [M, E, G, Z]."""
    recording = group.recording
    samples = config.samples
    members, size = batch.rows.shape
    groups = batch.robot.shape[1]
    per = size // groups

    def worlds(value: Tensor) -> Tensor:
        """[M, E, G, F] to [M, E, samples * B, F]."""
        return value.repeat_interleave(per, 2).repeat(1, 1, samples, 1)

    known = (known[0] + network.hidden(w, batch.hidden), known[1])
    read = _told(w, group, batch)
    mean, deviation = (torch.where(batch.known[:, None, :, None], *pair) for pair in zip(known, read, strict=True))
    frame = group.frame.rescaled(*(worlds(f) for f in (batch.slot_factor, batch.rate_factor, batch.input_factor)))
    entities = group.frame.structure.entities
    z = worlds(mean) + worlds(deviation) * noise.scene.unflatten(-1, (entities, -1)).transpose(1, 2)
    rows = batch.rows.repeat(1, samples)
    conditioning = network.condition(w, worlds(batch.static), z, frame.adjacency, frame.ties)
    ahead = batch.rows[..., None] + torch.arange(steps + 1)
    target = recording.x[ahead].permute(2, 0, 3, 1, 4)
    seen = recording.valid[ahead].permute(2, 0, 3, 1, 4)
    sensor = dynamics.spread(conditioning.sensor, dynamics.SENSOR) * frame.step_scale * frame.present
    discrete = frame.structure.shape.categories or not group.all_alive
    total = torch.zeros(members)
    reached = []
    kept = batch.kept.repeat(1, samples)
    for k, moved in enumerate(rolled(w, group, frame, conditioning, rows, kept, steps, noise)):
        reached.append(moved.core.x)
        if discrete:
            total = total + _DISCRETE_WEIGHT / steps * _discrete(group, moved, rows + k)
    observed = torch.stack(reached) + sensor * noise.sensor
    weight = (seen[1:] & frame.present).float() / group.change[:steps, None, :, None]
    error = (crps(group, observed, target[1:], samples) * weight).sum((2, 3, 4))
    counted = (seen[1:] & frame.present).float().sum((2, 3, 4)).clamp_min(1.0)
    total = total + (error / counted).mean(0)
    # KL of the scene posterior to N(0, 1)
    kl = 0.5 * (mean**2 + deviation**2 - 1.0 - 2.0 * deviation.log()).sum((1, 3)).mean(-1)
    total = total + config.kl_weight * kl + config.teach_weight * _taught(known, read, batch)
    if batch.task is not None and (traits.rewarded or traits.terminates):
        bias = _task_bias(w, batch, mean, deviation, noise)
        total = total + _TASK_WEIGHT * _task_loss(w, group, batch, batch.task, bias, traits)
    return total


def rolled(
    w: Weights, group: Group, frame: Frame, c: Conditioning, rows: Tensor, kept: Tensor, steps: int,
    noise: Noise | None = None,
) -> Iterator[dynamics.Advance]:  # fmt: skip
    """What the model predicts of the `steps` rows after each of `rows` [M, B], under the logged inputs, one row after
    the other: labels and lives are the logged ones again before the next. `kept` [M, B]: how many past rows the filter
    may see. Without `noise` it is the mean."""
    recording = group.recording
    core = _first_core(w, group, frame, c, rows, kept, None if noise is None else noise.start)
    ahead = rows[..., None] + torch.arange(steps)
    inputs = frame.normalise_inputs(recording.inputs[ahead].permute(2, 0, 3, 1, 4))
    dt = recording.dt[ahead].permute(2, 0, 1)[:, :, None, :, None]
    for k in range(steps):
        core = core._replace(queue=dynamics.push(core.queue, inputs[k]))
        process = None if noise is None else noise.process[k]
        moved = dynamics.advance(w, frame, core, c, process, dt[k], frame.substeps)
        yield moved
        core = _forced(group, moved.core, rows + k + 1)


def _taught(known: tuple[Tensor, Tensor], read: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """[M]: the divergence of what encoders read in prompts from what is known, over latents and prompts: of all
    Gaussians, those that know what they do not know score best."""
    mean, deviation = (part.detach() for part in known)
    gap = (deviation**2 + (mean - read[0]) ** 2) / (2.0 * read[1] ** 2) + torch.log(read[1] / deviation) - 0.5
    return gap.sum((1, 3)).mean(1)


def _task_bias(w: Weights, batch: Batch, mean: Tensor, deviation: Tensor, noise: Noise) -> Tensor:
    """[M, E, G, d]: the task head's conditioning, under one scene sample of each group."""
    normal = noise.scene[:, : batch.robot.shape[1]].unflatten(-1, (mean.shape[1], -1)).transpose(1, 2)
    return task_head.condition(w, batch.static, mean + deviation * normal)


def _task_loss(w: Weights, group: Group, batch: Batch, task: TaskRows, bias: Tensor, traits: Traits) -> Tensor:
    """[M] loss of the task head on the logged intervals of `task`."""
    recording, groups = group.recording, batch.robot.shape[1]
    per = task.rows.shape[1] // groups

    def intervals(value: Tensor) -> Tensor:
        return value.repeat_interleave(per, 2)

    factors = (batch.slot_factor, batch.rate_factor, batch.input_factor)
    frame = group.frame.rescaled(*(intervals(f) for f in factors))
    inputs = frame.normalise_inputs(recording.inputs[task.rows].permute(0, 2, 1, 3)[..., None, :], rows=1)
    reward = (recording.reward[task.rows] - traits.reward_center) / traits.reward_scale
    return task_head.loss(w, intervals(bias), frame, recording, task, inputs[..., 0, :], reward, traits.terminates)


def crps(group: Group, observed: Tensor, target: Tensor, samples: int) -> Tensor:
    """Fair CRPS [R, M, E, B, K] of `observed` [R, M, E, samples * B, K] against `target` [R, M, E, B, K]."""
    frame = group.frame
    parts = observed.unflatten(3, (samples, -1))
    accuracy = frame.difference(parts, target[:, :, :, None]).abs().mean(3)
    pairs = [(i, j) for i in range(samples) for j in range(i)]
    apart = [frame.difference(parts[:, :, :, i], parts[:, :, :, j]).abs() for i, j in pairs]
    return accuracy - 0.5 * torch.stack(apart).mean(0)


def _told(w: Weights, group: Group, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [M, E, G, Z] of a scene without logs: what the specification leaves open, and
    operators' notes."""
    precision = 1.0 + specification_encoder.ENCODER.precision(w, group.frame, batch.static)
    weighted = torch.zeros_like(precision)
    if group.notes is not None and batch.notes is not None:
        said = notes_encoder.ENCODER.drawn(w, group.frame, group.notes, batch.notes, batch.static)
        precision = precision + said.precision.sum(3)
        weighted = (said.precision * said.mean).sum(3)
    return weighted / precision, precision.rsqrt()


def _first_core(
    w: Weights, group: Group, frame: Frame, c: Conditioning, rows: Tensor, kept: Tensor, noise: Tensor | None
) -> Core:
    recording = group.recording
    count = frame.history_rows
    past = rows[..., None] + torch.arange(-count, 1)
    first = recording.first[rows][..., None]
    known = (past[..., :-1] >= first) & (torch.arange(count) >= count - kept[..., None])
    past_known = past[..., :-1] >= first
    past = torch.maximum(past, first)
    history = recording.x[past].permute(0, 3, 1, 2, 4)
    inputs = torch.where(past_known[..., None, None], recording.inputs[past[..., :-1]], safe_inputs(group))
    inputs = frame.normalise_inputs(inputs.permute(0, 3, 1, 2, 4), rows=1)
    x, memory = dynamics.start(w, frame, c, history, inputs, known[:, None].float(), noise)
    taps = frame.structure.shape.taps
    core = Core(x, recording.labels[rows].permute(0, 2, 1, 3), None, memory, inputs[..., -taps:, :])
    return _forced(group, core, rows)


def safe_inputs(group: Group) -> Tensor:
    """[E, J] physical: what acts before anything was commanded."""
    structure = group.frame.structure
    flat = torch.zeros(structure.entities * structure.shape.inputs)
    safe = torch.from_numpy(structure.spec.safe).float()
    flat[torch.from_numpy(structure.input_slot[: len(safe)])] = safe
    return flat.view(structure.entities, structure.shape.inputs)


def _forced(group: Group, core: Core, rows: Tensor) -> Core:
    """Labels and lives as logged at `rows` [M, B]; an entity that appears starts from its logged state."""
    recording = group.recording
    if group.all_alive and not group.frame.structure.shape.categories:
        return core
    labels = recording.labels[rows].permute(0, 2, 1, 3)
    if group.all_alive:
        return core._replace(labels=labels)
    alive = recording.alive[rows].permute(0, 2, 1)[..., None].float()
    x = core.x if core.alive is None else torch.where(alive > core.alive, recording.x[rows].permute(0, 2, 1, 3), core.x)
    return core._replace(x=x, labels=labels, alive=alive)


def _discrete(group: Group, moved: dynamics.Advance, rows: Tensor) -> Tensor:
    """Cross entropies [M] of the labels and lives after `rows`."""
    recording = group.recording
    total = torch.zeros(rows.shape[0])
    if group.frame.structure.shape.categories:
        labels = recording.labels[rows + 1].permute(0, 2, 1, 3)
        seen = recording.labels_valid[rows + 1].permute(0, 2, 1, 3).float()
        seen = seen * torch.from_numpy(group.frame.structure.label_count > 0)[:, None]
        loss = cross_entropy(moved.labels.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)
        total = total + (loss * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1.0)
    if not group.all_alive:
        now, then = recording.alive[rows].permute(0, 2, 1), recording.alive[rows + 1].permute(0, 2, 1)
        logits = torch.where(now, moved.life[..., 0], moved.life[..., 1])
        total = total + binary_cross_entropy_with_logits(logits, (now != then).float(), reduction="none").mean((1, 2))
    return total
