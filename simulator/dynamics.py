"""One step of the world in physical units: features in, derivatives integrated, noise added. Shared by training and
worlds.

The inductive biases are here and are few: quantities with a derivative channel are integrated by the trapezoid rule
with a learned residual, angles enter as sine and cosine, unit vectors are renormalised, changes are relative to the
state just reached. Noise is given by the caller; this module draws none.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from simulator import kinetics, network
from simulator.frame import Frame
from simulator.network import Conditioning, Weights

_RATES, _CHANGE = 8.0, 40.0
"""Scaled rates and changes of rate that are bent: far above what robots do."""
_RARE = 4.0
"""Logit below zero at which hazards start: lives end seldom."""


class Core(NamedTuple):
    """State in internal layout: `x` [M, E, B, K], `labels` int64 [M, E, B, Q], `alive` [M, E, B, 1] or None (all
    alive), `memory` [M, E, B, m], `queue` [M, E, B, taps, J] scaled inputs, oldest first."""

    x: Tensor
    labels: Tensor
    alive: Tensor | None
    memory: Tensor
    queue: Tensor


class Advance(NamedTuple):
    """`core` with sampled `x`; logits of the next `labels` [M, E, B, Q, L], of dying and appearing [M, E, B, 2]."""

    core: Core
    labels: Tensor
    life: Tensor


def squash(x: Tensor) -> Tensor:
    """x / sqrt(1 + x²): smooth, within (-1, 1)."""
    return x * torch.rsqrt(1.0 + x * x)


def soft(x: Tensor) -> Tensor:
    """Near the identity up to 3, within (-6, 6): features of a state far from the data stay bounded."""
    return 6.0 * squash(x / 6.0)


FAR, _RETURN_S = 20.0, 0.05
"""Scaled value above which a state is drawn back, and how fast. Real motion reaches 10 when the scales come from quiet
logs."""


def slot_features(x: Tensor, frame: Frame) -> Tensor:
    """[M, E, B, 2K]: sine and cosine of angles; of everything else the scaled value, and its saturation (a smooth sign)
    or, where the specification gives limits, how deep it is in the outer tenth of its range: end stops are there."""
    scaled = torch.addcmul(frame.offset, x, frame.inverse)
    squared = scaled * scaled
    first = scaled * torch.rsqrt(1.0 + squared * (1.0 / 36.0))  # `soft`
    second = scaled * torch.rsqrt(0.04 + squared)  # `squash(5 x)`
    if frame.any_limited:
        outside = (x - torch.minimum(torch.maximum(x, frame.low), frame.high)) * frame.depth
        second = torch.where(frame.limited, soft(outside), second)
    if frame.any_angle:
        first = torch.where(frame.angle, torch.sin(x), first)
        second = torch.where(frame.angle, torch.cos(x), second)
    if not frame.all_present:
        first, second = first * frame.present, second * frame.present
    return torch.cat([first, second], dim=-1)


def motion_features(x: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """How an entity is turned in the world, by its own angle and those of the joints that carry it about parallel
    axes: sine and cosine [M, E, B, 2]; and its scaled rates, that of its turning in the world, and their squares,
    which forces of inertia are made of, [M, E, B, 2 * pairs + 2]."""
    pairs = frame.structure.shape.pairs
    rates = x[..., pairs : 2 * pairs] * frame.inverse[..., pairs : 2 * pairs]
    turned = turn(x[..., :1], frame.lineage)
    turning = turn(x[..., pairs : pairs + 1], frame.lineage) * frame.inverse[..., pairs : pairs + 1]
    rates = bent(torch.cat([rates, turning * frame.turning], dim=-1), _RATES)
    orientation = torch.cat([torch.sin(turned), torch.cos(turned)], dim=-1) * frame.turning
    return orientation, torch.cat([rates, bent(rates * rates, 2 * _RATES)], dim=-1)


def bent(x: Tensor, limit: float) -> Tensor:
    """x / sqrt(1 + (x / limit)²): near the identity below `limit`."""
    return x * torch.rsqrt(1.0 + x * x * (1.0 / limit**2))


def turn(x: Tensor, lineage: Tensor) -> Tensor:
    """[M, E, B, 1] summed over an entity and those that carry it; `lineage` [E, E]."""
    members, entities, batch, _ = x.shape
    return torch.matmul(lineage, x.reshape(members, entities, batch)).unsqueeze(-1)


def spread(raw: Tensor, largest: float = 2.0) -> Tensor:
    """Standard deviation in step scales from a raw output: exp within (-8, `largest`), exp(-2) at 0."""
    bent = raw * torch.rsqrt(1.0 + raw * raw * (1.0 / 36.0))
    return torch.exp(torch.where(bent < 0, bent, bent * ((largest + 2.0) / 6.0)) - 2.0)


SENSOR = 4.0
"""`largest` of a sensor's noise: poor sensors of slow robots show fifty times the usual change of a step."""


def one_hot(labels: Tensor, count: int) -> Tensor:
    """int64 [..., Q] to float [..., Q * count]."""
    flat = torch.nn.functional.one_hot(labels.clamp(0, max(0, count - 1)), max(1, count)).to(torch.float32)
    return flat.flatten(-2)


def advance(
    w: Weights, frame: Frame, core: Core, c: Conditioning, noise: Tensor | None, dt: Tensor, substeps: int = 1
) -> Advance:
    """`noise` standard normals [M, E, B, K] or None for the mean; `dt` seconds [M or 1, 1, B or 1, 1], made in
    `substeps` equal parts; the noise comes with the last.

    The commands that act are those of the last row of `core.queue`, those before it may still be under way.
    """
    members, entities, batch, _ = core.x.shape
    part = dt if substeps == 1 else dt / substeps
    log_dt = torch.log(part / frame.substep).expand(members, entities, batch, 1)
    for index in range(substeps):
        out = _evaluate(w, frame, core, c, log_dt)
        x = integrate(frame, core.x, out, noise if index == substeps - 1 else None, part, dt)
        if core.alive is not None:
            x = torch.where(core.alive > 0, x, core.x)
        gate = torch.sigmoid(out.gate) * (part * (0.5 / frame.dt)).clamp(max=1.0)
        core = core._replace(x=x, memory=torch.lerp(core.memory, squash(out.candidate), gate))
    logits = out.labels
    if frame.structure.shape.categories:
        logits = logits.view(members, entities, batch, frame.structure.shape.categories, -1)
        logits = logits.masked_fill(~frame.label_mask, -1e9)
    return Advance(core, logits, out.life - _RARE)


def _evaluate(w: Weights, frame: Frame, core: Core, c: Conditioning, log_dt: Tensor) -> network.StepOutput:
    shape = frame.structure.shape
    members, entities, batch, _ = core.x.shape
    slots, queue = slot_features(core.x, frame), (core.queue * frame.tap_mask).flatten(-2)
    one = core.x.new_ones(1, 1, 1, 1)
    parts = [slots, queue, core.memory]
    if shape.pairs:
        orientation, motion = motion_features(core.x, frame)
        parts += [orientation, motion]
    if shape.categories:
        parts.append(one_hot(core.labels, shape.labels))
    alive = one if core.alive is None else core.alive
    parts += [alive.expand(members, entities, batch, 1), log_dt]
    out = network.step(w, torch.cat(parts, dim=-1), c, core.alive, frame.adjacency, shape)
    if not shape.pairs:
        return out
    p, k = shape.pairs, shape.slots
    configuration = [slots[..., :p], slots[..., 2 * p : k], slots[..., k : k + p], slots[..., k + 2 * p :], orientation]
    drive = [motion, slots[..., k + p : k + 2 * p], queue, one.expand(members, entities, batch, 1)]
    extra = network.form(w, torch.cat(configuration, -1), torch.cat(drive, -1), c, core.alive, frame.adjacency)
    if c.joints is not None:
        rate = core.x[..., p : 2 * p] * frame.inverse[..., p : 2 * p]
        own = network.joint_forces(rate, queue, c.joints)
        extra = torch.cat([extra[..., :p], extra[..., p : 2 * p] + own, extra[..., 2 * p :]], dim=-1)
    return out._replace(mean=_moved_together(frame, core, c, bent(out.mean + extra, _CHANGE)))


def _moved_together(frame: Frame, core: Core, c: Conditioning, mean: Tensor) -> Tensor:
    """`mean` with what the networks said of rates taken as forces on what moves together (see `kinetics`)."""
    if c.inertia is None or frame.ties is None:
        return mean
    p = frame.structure.shape.pairs
    position, rate, force = core.x[..., :p], core.x[..., p : 2 * p], mean[..., p : 2 * p]
    unit = frame.rate_unit[(None,) * (4 - frame.rate_unit.dim())][..., p : 2 * p]
    found = kinetics.accelerations(c.inertia, frame.ties, position, rate, force, unit, core.alive)
    return torch.cat([mean[..., :p], found, mean[..., 2 * p :]], dim=-1)


def integrate(
    frame: Frame, x: Tensor, out: network.StepOutput, noise: Tensor | None, dt: Tensor, period: Tensor
) -> Tensor:
    """The next x [M, E, B, K] after `dt`; noise is that of a whole `period`."""
    pairs = frame.structure.shape.pairs
    moved = torch.addcmul(x, out.mean, frame.present_rate * dt)
    if noise is not None:
        moved = torch.addcmul(moved, spread(out.spread) * noise, frame.present_rate * torch.sqrt(period * frame.dt))
    if pairs:
        # q' = q + dt (v + v') / 2 + learned residual
        both = x[..., pairs : 2 * pairs] + moved[..., pairs : 2 * pairs]
        moved = torch.cat([torch.addcmul(moved[..., :pairs], both, 0.5 * dt), moved[..., pairs:]], dim=-1)
    return frame.renormalise(returned(frame, moved, dt))


def returned(frame: Frame, x: Tensor, dt: Tensor) -> Tensor:
    """x, drawn back where it is more than `FAR` scales out, where no data can have been: no rollout runs away."""
    scaled = torch.addcmul(frame.offset, x, frame.inverse)
    beyond = scaled - scaled.clamp(-FAR, FAR)
    beyond = torch.where(frame.angle, torch.zeros_like(beyond), beyond)
    return x - beyond / frame.inverse * (dt / _RETURN_S).clamp(max=1.0)


def push(queue: Tensor, inputs: Tensor) -> Tensor:
    """The queue [M, E, B, taps, J] after scaled `inputs` [M, E, B, J] were sent."""
    return torch.cat([queue[..., 1:, :], inputs[..., None, :]], dim=-2)


def start(
    w: Weights, frame: Frame, c: Conditioning, history: Tensor, inputs: Tensor, known: Tensor, noise: Tensor | None
) -> tuple[Tensor, Tensor]:
    """First x [M, E, B, K] and memory from `history` [M, E, B, H + 1, K] (last row: now), scaled `inputs` [M, E, B,
    H, J] and `known` [M, 1, B, H] (1 where a past row is known). H is `frame.history_rows`."""
    now = history[..., -1, :]
    given = torch.cat([slot_features(now, frame), knot_features(frame, history, inputs, known)], dim=-1)
    slots = frame.structure.shape.slots
    correction, uncertain, memory = network.filter_history(w, given, c, slots)
    x = now + correction * frame.step_scale * frame.present
    if noise is not None:
        x = x + spread(uncertain) * frame.step_scale * frame.present * noise
    return frame.renormalise(x), memory


def knot_features(frame: Frame, history: Tensor, inputs: Tensor, known: Tensor) -> Tensor:
    """[M, E, B, knots * (2K + J + 1)]: per knot the scaled change since then, the disagreement of measured and
    differenced velocity, the input, and whether the knot is known."""
    shape, stride, pairs = frame.structure.shape, frame.knot_stride, frame.structure.shape.pairs
    rows = history.shape[-2] - 1
    index = [rows - stride * (i + 1) for i in range(shape.knots)]
    age = history.new_tensor([stride * (i + 1) * frame.dt for i in range(shape.knots)])[:, None]
    now = history[..., -1:, :]
    delta = history[..., index, :] - now
    turns = torch.floor((delta + torch.pi) / (2 * torch.pi)) * (2 * torch.pi)
    delta = torch.where(frame.angle[..., None, :], delta - turns, delta)
    mask = known[..., index][..., None]
    used = torch.arange(shape.knots, device=history.device)[:, None] < frame.knots
    mask = mask * used
    change = soft(delta / (frame.step_scale[..., None, :] * torch.sqrt(age / frame.dt) + 1e-9) / 2.0)
    zeros = torch.zeros_like(delta)
    if pairs:
        velocity, scale = now[..., pairs : 2 * pairs], frame.scale[..., None, pairs : 2 * pairs]
        mismatch = soft(3.0 * (velocity + delta[..., :pairs] / age) / scale)
        fine = soft(30.0 * (velocity + delta[..., :pairs] / age) / scale)
        change = torch.cat([mismatch, change[..., pairs:]], dim=-1)
        zeros = torch.cat([fine, zeros[..., pairs:]], dim=-1)
    values = torch.cat([change, zeros, inputs[..., index, :]], dim=-1) * mask
    return torch.cat([values, mask.expand(*values.shape[:-1], 1)], dim=-1).flatten(-2)
