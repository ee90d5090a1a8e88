"""The pool of states that training begins in, where few or none of them are left."""

import torch

from policy.ports import History
from policy.windows import StartPool


def windows(n: int) -> History:
    return History(torch.arange(n * 6, dtype=torch.float32).view(n, 2, 3), torch.zeros(n, 2, 1))


def test_robots_that_all_fell_add_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = StartPool(None)
    pool.add(windows(0), generator)
    assert pool.draw(4, generator) is None
    pool.add(windows(2), generator)
    pool.add(windows(0), generator)
    drawn = pool.draw(4, generator)
    assert drawn is not None
    assert drawn.state.shape == (4, 2, 3)
