"""A window of the past that a reset reads, because of delays and of what sensors do not show at once."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec


@dataclass(frozen=True, eq=False)
class History:
    """`state` [n, H + 1, S], the last row is now; `command` [n, H, C], row h acted between rows h and h + 1,
    physical units, one row per control period. n is 1 (all worlds alike) or the number of worlds; H may be 0.
    `exogenous` [n, H, X] or None; `alive` bool [n, E] or None (all)."""

    state: Tensor
    command: Tensor
    exogenous: Tensor | None = None
    alive: Tensor | None = None

    @classmethod
    def of(cls, episode: Episode, rows: np.ndarray, count: int) -> "History":
        """The `count` control periods before each of `rows` of an episode. Raises ContractError if one has fewer
        before it."""
        if len(rows) == 0 or rows.min() < count or rows.max() > episode.steps:
            raise ContractError(
                f"rows {rows.min(initial=0)}..{rows.max(initial=0)} of {episode.steps} do not have {count} rows before"
            )
        at = rows[:, None] + np.arange(-count, 1)
        state = np.where(np.isfinite(episode.state), episode.state, 0.0)[at]
        return cls(
            torch.from_numpy(state).float(),
            torch.from_numpy(np.nan_to_num(episode.command[at[:, :-1]])).float(),
            torch.from_numpy(np.nan_to_num(episode.exogenous[at[:, :-1]])).float(),
            torch.from_numpy(episode.alive[rows]),
        )

    def check(self, spec: RobotSpec, n: int) -> None:
        rows, length, width = self.state.shape
        commands = (rows, length - 1, spec.command_layout.width)
        if rows not in (1, n) or width != spec.state_layout.width or tuple(self.command.shape) != commands:
            raise ContractError(
                f"history: state {tuple(self.state.shape)} and command {tuple(self.command.shape)} should be "
                f"[1 or {n}, H + 1, {spec.state_layout.width}] and [same, H, {spec.command_layout.width}]"
            )
