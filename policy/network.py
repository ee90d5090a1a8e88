"""The networks: a policy and a value over windows of physical history. All normalisation is inside.

The policy's command is `centre + scale * tanh(mean)`, so it is within the limits whatever the weights. These
modules do not
train themselves and hold no history; callers keep the window (see `policy.windows`).
"""

import math

import torch
from torch import Tensor, nn

from policy.features import Features, Scales


class PolicyNetwork(nn.Module):
    """state_history [B, K, S], command_history [B, K, C] -> command [B, C], physical units."""

    log_std: Tensor

    def __init__(self, scales: Scales, history_steps: int, width: int, depth: int, exploration: float = 0.4) -> None:
        super().__init__()
        self.features = Features(scales, history_steps)
        commands = len(scales.command_scale)
        self.body = perceptron(self.features.width, width, depth, commands)
        last = self.body[-1]
        nn.init.orthogonal_(last.weight, gain=0.01)  # type: ignore[arg-type]
        self.log_std = nn.Parameter(torch.full((commands,), math.log(exploration)))

    def mean(self, state_history: Tensor, command_history: Tensor) -> Tensor:
        """[B, C] before squashing."""
        out: Tensor = self.body(self.features(state_history, command_history))
        return out

    def squash(self, raw: Tensor) -> Tensor:
        """[B, C] physical units, strictly within the command range."""
        return self.features.command_centre + self.features.command_scale * torch.tanh(raw)

    def forward(self, state_history: Tensor, command_history: Tensor) -> Tensor:
        return self.squash(self.mean(state_history, command_history))


class ValueNetwork(nn.Module):
    """state_history [B, K, S], command_history [B, K, C] -> discounted return to go [B]."""

    def __init__(self, scales: Scales, history_steps: int, width: int, depth: int) -> None:
        super().__init__()
        self.features = Features(scales, history_steps)
        self.body = perceptron(self.features.width, width, depth, 1)
        nn.init.orthogonal_(self.body[-1].weight, gain=0.1)  # type: ignore[arg-type]

    def forward(self, state_history: Tensor, command_history: Tensor) -> Tensor:
        out: Tensor = self.body(self.features(state_history, command_history))
        return out[:, 0]


def perceptron(inputs: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    """Linear, LayerNorm, ELU per hidden layer (SHAC, Xu et al. 2022, appendix: layer norm keeps the value's slope
    tame)."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(inputs if index == 0 else width, width), nn.LayerNorm(width), nn.ELU()]
    layers.append(nn.Linear(width if depth else inputs, outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2.0))
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
