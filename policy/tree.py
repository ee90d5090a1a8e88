"""Operations over explicit trees of tensors: dataclasses, named tuples, tuples, lists and dicts of them.

A simulator's world state is such a tree. Leaves that are not tensors are passed through. This module does not know
which.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


def tree_map(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """A copy of `tree` with `function` applied to every tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: tree_map(function, getattr(tree, f.name)) for f in fields(tree) if f.init}
        return replace(tree, **changed)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, item) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(function, item) for item in tree)
    if isinstance(tree, dict):
        return {key: tree_map(function, item) for key, item in tree.items()}
    return tree


def tree_zip(function: Callable[[Tensor, Tensor], Tensor], a: Any, b: Any) -> Any:
    """A tree like `a` with `function` applied to the tensors in equal places of `a` and `b`, which are alike."""
    if isinstance(a, Tensor):
        return function(a, b)
    if is_dataclass(a) and not isinstance(a, type):
        names = [f.name for f in fields(a) if f.init]
        return replace(a, **{name: tree_zip(function, getattr(a, name), getattr(b, name)) for name in names})
    if isinstance(a, tuple) and hasattr(a, "_fields"):
        return type(a)(*(tree_zip(function, one, other) for one, other in zip(a, b, strict=True)))
    if isinstance(a, list | tuple):
        return type(a)(tree_zip(function, one, other) for one, other in zip(a, b, strict=True))
    if isinstance(a, dict):
        return {key: tree_zip(function, item, b[key]) for key, item in a.items()}
    return a


def select(mask: Tensor, a: Any, b: Any) -> Any:
    """Rows of `a` where `mask` [N] is true, of `b` elsewhere, in every tensor [N, ...] of the two trees."""

    def pick(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *(1,) * (one.dim() - 1)), one, other)

    return tree_zip(pick, a, b)


def detach(tree: Any) -> Any:
    """The same values, cut off from the graph that made them."""
    return tree_map(Tensor.detach, tree)
