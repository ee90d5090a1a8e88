"""The optimiser of trainings: one matrix, a row per member of the ensemble, and an average of what it was.

A row's update depends on that row alone, so that members trained apart equal members trained together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from simulator.config import SimulatorConfig

_CLIP = 1.0


@dataclass
class Optimiser:
    """AdamW on one matrix (Loshchilov and Hutter 2019) with an average of the weights. Rows are members, clipped
    apart."""

    theta: Tensor
    first: Tensor
    second: Tensor
    average: Tensor

    @classmethod
    def of(cls, theta: Tensor) -> "Optimiser":
        return cls(theta, torch.zeros_like(theta), torch.zeros_like(theta), theta.clone())

    def update(self, gradient: Tensor, step: int, rate: float | Tensor, config: SimulatorConfig) -> None:
        """`rate` is one number, or one for each column [P]."""
        norm = gradient.norm(dim=1, keepdim=True)
        gradient = torch.where(norm.isfinite(), gradient * (_CLIP / norm.clamp_min(_CLIP)), torch.zeros_like(gradient))
        self.first.lerp_(gradient, 0.1)
        self.second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        denominator = (self.second / (1 - 0.99 ** (step + 1))).sqrt_().add_(1e-8)
        self.theta = (
            self.theta * (1 - rate * config.weight_decay) - rate / (1 - 0.9 ** (step + 1)) * self.first / denominator
        )
        decay = min(config.average, (1 + step) / (10 + step))
        self.average.lerp_(self.theta, 1 - decay)
