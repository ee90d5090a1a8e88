"""Functions of tensors made into a few fused kernels, where this machine can: about four times as fast for small
batches.

Compiling takes tens of seconds once per robot, number of worlds and use of gradients; kernels are kept in the user's
cache, so that later processes need a few. Results differ from those of plain torch by rounding, and world i may differ
by rounding between numbers of worlds. Without a C++ compiler everything runs as plain torch.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_VARIANTS = 64
"""Robots, numbers of worlds and uses of gradients that one process may compile for; later ones run as plain torch."""


@cache
def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, compiled at its first call for each kind of arguments. Where that fails it is `function` from then
    on, with one warning."""
    _prepare()
    fast: Callable[P, R] = torch.compile(function, dynamic=False)
    broken = False

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal broken
        if broken:
            return function(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        except _failures() as error:
            broken = True
            reason = str(error).strip().splitlines()[0]
            _log.warning("worlds are stepped without compiling, several times slower: %s", reason)
            return function(*args, **kwargs)

    return call


def _prepare() -> None:
    """Kernels in the user's own cache and not in a folder that others may write; no pool of compiling processes."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(cache_home) / "sim2real" / "kernels"))
    dynamo: Any = torch._dynamo.config
    inductor: Any = torch._inductor.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, _VARIANTS)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, 4 * _VARIANTS)
    inductor.compile_threads = 1


def _failures() -> tuple[type[Exception], ...]:
    exceptions: Any = torch._dynamo.exc
    return (exceptions.TorchDynamoException,)
