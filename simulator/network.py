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

from simulator import features
from simulator.config import SimulatorConfig
from simulator.structure import Shape

Weights = Mapping[str, Tensor]


class Conditioning(NamedTuple):
    """What a scene sample does to the network: FiLM of two layers, biases of the filter and of the form [M, E, B, D];
    sensor noise [M, E, B, K]."""

    gain1: Tensor
    bias1: Tensor
    gain2: Tensor
    bias2: Tensor
    filter_bias: Tensor
    form_bias: Tensor
    sensor: Tensor


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
        "form.in": (form_inputs(shape), d), "form.message": (d, config.messages),
        "form.hidden": (d + 3 * config.messages, d), "form.hidden.b": (d,),
        "form.gates": (d, 2 * config.terms), "form.gates.b": (2 * config.terms,),
        "form.drive": (drive_inputs(shape), config.terms), "form.mix": (4 * config.terms, config.terms),
        "form.out.small": (config.terms, k),
        "step.in": (inputs, d), "step.message": (d, 2 * config.messages), "step.message.b": (2 * config.messages,),
        "step.hidden": (d + 3 * config.messages, d), "step.gate": (d + 3 * config.messages, d),
        "step.last": (d, d), "step.last.b": (d,), "step.out.small": (d, outputs), "step.out.b": (outputs,),
    }  # fmt: skip


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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[M, E, B, F] by [M, F, D]."""
    members, entities, batch, width = x.shape
    flat = x.reshape(members, entities * batch, width)
    out = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias, flat, weight)
    return out.view(members, entities, batch, -1)


def condition(w: Weights, static: Tensor, z: Tensor, adjacency: Tensor) -> Conditioning:
    """`static` [M or 1, E, B or 1, F], `z` [M, E, B, Z]."""
    members = z.shape[0]
    hidden = linear(static.expand(members, -1, -1, -1), w["condition.static"])
    hidden = silu(hidden + linear(z, w["condition.scene"], w["condition.in.b"]))
    pooled = pool(linear(hidden, w["condition.message"]), adjacency)
    hidden = silu(linear(torch.cat([hidden, pooled], dim=-1), w["condition.hidden"], w["condition.hidden.b"])) + hidden
    gain = 1.0 + linear(hidden, w["condition.gain.small"], w["condition.gain.b"])
    bias1, bias2, filter_bias, form_bias = linear(hidden, w["condition.bias"], w["condition.bias.b"]).chunk(4, dim=-1)
    gain1, gain2 = gain.chunk(2, dim=-1)
    sensor = linear(hidden, w["condition.sensor.small"], w["condition.sensor.b"])
    return Conditioning(gain1, bias1, gain2, bias2, filter_bias, form_bias, sensor)


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
