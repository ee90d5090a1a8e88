"""The network of one ensemble: scene conditioning (once per scene), history filter (once per reset), a cheap step.

Weights are shared across entities; entities speak through one round of gated pooling (mean of the others, parent,
mean of the children). Rates of change are the sum of a free network and of a form that is linear in what drives.
Everything is batched over members by `baddbmm`. Physics stays in `dynamics`: this module maps numbers to numbers.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from simulator import features, kinetics, mechanism
from simulator.config import SimulatorConfig
from simulator.kinetics import Inertia, Ties
from simulator.structure import Shape

Weights = Mapping[str, Tensor]


SHARPNESS = (5.0, 40.0, 200.0)
"""Slopes at rest of the smooth signs that dry friction is made of, in scaled rates: joints stick at rates far below
those that they move at."""
RESISTING = 1 + len(SHARPNESS)
_LARGEST_POWER = 6.0
"""Bound of the logarithms that coefficients are multiplied by: frictions alone span four powers of e."""
_LESS = 2.0
"""By how much the logarithm of the second of two summands begins below that of the first."""


class Conditioning(NamedTuple):
    """What a scene sample does to the network: FiLM of two layers, biases of the filter and of the form [M, E, B, D];
    sensor noise [M, E, B, K]; what resists and drives each joint [M, E, B, P * (taps * J + RESISTING)]; inertia of
    what moves together, if anything does."""

    gain1: Tensor
    bias1: Tensor
    gain2: Tensor
    bias2: Tensor
    filter_bias: Tensor
    form_bias: Tensor
    sensor: Tensor
    joints: Tensor | None = None
    inertia: Inertia | None = None


class StepOutput(NamedTuple):
    """Raw outputs [M, E, B, ...]: `mean`, `spread` [K]; `gate`, `candidate` [m]; `labels` [Q * L]; `life` [2]."""

    mean: Tensor
    spread: Tensor
    gate: Tensor
    candidate: Tensor
    labels: Tensor
    life: Tensor


def layout(shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape per member, in order. Prompt encoders add their own."""
    d, k, m = config.width, shape.slots, config.memory
    inputs = step_inputs(shape, config)
    filter_inputs = 2 * k + shape.knots * (2 * k + shape.inputs + 1)
    outputs = 2 * k + 2 * m + shape.categories * shape.labels + 2
    return {
        "condition.static": (features.width(shape), d), "condition.scene": (config.scene, d), "condition.in.b": (d,),
        "condition.message": (d, config.messages), "condition.hidden": (d + 3 * config.messages, d),
        "condition.hidden.b": (d,),
        "condition.gain.small": (d, 2 * d), "condition.gain.b": (2 * d,),
        "condition.bias": (d, 4 * d), "condition.bias.b": (4 * d,),
        "condition.sensor.small": (d, k), "condition.sensor.b": (k,),
        "filter.in": (filter_inputs, d), "filter.hidden": (d, d), "filter.hidden.b": (d,),
        "filter.out.small": (d, 2 * k + m), "filter.out.b": (2 * k + m,), "filter.direct.small": (filter_inputs, k),
        "hidden.small": (features.COLUMNS * len(features.physical_fields(shape)), config.scene),
        "form.in": (form_inputs(shape), d), "form.message": (d, config.messages),
        "form.hidden": (d + 3 * config.messages, d), "form.hidden.b": (d,),
        "form.gates": (d, 2 * config.terms), "form.gates.b": (2 * config.terms,),
        "form.drive": (drive_inputs(shape), config.terms), "form.mix": (4 * config.terms, config.terms),
        "form.out.small": (config.terms, k),
        "step.in": (inputs, d), "step.message": (d, 2 * config.messages), "step.message.b": (2 * config.messages,),
        "step.hidden": (d + 3 * config.messages, d), "step.gate": (d + 3 * config.messages, d),
        "step.last": (d, d), "step.last.b": (d,), "step.out.small": (d, outputs), "step.out.b": (outputs,),
    } | (_inertia_layout(shape, d, config.scene) if shape.pairs else {})  # fmt: skip


def _inertia_layout(shape: Shape, d: int, scene: int) -> dict[str, tuple[int, ...]]:
    return {
        "kinetic.body": (d, d), "kinetic.term": (d, d), "kinetic.relation": (mechanism.relation_width(shape.pairs), d),
        "kinetic.b": (d,), "kinetic.out": (d, kinetics.OUTPUTS),
        "kinetic.own.small": (d, shape.pairs), "kinetic.own.b": (shape.pairs,),
        "joint.small": (d, joint_width(shape)), "joint.b": (joint_width(shape),),
        "power.static.small": (features.width(shape), 2 * power_width(shape)),
        "power.scene.small": (scene, 2 * power_width(shape)), "power.b": (2 * power_width(shape),),
    }  # fmt: skip


def power_width(shape: Shape) -> int:
    """Of an entity: points, potential, and per joint its own inertia, what resists it and what drives it."""
    return 2 + shape.pairs * (1 + RESISTING + 1)


class JointColumns(NamedTuple):
    """Of one joint; `friction` is the first of as many as there are `SHARPNESS`."""

    damping: int
    friction: int
    drive: int


class PowerColumns(NamedTuple):
    """What the columns of powers are of."""

    points: int
    potential: int
    own: range
    joints: tuple[JointColumns, ...]


def power_columns(shape: Shape) -> PowerColumns:
    own = range(2, 2 + shape.pairs)
    first = [own.stop + joint * (RESISTING + 1) for joint in range(shape.pairs)]
    return PowerColumns(0, 1, own, tuple(JointColumns(at, at + 1, at + RESISTING) for at in first))


def joint_width(shape: Shape) -> int:
    return shape.pairs * (shape.taps * shape.inputs + RESISTING)


def step_inputs(shape: Shape, config: SimulatorConfig) -> int:
    motion = 4 + 2 * shape.pairs if shape.pairs else 0
    return 2 * shape.slots + motion + shape.categories * shape.labels + shape.taps * shape.inputs + config.memory + 2


def form_inputs(shape: Shape) -> int:
    """Positions and orientation of an entity."""
    return 2 * (shape.pairs + shape.others) + 2


def drive_inputs(shape: Shape) -> int:
    """Rates with that of turning in the world, their squares, their signs, inputs under way, and 1."""
    return 3 * shape.pairs + 2 + shape.taps * shape.inputs + 1


def form(
    w: Weights, configuration: Tensor, drive: Tensor, c: Conditioning, alive: Tensor | None, adjacency: Tensor
) -> Tensor:
    """Rates [K] that are linear in what drives (rates, their squares, inputs) with coefficients that depend on the
    configuration and the scene only: the form of d'Alembert's principle, which holds far from the data."""
    h = silu(linear(configuration, w["form.in"]) + c.form_bias)
    message = linear(h, w["form.message"])
    joined = torch.cat([h, pool(message if alive is None else message * alive, adjacency)], dim=-1)
    h = h + silu(linear(joined, w["form.hidden"], w["form.hidden.b"]))
    own, mixed = linear(h, w["form.gates"], w["form.gates.b"]).chunk(2, dim=-1)
    terms = linear(drive, w["form.drive"]) * own
    terms = terms if alive is None else terms * alive
    terms = linear(torch.cat([terms, pool(terms, adjacency)], dim=-1), w["form.mix"]) * mixed
    return linear(terms, w["form.out.small"])


def joint_forces(rate: Tensor, queue: Tensor, joints: Tensor) -> Tensor:
    """[M, E, B, P]: what damping, dry friction and the entity's own inputs do to each of its joints, with coefficients
    of the scene alone. `rate` [M, E, B, P] scaled, `queue` [M, E, B, taps * J]."""
    signs = [rate * slope * torch.rsqrt(1.0 + (rate * slope) ** 2) for slope in SHARPNESS]
    resisting = torch.stack([rate * torch.rsqrt(1.0 + rate * rate * (1.0 / 64.0)), *signs], dim=-1)
    split = rate.shape[-1] * RESISTING
    resistance: Tensor = (_split(joints[..., :split], rate.shape[-1]) * resisting).sum(-1)
    drive: Tensor = (_split(joints[..., split:], rate.shape[-1]) * queue[..., None, :]).sum(-1)
    return resistance + drive


def _split(x: Tensor, parts: int) -> Tensor:
    """[..., parts * n] to [..., parts, n]."""
    return x.reshape(*x.shape[:-1], parts, -1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[M, E, B, F] by [M, F, D]."""
    members, entities, batch, width = x.shape
    flat = x.reshape(members, entities * batch, width)
    out = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias, flat, weight)
    return out.view(members, entities, batch, -1)


def hidden(w: Weights, quantities: Tensor) -> Tensor:
    """[M, E, B, Z]: what a latent has to say where a specification leaves out `quantities` [M, E, B, 3 Q] (see
    `features`): linear, as the logarithms of coefficients are in both."""
    return linear(quantities, w["hidden.small"])


def condition(w: Weights, static: Tensor, z: Tensor, adjacency: Tensor, ties: Ties | None = None) -> Conditioning:
    """`static` [M or 1, E, B or 1, F], `z` [M, E, B, Z]; `ties` of the robot's mechanism, None where nothing turns."""
    members = z.shape[0]
    hidden = linear(static.expand(members, -1, -1, -1), w["condition.static"])
    hidden = silu(hidden + linear(z, w["condition.scene"], w["condition.in.b"]))
    pooled = pool(linear(hidden, w["condition.message"]), adjacency)
    hidden = silu(linear(torch.cat([hidden, pooled], dim=-1), w["condition.hidden"], w["condition.hidden.b"])) + hidden
    gain = 1.0 + linear(hidden, w["condition.gain.small"], w["condition.gain.b"])
    bias1, bias2, filter_bias, form_bias = linear(hidden, w["condition.bias"], w["condition.bias.b"]).chunk(4, dim=-1)
    gain1, gain2 = gain.chunk(2, dim=-1)
    sensor = linear(hidden, w["condition.sensor.small"], w["condition.sensor.b"])
    found = Conditioning(gain1, bias1, gain2, bias2, filter_bias, form_bias, sensor)
    if "joint.small" not in w:
        return found
    powers = _powers(w, static.expand(members, -1, -1, -1), z)
    joints = linear(hidden, w["joint.small"], w["joint.b"]) * _joint_factors(powers, _under_way(w))
    found = found._replace(joints=joints)
    return found if ties is None else found._replace(inertia=_inertia(w, hidden, powers, ties))


class Powers(NamedTuple):
    """Logarithms of sums of two exponentials, as masses, lengths, gears and loads enter the coefficients of mechanics:
    each is linear in what a specification says (itself in logarithms) and in the scene latent. `bodies` [M, E, B, 2],
    `own` [M, E, B, P], `joints` [M, E, B, P, RESISTING + 1]."""

    bodies: Tensor
    own: Tensor
    joints: Tensor


def _powers(w: Weights, static: Tensor, z: Tensor) -> Powers:
    each = linear(static, w["power.static.small"]) + linear(z, w["power.scene.small"], w["power.b"])
    one, other = each.chunk(2, dim=-1)
    raw = torch.logaddexp(one, other - _LESS)
    bounded = _LARGEST_POWER * torch.tanh(raw / _LARGEST_POWER)
    joints = (bounded.shape[-1] - 2) // (RESISTING + 2)
    bodies, own, rest = bounded.split([2, joints, joints * (RESISTING + 1)], dim=-1)
    return Powers(bodies, own, _split(rest, joints))


def _joint_factors(powers: Powers, inputs: int) -> Tensor:
    """[M, E, B, P * (RESISTING + taps * J)] of coefficients laid out as `joint_forces` takes them; `inputs` is taps *
    J."""
    factor = torch.exp(powers.joints)
    drive = factor[..., RESISTING:].expand(*factor.shape[:-1], inputs)
    return torch.cat([factor[..., :RESISTING].flatten(-2), drive.flatten(-2)], dim=-1)


def _under_way(w: Weights) -> int:
    """taps * J: how many inputs of an entity drive each of its joints."""
    joints = w["kinetic.own.small"].shape[-1]
    return w["joint.small"].shape[-1] // joints - RESISTING


def _inertia(w: Weights, hidden: Tensor, powers: Powers, ties: Ties) -> Inertia:
    """A body's coefficient of a term is read from both and from how they stand to each other."""
    members, _, batch, _ = hidden.shape
    bodies, terms = linear(hidden, w["kinetic.body"], w["kinetic.b"]), linear(hidden, w["kinetic.term"])
    terms = torch.matmul(ties.members, terms.flatten(2)).view(members, -1, batch, terms.shape[-1])
    relation = torch.matmul(ties.relation, w["kinetic.relation"][:, None])
    joined = silu(bodies[:, :, None] + terms[:, None] + relation[:, :, :, None])
    raw = torch.bmm(joined.flatten(1, 3), w["kinetic.out"]).view(*joined.shape[:-1], -1)
    points = 2 * kinetics.AXES
    point, potential = torch.exp(powers.bodies)[:, :, None].split(1, dim=-1)
    raw = torch.cat([raw[..., :points] * point, raw[..., points:] * potential], dim=-1)
    own = linear(hidden, w["kinetic.own.small"], w["kinetic.own.b"]) + powers.own
    return kinetics.coefficients(raw, own, ties)


def filter_history(w: Weights, x: Tensor, c: Conditioning, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Correction [K] of the last measured state in step scales, its log spread [K] and the first memory [m]."""
    hidden = silu(linear(x, w["filter.in"]) + c.filter_bias)
    hidden = silu(linear(hidden, w["filter.hidden"], w["filter.hidden.b"]))
    out = linear(hidden, w["filter.out.small"], w["filter.out.b"])
    # What is linear in the history, such as a fit of a line, needs no detour.
    return (
        out[..., :slots] + linear(x, w["filter.direct.small"]),
        out[..., slots : 2 * slots],
        torch.tanh(out[..., 2 * slots :]),
    )


def step(w: Weights, x: Tensor, c: Conditioning, alive: Tensor | None, adjacency: Tensor, shape: Shape) -> StepOutput:
    """One step of all entities. `x` [M, E, B, I]; `alive` [M, E, B, 1] or None when all are; `adjacency` [3E, E]."""
    h1 = silu(torch.addcmul(c.bias1, linear(x, w["step.in"]), c.gain1))
    message = linear(h1, w["step.message"], w["step.message.b"])
    half = message.shape[-1] // 2
    message = torch.sigmoid(message[..., :half]) * message[..., half:]
    pooled = pool(message if alive is None else message * alive, adjacency)
    joined = torch.cat([h1, pooled], dim=-1)
    h2 = silu(torch.addcmul(c.bias2, linear(joined, w["step.hidden"]), c.gain2)) * linear(joined, w["step.gate"])
    h3 = h2 + silu(linear(h2, w["step.last"], w["step.last.b"]))
    out = linear(h3, w["step.out.small"], w["step.out.b"])
    k, labels = shape.slots, shape.categories * shape.labels
    memory = (out.shape[-1] - 2 * k - labels - 2) // 2
    return StepOutput(*out.split([k, k, memory, memory, labels, 2], dim=-1))


def pool(message: Tensor, adjacency: Tensor) -> Tensor:
    """[M, E, B, P] to [M, E, B, 3P]."""
    members, entities, batch, width = message.shape
    mixed = torch.matmul(adjacency, message.reshape(members, entities, batch * width))
    mixed = mixed.view(members, 3, entities, batch, width)
    return mixed.permute(0, 2, 3, 1, 4).reshape(members, entities, batch, 3 * width)
