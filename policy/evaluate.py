"""What a policy is worth in the simulator, judged on hypotheses that it was not trained on.

The same withheld hypotheses, starts and noise are used for every policy of a comparison, so differences are paired. The
value is pessimistic: a policy that shines in some hypotheses and fails in others exploits what the simulator does
not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policy.network import PolicyNetwork
from policy.ports import ScenePort
from policy.rollout import episode_returns
from policy.tree import select
from policy.windows import LoggedStarts, first_windows, pick
from storage.contracts.figures import ReturnStatistics
from storage.contracts.task import Task

WITHHELD = 1 << 30
"""Seeds of hypotheses from here on choose policies; training never draws them."""
AUDIT = 1 << 31
"""Seeds from here on only report the policy that was chosen."""


@dataclass(frozen=True)
class Value:
    """Returns over withheld worlds. `per_robot` [robots][worlds]; `spread` is the mean over robots of their
    deviation."""

    mean: float
    spread: float
    pessimistic: float
    per_robot: tuple[tuple[float, ...], ...]


def evaluate(
    policy: PolicyNetwork,
    scenes: Sequence[ScenePort],
    task: Task,
    *,
    worlds: int,
    pessimism: float,
    steps: int | None = None,
    others: LoggedStarts | None = None,
    seed: int = WITHHELD,
    device: str | torch.device = "cpu",
) -> Value:
    """Episodes (of at most `steps` control periods) from the task's start in about `worlds` worlds, shared among the
    scenes, without exploration noise. With `others`, about half of the worlds begin in those states
    instead."""
    means, spreads, returns = [], [], []
    for index, scene in enumerate(scenes):
        held = scene.sample(max(2, worlds // len(scenes)), seed=seed + index, device=device)
        generator = torch.Generator().manual_seed(seed + index)
        start = first_windows(held, task, policy.features.history_steps, seed + index, generator)
        if others is not None and len(others):
            drawn = pick(others.windows, torch.randint(len(others), (held.n,), generator=generator))
            start = select(torch.rand(held.n, generator=generator) < 0.5, drawn, start)
        start = type(start)(start.state.to(device), start.command.to(device))
        total = episode_returns(policy, held, task, start, seed=seed + index, steps=steps).cpu()
        for robot in range(int(held.robot.max()) + 1):
            own = total[held.robot.cpu() == robot]
            means.append(float(own.mean()))
            spreads.append(float(own.std()))
            returns.append(tuple(float(value) for value in own))
    mean, spread = sum(means) / len(means), sum(spreads) / len(spreads)
    return Value(mean, spread, mean - pessimism * spread, tuple(returns))


def value_from(saved: dict[str, Any]) -> Value:
    """The value that JSON holds, as `dataclasses.asdict` gave it."""
    return Value(**{**saved, "per_robot": tuple(tuple(own) for own in saved["per_robot"])})


def statistics(value: Value) -> ReturnStatistics:
    """Mean return with a 95 % interval by bootstrap over worlds, drawn with a fixed seed."""
    flat = torch.tensor([r for own in value.per_robot for r in own], dtype=torch.float64)
    index = torch.randint(len(flat), (1000, len(flat)), generator=torch.Generator().manual_seed(0))
    means = flat[index].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return ReturnStatistics(mean=float(flat.mean()), n=len(flat), robots=len(value.per_robot), ci95=(low, high))
