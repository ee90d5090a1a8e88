"""Adam (Kingma and Ba 2015, algorithm 1) over a list of parameters, with its state as plain tensors.

Written out because a checkpoint needs the state by name and because importing `torch.optim` costs seconds per process.
No weight decay and no variants.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    """`rate` may be set between steps. `state` is (first moments, second moments, steps)."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, betas: tuple[float, float]) -> None:
        self.parameters = list(parameters)
        self.rate, self.betas, self.steps = rate, betas, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self, largest: float) -> float:
        """Scales all gradients so that their joint norm is at most `largest`; returns the norm before."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if norm > largest:
            torch._foreach_mul_(gradients, largest / norm)
        return norm

    @torch.no_grad()
    def step(self) -> None:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        fast, slow = self.betas
        self.steps += 1
        torch._foreach_lerp_(self.first, gradients, 1 - fast)
        torch._foreach_mul_(self.second, slow)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - slow)
        size = torch._foreach_sqrt(self.second)
        torch._foreach_div_(size, (1 - slow**self.steps) ** 0.5)
        torch._foreach_add_(size, EPSILON)
        torch._foreach_addcdiv_(self.parameters, self.first, size, -self.rate / (1 - fast**self.steps))

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        found = {f"{prefix}.steps": torch.tensor(self.steps)}
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            found |= {f"{prefix}.{index}.first": first, f"{prefix}.{index}.second": second}
        return found

    def restore(self, prefix: str, tensors: dict[str, Tensor]) -> None:
        self.steps = int(tensors[f"{prefix}.steps"])
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            first.copy_(tensors[f"{prefix}.{index}.first"])
            second.copy_(tensors[f"{prefix}.{index}.second"])
