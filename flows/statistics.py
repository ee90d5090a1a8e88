"""Returns of real and simulated episodes, with intervals by bootstrap over robots.

Two robots say less about a fleet than sixteen episodes of one: robots are resampled, not episodes. With a single robot
the episodes are resampled and the interval speaks of that robot alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError
from storage.contracts.figures import ReturnStatistics
from storage.contracts.starts import return_of
from storage.contracts.task import Task

_RESAMPLES = 2000


def episode_return(episode: Episode, task: Task) -> float:
    """Undiscounted return of one logged episode."""
    return return_of(episode.spec, task, episode.state, episode.command, episode.reward)


def return_statistics(returns: Mapping[str, Sequence[float]], *, seed: int = 0) -> ReturnStatistics:
    """Mean over all episodes and its 95 % interval. `returns` is robot -> returns of its episodes."""
    groups = {robot: np.asarray(values, dtype=np.float64) for robot, values in sorted(returns.items()) if len(values)}
    if not groups:
        raise ContractError("no episode to take statistics of")
    everything = np.concatenate(list(groups.values()))
    units = np.array([g.mean() for g in groups.values()]) if len(groups) > 1 else everything
    rng = np.random.default_rng(seed)
    means = rng.choice(units, size=(_RESAMPLES, len(units))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return ReturnStatistics(
        mean=float(everything.mean()),
        n=len(everything),
        robots=len(groups),
        ci95=(float(low), float(high)),
        per_robot={robot: float(g.mean()) for robot, g in groups.items()},
    )
