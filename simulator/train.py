"""Trains an ensemble on the multi-step predictions of its own members.

Deterministic: batches and noise are functions of (seed, update, member), so a killed training that goes on from its
checkpoint ends with the same bits, and members trained apart equal members trained together up to matrix product
rounding. It does not read files of episodes and does not score.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulator import checkpoint as checkpoints
from simulator.config import SimulatorConfig
from simulator.fleet import Group, draw, make_groups
from simulator.known import KnownRobots
from simulator.model import Model, Traits, initial_weights, recording_scales, starts_of, view_of
from simulator.optimiser import Optimiser
from simulator.parameters import columns_of, unpack
from simulator.prompt import Prompt
from simulator.recording import Recording
from simulator.relations import Relations, channels_key, undetermined
from simulator.relations import find as find_relations
from simulator.rollout import Noise, batch_loss
from simulator.scales import Scales
from simulator.scene import ground
from simulator.simulator import Simulator
from simulator.structure import Shape, Structure
from storage.contracts.canonical import digest_of
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError, InputError
from storage.contracts.robot import RobotSpec

Progress = Callable[[float, str], None]
_WARM_UP = 40
_SENSOR_RATE = 8.0
"""Of what sensors add, relative to other weights: noise that is not known yet is taken for open latents."""


def train_simulator(
    episodes: Sequence[Episode],
    config: SimulatorConfig,
    *,
    parent: Simulator | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    members: range | None = None,
) -> Simulator:
    """A simulator of the robots in `episodes`, which may be of many kinds.

    With a `parent` that `has_room`, training starts from its weights and frozen scales and makes `warm_updates`; one
    that never saw notes or rewards learns to read them. `members` trains only those members of the ensemble
    (for workers). Raises InputError without episodes, DataError when they are all too short, ConflictError when
    `checkpoint` belongs to another training.
    """
    if not episodes:
        raise InputError("no episodes to train on", remedy="import logs first, or widen the query")
    chosen = members or range(config.members)
    noted = any(note.strip() for episode in episodes for note in episode.notes)
    judged = any(np.isfinite(e.reward).any() or e.terminated for e in episodes)
    base = None if parent is None else parent.model.grown(notes=noted, tasks=judged)
    model = _first_model(episodes, config, base, chosen, {"notes": noted, "tasks": judged})
    warm = base is not None and model.theta.shape == base.theta[chosen.start : chosen.stop].shape
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        theta = _optimise(
            episodes, model, config, warm, chosen, checkpoint, _key(episodes, config, parent, chosen), progress
        )
    finally:
        torch.set_num_threads(threads)
    specs = {e.spec.digest: e.spec for e in episodes} | ({} if parent is None else {s.digest: s for s in parent.specs})
    return Simulator(model.with_theta(theta), tuple(specs[d] for d in sorted(specs)))


def _key(episodes: Sequence[Episode], config: SimulatorConfig, parent: Simulator | None, members: range) -> str:
    data = [
        [e.robot, e.spec.digest, e.provenance.raw_sha256, e.provenance.part, e.steps, float(np.nansum(e.state))]
        for e in episodes
    ]
    notes = [list(e.notes) for e in episodes]
    more = [notes] if any(notes) else []
    return digest_of([config, data, None if parent is None else parent.digest, list(members), *more])


def _first_model(
    episodes: Sequence[Episode], config: SimulatorConfig, parent: Model | None, members: range, parts: dict[str, bool]
) -> Model:
    relations = _relations(episodes, parent)
    views = {e.spec.digest: (e.spec, view_of(e.spec, relations)) for e in episodes}
    inside = [spec if view is None else view.refined for _, (spec, view) in sorted(views.items())]
    shape = Shape.of(inside, history_s=config.history_s, delay_s=config.delay_s)
    shape = shape.model_copy(update=parts)
    inherited = None
    if parent is not None and parent.shape.covers(shape) and _alike(parent.config, config):
        shape, inherited = parent.shape, parent
    scales: dict[str, Scales] = dict(inherited.scales) if inherited is not None else {}
    starts: dict[str, np.ndarray] = dict(inherited.starts) if inherited is not None else {}
    by_key: dict[str, tuple[Structure, list[Episode]]] = {}
    for episode in episodes:
        view = views[episode.spec.digest][1]
        structure = Structure(episode.spec if view is None else view.refined, shape, view)
        by_key.setdefault(structure.key, (structure, []))[1].append(episode)
    for key, (structure, found) in by_key.items():
        recording = Recording.of(found, structure)
        fresh = recording_scales(structure, recording)
        if key not in scales or not scales[key].close_to(fresh):
            scales[key] = fresh
        starts[key] = starts_of(recording)
    if inherited is not None:
        theta = inherited.theta[members.start : members.stop].clone()
    else:
        theta = initial_weights(shape, config, members)
    model = Model(config, shape, _traits(episodes, inherited), theta, scales, starts, relations=relations)
    return model if inherited is None else _reward_units(model, inherited.traits)


def _relations(episodes: Sequence[Episode], parent: Model | None) -> dict[str, Relations]:
    """Those that the parent found, and those of channels that are new."""
    known = {} if parent is None else dict(parent.relations)
    fresh: dict[str, list[Episode]] = {}
    for episode in episodes:
        fresh.setdefault(channels_key(episode.spec), []).append(episode)
    asked = {key: found for key, found in fresh.items() if key not in known and undetermined(found[0].spec)}
    return known | {key: find_relations(found) for key, found in asked.items()}


def has_room(parent: Simulator, spec: RobotSpec, config: SimulatorConfig) -> bool:
    """Whether a training on `spec` would begin with the weights of `parent`, and not from chance."""
    needed = Shape.of([spec], history_s=config.history_s, delay_s=config.delay_s)
    return parent.model.shape.covers(needed) and _alike(parent.model.config, config)


def _alike(a: SimulatorConfig, b: SimulatorConfig) -> bool:
    """Whether members of `a` may become members of `b`."""
    names = ("width", "messages", "terms", "memory", "scene", "history_s", "delay_s")
    return a.members >= b.members and all(getattr(a, name) == getattr(b, name) for name in names)


def _traits(episodes: Sequence[Episode], inherited: Model | None) -> Traits:
    old = inherited.traits if inherited is not None else Traits()
    rewards = np.concatenate([e.reward for e in episodes])
    rewards = rewards[np.isfinite(rewards)]
    known = {
        "mortal": old.mortal or not all(e.alive.all() for e in episodes),
        "appears": old.appears or any((e.alive[1:] & ~e.alive[:-1]).any() for e in episodes),
        "terminates": old.terminates or any(e.terminated for e in episodes),
    }
    if not len(rewards):
        return old.model_copy(update=known)
    low, high = float(rewards.min()), float(rewards.max())
    return Traits(
        **known,
        rewarded=True,
        reward_center=float(np.median(rewards)),
        reward_scale=float(rewards.std()) if high > low else 1.0,
        reward_low=min(low, old.reward_low) if old.rewarded else low,
        reward_high=max(high, old.reward_high) if old.rewarded else high,
    )


def _reward_units(model: Model, before: Traits) -> Model:
    """`model` with its output of rewards in the units of its traits; the weights are in those of `before`."""
    now = model.traits
    if not before.rewarded or not model.shape.tasks:
        return model
    theta = model.theta.clone()
    weights = unpack(theta, model.layout)
    factor = before.reward_scale / now.reward_scale
    weights["task.out.small"][..., 0] *= factor
    weights["task.out.b"][..., 0] *= factor
    weights["task.out.b"][..., 0] += (before.reward_center - now.reward_center) / now.reward_scale
    return model.with_theta(theta)


def _optimise(
    episodes: Sequence[Episode], model: Model, config: SimulatorConfig, warm: bool, members: range,
    checkpoint: Path | None, key: str, progress: Progress | None,
) -> Tensor:  # fmt: skip
    lengths = config.stages(warm)
    groups = make_groups(episodes, model, max(lengths))
    known = KnownRobots.of(groups, config)
    believed = read_known(episodes, model, groups, known) if warm else known.initial(len(model.theta))
    state, begin = Optimiser.of(torch.cat([model.theta, believed], dim=1), model.layout), 0
    if checkpoint is not None and (found := checkpoints.load(checkpoint, key=key)) is not None:
        state.restore(found[0])
        begin = found[1]
    peak = config.warm_learning_rate if warm else config.learning_rate
    for update in range(begin, len(lengths)):
        rate = peak * min(1.0, (update + 1) / _WARM_UP) * _cosine(update / len(lengths))
        loss = _one_update(groups, known, model, config, state, members, update, lengths[update], rate)
        done = update + 1
        if checkpoint is not None and (done % config.checkpoint_every == 0 or done == len(lengths)):
            checkpoints.save(checkpoint, state.tensors(), key=key, update=done)
        if progress is not None and (done % 20 == 0 or done == len(lengths)):
            progress(done / len(lengths), f"update {done}/{len(lengths)}, {lengths[update]} steps, loss {loss:.3f}")
    if not state.average.isfinite().all():
        raise DataError("training diverged: weights are not finite", code="diverged", remedy="lower learning_rate")
    return state.average[:, : model.theta.shape[1]].clone()


def read_known(episodes: Sequence[Episode], model: Model, groups: list[Group], known: KnownRobots) -> Tensor:
    """[M, width]: what the weights of `model` read in the logs of each robot, as `KnownRobots` holds it."""
    own: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        own.setdefault((model.structure(episode.spec).key, episode.robot), []).append(episode)

    def read(place: int, serial: str) -> tuple[Tensor, Tensor]:
        logs = own[groups[place].frame.structure.key, serial]
        logs = [log for log in logs if log.spec.digest == logs[-1].spec.digest]
        scene = ground(model, Prompt(logs[-1].spec, tuple(logs)))
        return scene.mean, scene.independent

    return known.beginning_with(read)


def _cosine(share: float) -> float:
    return 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share))


def _one_update(
    groups: list[Group],
    known: KnownRobots,
    model: Model,
    config: SimulatorConfig,
    state: Optimiser,
    members: range,
    update: int,
    steps: int,
    rate: float,
) -> float:
    place = _choose(groups, config, update)
    group = groups[place]
    steps = min(steps, group.longest)
    batch = draw(group, config, update, members, steps)
    noise = Noise.of(group, batch, config, update, members, steps)
    entities = group.frame.structure.entities
    theta = state.theta.detach().requires_grad_()
    weights, believed = theta.split([model.theta.shape[1], known.width], dim=1)
    posterior = known.posterior(believed, place, entities, batch.robot)
    loss = batch_loss(unpack(weights, model.layout), group, batch, config, model.traits, noise, steps, posterior)
    loss = loss + config.prior_weight * known.mismatch(believed, place, entities)
    loss = loss + config.belief_weight * (posterior[0] ** 2).sum((1, 3)).mean(1)
    (gradient,) = torch.autograd.grad(loss.sum(), theta)
    with torch.no_grad():
        state.theta = theta.detach()
        state.update(gradient, update, rate * _rates(model, theta.shape[1], config), config)
    return float(loss.detach().mean())


def _rates(model: Model, columns: int, config: SimulatorConfig) -> Tensor:
    """[columns] learning rates relative to that of the weights."""
    rates = torch.ones(columns)
    rates[columns_of("condition.sensor.b", model.layout)] = _SENSOR_RATE
    rates[model.theta.shape[1] :] = config.known_rate
    return rates


def _choose(groups: list[Group], config: SimulatorConfig, update: int) -> int:
    """Place of a group: structures in proportion to a power of their rows, the same for all members."""
    rows = np.array([len(g.recording.starts(1)) for g in groups], dtype=float)
    weights = np.where(rows > 0, rows**config.balance, 0.0)
    index = np.random.default_rng([config.seed, update, 1 << 20]).choice(len(groups), p=weights / weights.sum())
    return int(index)
