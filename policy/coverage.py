"""States that cover what a robot can reach: those of many that lie far apart.

Random commands from a robot's start reach little: a pendulum under them hangs. Begun again and again from states far
apart, some of which lie at the edge of what is known, they climb (the archive of Go-Explore, Ecoffet et al. 2021,
arXiv:1901.10995, without cells and without reward). Steps no worlds and learns nothing.
"""

import torch
from torch import Tensor

STILL = 1e-6
"""A range below this is none."""
MOST_QUANTILE = 1 << 20
"""Numbers that a quantile is taken of at most; torch refuses some millions more."""


def spread_out(points: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Indices, int64 [min(n, M)], of finite points [M, D] on the CPU, each the farthest from all before it, the first
    at random.

    Within twice of the best cover by n balls (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5).
    """
    m = points.shape[0]
    if m == 0:
        return torch.zeros(0, dtype=torch.int64)
    chosen = torch.randint(m, (1,), generator=generator)
    nearest = torch.full((m,), torch.inf)
    picks = [chosen]
    for _ in range(min(n, m) - 1):
        nearest = torch.minimum(nearest, (points - points[chosen]).square().sum(dim=1))
        chosen = nearest.argmax().reshape(1)
        picks.append(chosen)
    return torch.cat(picks)


def half_range(points: Tensor) -> Tensor:
    """[D], half the 5 to 95 % range of each column of `points` [M, D]; 1 for one that never moved."""
    some = points[:: max(1, -(-points.numel() // MOST_QUANTILE))]
    low, high = torch.quantile(some, torch.tensor([0.05, 0.95]), dim=0)
    return torch.where(high - low > STILL, (high - low) / 2, torch.ones_like(low))
