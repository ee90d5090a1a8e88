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
MOST_CHUNKS = 400


class EpisodeEncoder:
    name = "episode"
    parts = ("episodes",)

    def layout(self, shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
        d, p = config.width, config.messages
        inputs = CHUNK_KNOTS * (3 * shape.slots + shape.inputs) + _LEAD * shape.inputs
        return {
            "episode.in": (inputs, d), "episode.static": (features.width(shape), d), "episode.in.b": (d,),
            "episode.message": (d, p), "episode.hidden": (d + 3 * p, d), "episode.hidden.b": (d,),
            "episode.last": (d, d), "episode.last.b": (d,),
            "episode.out": (d, 2 * config.scene), "episode.out.b": (2 * config.scene,),
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
        return self.encode(w, frame, x, frame.static[None, :, None, :])

    def encode(self, w: Weights, frame: Frame, x: Tensor, static: Tensor) -> Factors:
        """`x` [M, E, n, F] chunk features, `static` [M or 1, E, n or 1, F]."""
        members = x.shape[0]
        base = network.linear(static.expand(members, -1, -1, -1), w["episode.static"], w["episode.in.b"])
        hidden = silu(network.linear(x, w["episode.in"]) + base)
        pooled = network.pool(network.linear(hidden, w["episode.message"]), frame.adjacency)
        hidden = silu(network.linear(torch.cat([hidden, pooled], -1), w["episode.hidden"], w["episode.hidden.b"]))
        hidden = hidden.mean(1, keepdim=True)
        hidden = hidden + silu(network.linear(hidden, w["episode.last"], w["episode.last.b"]))
        out = network.linear(hidden, w["episode.out"], w["episode.out.b"])[:, 0]
        mean, raw = out.chunk(2, dim=-1)
        return Factors(mean, softplus(raw - 2.0))


def chunk_features(recording: Recording, frame: Frame, rows: Tensor) -> Tensor:
    """[M, E, n, F] of the chunks that start at `rows` int64 [M, n]."""
    shape, stride = frame.structure.shape, frame.chunk_stride
    knots = rows[..., None] + torch.arange(CHUNK_KNOTS + 1) * stride
    x = recording.x[knots].permute(0, 3, 1, 2, 4)
    flat = x.flatten(2, 3)
    values = dynamics.slot_features(flat, frame).view(*x.shape[:4], -1)[..., :-1, :]
    delta = frame.difference(x[..., 1:, :].flatten(2, 3), x[..., :-1, :].flatten(2, 3)).view(
        *x.shape[:3], CHUNK_KNOTS, -1
    )
    scale = frame.step_scale * stride
    if shape.pairs:
        moving = frame.scale[..., shape.pairs : 2 * shape.pairs] * frame.dt * stride
        scale = torch.cat([moving, scale[..., shape.pairs :]], dim=-1)
    change = dynamics.soft(delta / scale[:, :, None]) * frame.present[:, :, None]
    before = torch.arange(-_LEAD, CHUNK_KNOTS) * stride
    at = torch.maximum(rows[..., None] + before, recording.first[rows][..., None])
    inputs = frame.normalise_inputs(recording.inputs[at]).permute(0, 3, 1, 2, 4)
    return torch.cat([values.flatten(-2), change.flatten(-2), inputs.flatten(-2)], dim=-1)


ENCODER = EpisodeEncoder()
