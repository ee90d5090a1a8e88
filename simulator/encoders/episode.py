"""Prompt encoder for seconds of the robot's own log: short chunks, each an opinion on the scene.

A chunk is eight knots about 20 ms apart with the commands from 60 ms before; the network sees states, changes and
commands of every entity, pooled once over entities. It does not look at rewards, notes or media.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from simulator import dynamics, features, network
from simulator.config import SimulatorConfig
from simulator.encoders.registry import Factors
from simulator.frame import Frame
from simulator.network import Weights
from simulator.prompt import Prompt
from simulator.recording import Recording
from simulator.structure import CHUNK_KNOTS, Shape

_LEAD = 3
MOST_CHUNKS = 48


class EpisodeEncoder:
    name = "episode"
    parts = ("episodes",)

    def layout(self, shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
        d, p, z = config.width, config.messages, config.scene
        inputs = CHUNK_KNOTS * (3 * shape.slots + shape.inputs) + _LEAD * shape.inputs
        return {
            "episode.in": (inputs, d), "episode.static": (features.width(shape), d), "episode.in.b": (d,),
            "episode.message": (d, p), "episode.hidden": (d + 3 * p, d), "episode.hidden.b": (d,),
            "episode.value": (d, d), "episode.weight": (d, d), "episode.weight.b": (d,),
            "episode.precision": (d, z), "episode.precision.b": (z,),
            "episode.pooled": (d + 1, d), "episode.pooled.b": (d,), "episode.last": (d, d), "episode.last.b": (d,),
            "episode.mean": (d, z), "episode.mean.b": (z,),
        }  # fmt: skip

    def factors(self, w: Weights, frame: Frame, prompt: Prompt) -> Factors | None:
        if not prompt.episodes:
            return None
        recording = Recording.of(prompt.episodes, frame.structure)
        rows = torch.from_numpy(recording.starts(frame.chunk_rows))
        # consecutive chunks, at most MOST_CHUNKS of them, evenly spread
        rows = rows[(rows - recording.first[rows]) % frame.chunk_rows == 0]
        if len(rows) == 0:
            return None
        if len(rows) > MOST_CHUNKS:
            rows = rows[torch.linspace(0, len(rows) - 1, MOST_CHUNKS).long()]
        members = next(iter(w.values())).shape[0]
        x = chunk_features(recording, frame, rows[None].expand(members, -1))
        used = torch.ones(members, 1, len(rows))
        static = frame.static[None, :, None, :].expand(members, -1, -1, -1)
        found = self.encode(w, frame, x, static, used)
        return Factors(*(part.transpose(1, 2).flatten(2) for part in found))

    def encode(self, w: Weights, frame: Frame, x: Tensor, static: Tensor, used: Tensor) -> Factors:
        """`x` [M, E, G * n, F] features of n chunks of each of G prompts, `static` [M, E, G, F], `used` [M, G, n], 1
        where a chunk counts. One opinion per prompt and entity: mean and precision [M, E, G, Z].

        The mean is read from a weighted average over chunks, so that chunks may speak together; the precision is a sum
        over them, so that more of them never widens it.
        """
        members, entities, groups, _ = static.shape
        n = used.shape[2]
        base = network.linear(static, w["episode.static"], w["episode.in.b"])
        hidden = network.linear(x, w["episode.in"]).view(members, entities, groups, n, -1) + base[:, :, :, None]
        hidden = silu(hidden).flatten(2, 3)
        pooled = network.pool(network.linear(hidden, w["episode.message"]), frame.adjacency)
        hidden = silu(network.linear(torch.cat([hidden, pooled], -1), w["episode.hidden"], w["episode.hidden.b"]))
        weight = softplus(network.linear(hidden, w["episode.weight"], w["episode.weight.b"]))
        value = network.linear(hidden, w["episode.value"])
        precision = softplus(network.linear(hidden, w["episode.precision"], w["episode.precision.b"]) - 2.0)
        counted = used[:, None, :, :, None]
        weight, value, precision = (a.view(members, entities, groups, n, -1) for a in (weight, value, precision))
        total = (weight * counted).sum(3)
        average = (weight * counted * value).sum(3) / total.clamp_min(1e-6)
        amount = torch.log1p(used.sum(2))[:, None, :, None].expand(-1, entities, -1, 1) / 4.0
        joined = torch.cat([average, amount], -1)
        hidden = silu(network.linear(joined, w["episode.pooled"], w["episode.pooled.b"]) + base)
        hidden = hidden + silu(network.linear(hidden, w["episode.last"], w["episode.last.b"]))
        mean = network.linear(hidden, w["episode.mean"], w["episode.mean.b"])
        return Factors(mean, (precision * counted).sum(3))


def chunk_features(recording: Recording, frame: Frame, rows: Tensor) -> Tensor:
    """[M, E, n, F] of the chunks that start at `rows` int64 [M, n]. What lies beyond the recording repeats its last
    row: chunks of logs too short for one are computed, and not used."""
    shape, stride = frame.structure.shape, frame.chunk_stride
    knots = (rows[..., None] + torch.arange(CHUNK_KNOTS + 1) * stride).clamp_max(recording.rows - 1)
    x = recording.x[knots].permute(0, 3, 1, 2, 4)
    flat = x.flatten(2, 3)
    values = dynamics.slot_features(flat, frame.repeated(CHUNK_KNOTS + 1)).view(*x.shape[:4], -1)[..., :-1, :]
    delta = frame.difference(x[..., 1:, :].flatten(2, 3), x[..., :-1, :].flatten(2, 3)).view(
        *x.shape[:3], CHUNK_KNOTS, -1
    )
    scale = frame.step_scale * stride
    if shape.pairs:
        moving = frame.scale[..., shape.pairs : 2 * shape.pairs] * frame.dt * stride
        scale = torch.cat([moving, scale[..., shape.pairs :]], dim=-1)
    change = dynamics.soft(delta / scale[..., None, :]) * frame.present[:, :, None]
    before = torch.arange(-_LEAD, CHUNK_KNOTS) * stride
    at = torch.maximum(rows[..., None] + before, recording.first[rows][..., None])
    at = at.clamp_max(recording.rows - 1)
    inputs = frame.normalise_inputs(recording.inputs[at].permute(0, 3, 1, 2, 4), rows=1)
    return torch.cat([values.flatten(-2), change.flatten(-2), inputs.flatten(-2)], dim=-1)


ENCODER = EpisodeEncoder()
