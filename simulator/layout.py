"""Between the layouts of callers and of the network: worlds first, [N, E, F], outside; members first, [M, E, B, F],
inside.

World i is of member i mod M; where M does not divide N, the last row of the batch repeats the first worlds, whose
copies nobody sees. Nothing here knows what the numbers mean.
"""

import torch
from torch import Tensor


def internal(value: Tensor, members: int) -> Tensor:
    """[N, E, F] to [M, E, B, F]."""
    n = value.shape[0]
    batch = -(-n // members)
    if batch * members != n:
        value = value[torch.arange(batch * members, device=value.device) % n]
    return value.view(batch, members, *value.shape[1:]).permute(1, 2, 0, 3)


def internal_rows(value: Tensor, members: int) -> Tensor:
    """[N, H, E, F] to [M, E, B, H, F]."""
    rows = value.shape[1]
    found: Tensor = internal(value.transpose(1, 2).flatten(2), members).unflatten(-1, (rows, -1))
    return found


def external(value: Tensor, n: int) -> Tensor:
    """[M, E, B, F] to [N, E, F]."""
    return value.permute(2, 0, 1, 3).reshape(-1, value.shape[1], value.shape[3])[:n]


def external_rows(value: Tensor, n: int) -> Tensor:
    """[M, E, B, H, F] to [N, H, E, F]."""
    rows = value.shape[-2]
    found: Tensor = external(value.flatten(-2), n).unflatten(-1, (rows, -1)).transpose(1, 2)
    return found


def external_worlds(value: Tensor, n: int) -> Tensor:
    """[M, B] to [N]."""
    return value.transpose(0, 1).reshape(-1)[:n]
