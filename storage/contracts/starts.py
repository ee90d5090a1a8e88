"""Where episodes of a task start, and what an episode is worth: shared by robots, oracles and flows.

Starts come from the task's own ranges and a seed, so that every iteration, robot and baseline is measured from the
same ones. This module does not run anything.
"""

import numpy as np

from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task


def evaluation_starts(task: Task, n: int, seed: int) -> list[dict[str, float]]:
    """`n` starts drawn uniformly from `task.start`: state channel name -> first value (all columns alike).

    Start i depends on (task.start, seed, i) only: a longer list begins with the shorter one.
    """
    if n < 0:
        raise ContractError(f"number of starts {n} must not be negative")
    names = sorted(task.start)
    draws = [np.random.Generator(np.random.Philox(key=[seed, i])).random(len(names)) for i in range(n)]
    return [
        {
            name: float(lo + (hi - lo) * u)
            for name, u, (lo, hi) in zip(names, row, (task.start[k] for k in names), strict=True)
        }
        for row in draws
    ]


def return_of(
    spec: RobotSpec, task: Task, state: np.ndarray, command: np.ndarray, reward: np.ndarray | None = None
) -> float:
    """Undiscounted sum of rewards of one episode. State [T+1, S], command [T, C] as applied, reward [T] if logged.

    Uses the task's expression where it has one, else the logged `reward`. Raises ContractError when neither is there.
    """
    if task.reward is None:
        if reward is None or not np.isfinite(reward).all():
            raise ContractError(f"task '{task.name}' has a logged reward, and the episode holds none")
        return float(np.sum(reward))
    return float(np.sum(task.reward_of(spec, state[1:], command, np)))
