"""The optimiser of trainings: one matrix, a row per member of the ensemble, and an average of what it was.

A row's update depends on that row alone, so that members trained apart equal members trained together. Effects that
hardly move the loss, such as dry friction, are learned in a third of the updates that Adam takes.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulator.config import SimulatorConfig
from simulator.parameters import Layout

_CLIP = 1.0
_FIRST, _SECOND, _CURVATURE = 0.9, 0.99, 0.95
"""Decay of the averages of gradients, of their squares, and of their products."""
_TURN_EVERY = 10
"""Updates between two steps of the power iteration that the bases follow."""
_WIDEST = 400
"""Matrices with more rows or columns are left in the basis that they have."""


@dataclass
class _Basis:
    """Of one weight matrix [m, n] per member, at `columns` of all weights: averages of the gradient's products `left`
    [M, m, m] and `right` [M, n, n], and their eigenvectors, as far as they are known."""

    columns: slice
    shape: tuple[int, int]
    left: Tensor
    right: Tensor
    turn_left: Tensor
    turn_right: Tensor

    @classmethod
    def of(cls, first: int, shape: tuple[int, int], members: int) -> "_Basis":
        sides = [torch.zeros(members, size, size) for size in shape]
        turns = [torch.eye(size).repeat(members, 1, 1) for size in shape]
        return cls(slice(first, first + math.prod(shape)), shape, *sides, *turns)

    def part(self, flat: Tensor) -> Tensor:
        """[M, P] to [M, m, n]."""
        return flat[:, self.columns].reshape(-1, *self.shape)

    def observe(self, gradient: Tensor) -> None:
        own = self.part(gradient)
        self.left.lerp_(own @ own.mT, 1 - _CURVATURE)
        self.right.lerp_(own.mT @ own, 1 - _CURVATURE)

    def begin(self) -> None:
        self.turn_left, self.turn_right = (
            torch.linalg.eigh(_unit(products).double())[1].flip(-1).float().contiguous()
            for products in (self.left, self.right)
        )

    def into(self, flat: Tensor) -> Tensor:
        """[M, m * n] in the basis of the eigenvectors."""
        return (self.turn_left.mT @ self.part(flat) @ self.turn_right).flatten(1)

    def back(self, flat: Tensor) -> Tensor:
        return (self.turn_left @ self.part(flat) @ self.turn_right.mT).flatten(1)

    def follow(self, second: Tensor) -> None:
        """One step of power iteration, eigenvectors by falling eigenvalue; `second` [M, P] is put in their order."""
        squares = self.part(second)
        self.turn_left, order = _turned(self.left, self.turn_left)
        squares = squares.gather(1, order[:, :, None].expand_as(squares))
        self.turn_right, order = _turned(self.right, self.turn_right)
        second[:, self.columns] = squares.gather(2, order[:, None, :].expand_as(squares)).flatten(1)


def _turned(products: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    order = ((turn.mT @ products) * turn.mT).sum(-1).argsort(dim=-1, descending=True)
    turn = turn.gather(2, order[:, None, :].expand_as(turn))
    # Columns that lie together are rounded otherwise than rows, which checkpoints hold.
    return torch.linalg.qr(_unit(products) @ turn)[0].contiguous(), order


def _unit(products: Tensor) -> Tensor:
    """Of weights that hardly anything depends on, products are so small that decompositions fail."""
    largest = products.abs().amax((1, 2), keepdim=True)
    return torch.where(largest > 1e-30, products / largest.clamp_min(1e-30), torch.zeros_like(products))


@dataclass
class Optimiser:
    """SOAP: AdamW in the eigenbasis of Shampoo's products (Vyas et al. 2024, algorithm 3) on the matrices of a layout,
    AdamW (Loshchilov and Hutter 2019) on everything else, with an average of the weights. Rows are members, clipped
    apart."""

    theta: Tensor
    first: Tensor
    second: Tensor
    average: Tensor
    bases: list[_Basis] = field(default_factory=list)

    @classmethod
    def of(cls, theta: Tensor, layout: Layout) -> "Optimiser":
        """`layout` tells the weights that `theta` [M, P] begins with; there may be more columns."""
        bases, first = [], 0
        for shape in layout.values():
            if len(shape) == 2 and max(shape) <= _WIDEST:
                bases.append(_Basis.of(first, (shape[0], shape[1]), len(theta)))
            first += math.prod(shape)
        return cls(theta, torch.zeros_like(theta), torch.zeros_like(theta), theta.clone(), bases)

    def tensors(self) -> dict[str, Tensor]:
        """All there is to go on from."""
        found = {name: getattr(self, name) for name in ("theta", "first", "second", "average")}
        for place, basis in enumerate(self.bases):
            found |= {f"{place}.{name}": getattr(basis, name) for name in _SIDES}
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `tensors` of an optimiser of the same layout were."""
        for name in ("theta", "first", "second", "average"):
            setattr(self, name, tensors[name])
        for place, basis in enumerate(self.bases):
            for name in _SIDES:
                setattr(basis, name, tensors[f"{place}.{name}"])

    def update(self, gradient: Tensor, step: int, rate: float | Tensor, config: SimulatorConfig) -> None:
        """`rate` is one number, or one for each column [P]. The first update moves nothing."""
        norm = gradient.norm(dim=1, keepdim=True)
        gradient = torch.where(norm.isfinite(), gradient * (_CLIP / norm.clamp_min(_CLIP)), torch.zeros_like(gradient))
        for basis in self.bases:
            basis.observe(gradient)
            if step == 0:
                basis.begin()
        if step == 0:
            # In the basis of its own products, a single gradient is zero but for the diagonal: nothing to divide by.
            return
        self.first.lerp_(gradient, 1 - _FIRST)
        turned, pull = gradient.clone(), self.first.clone()
        for basis in self.bases:
            turned[:, basis.columns], pull[:, basis.columns] = basis.into(gradient), basis.into(self.first)
        self.second.mul_(_SECOND).addcmul_(turned, turned, value=1 - _SECOND)
        move = pull / (self.second / (1 - _SECOND**step)).sqrt_().add_(1e-8)
        for basis in self.bases:
            move[:, basis.columns] = basis.back(move)
            if step % _TURN_EVERY == 0:
                basis.follow(self.second)
        self.theta = self.theta * (1 - rate * config.weight_decay) - rate / (1 - _FIRST**step) * move
        decay = min(config.average, (1 + step) / (10 + step))
        self.average.lerp_(self.theta, 1 - decay)


_SIDES = ("left", "right", "turn_left", "turn_right")
