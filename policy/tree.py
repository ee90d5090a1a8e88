"""Operations over explicit trees of tensors: dataclasses, named tuples, tuples, lists and dicts of them.

A simulator's world state is such a tree. Leaves that are not tensors are passed through. This module does not know
which.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

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


def detach(tree: Any) -> Any:
    """The same values, cut off from the graph that made them."""
    return tree_map(Tensor.detach, tree)
