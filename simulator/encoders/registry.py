"""The registry of prompt encoders: every module of this package that defines `ENCODER` takes part. Adding one is
one file.

An encoder turns part of a prompt into Gaussian factors over the scene latent z. Factors of all encoders are
multiplied with the standard normal prior, so any subset of prompts works and more prompt can only narrow the
posterior.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

import simulator.encoders as package
from simulator.config import SimulatorConfig
from simulator.frame import Frame
from simulator.network import Weights
from simulator.prompt import Prompt
from simulator.structure import Shape


class Factors(NamedTuple):
    """`mean`, `precision` [M, n, Z]: n independent opinions on z."""

    mean: Tensor
    precision: Tensor


@runtime_checkable
class PromptEncoder(Protocol):
    """`parts` are the fields of `Prompt` that it reads."""

    name: str
    parts: tuple[str, ...]

    def layout(self, shape: Shape, config: SimulatorConfig) -> dict[str, tuple[int, ...]]:
        """Names and shapes of its weights; names start with its own. Empty where training data had nothing for it: it
        then reads nothing."""

    def factors(self, w: Weights, frame: Frame, prompt: Prompt) -> Factors | None:
        """None when the prompt has nothing for it."""


@cache
def encoders() -> tuple[PromptEncoder, ...]:
    """All encoders, sorted by name."""
    names = sorted(module.name for module in iter_modules(package.__path__))
    modules = [import_module(f"{package.__name__}.{name}") for name in names]
    return tuple(module.ENCODER for module in modules if hasattr(module, "ENCODER"))


def posterior(factors: list[Factors], members: int, width: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [M, Z] of the product of `factors` and N(0, 1)."""
    precision = torch.ones(members, width)
    weighted = torch.zeros(members, width)
    for factor in factors:
        precision = precision + factor.precision.sum(1)
        weighted = weighted + (factor.precision * factor.mean).sum(1)
    return weighted / precision, precision.rsqrt()
