"""From physical history to numbers of order one. The constants are drawn once, kept with the policy and never change.

Angles become (sin, cos); a column with limits is centred and scaled by them; another one by robust statistics of
what was
seen, and bent by asinh, which is the identity near 0 and a logarithm far out: a sensor fault must not blow up the
command.
Commands are scaled by the range they may take. Nothing here is learned, and nothing knows a robot by name.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from storage.contracts.channel import Kind
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec


@dataclass(frozen=True)
class Scales:
    """Per column: `centre` and `scale`. State [S] and command [C], float64; `angle` is a boolean [S]."""

    state_centre: np.ndarray
    state_scale: np.ndarray
    command_centre: np.ndarray
    command_scale: np.ndarray
    angle: np.ndarray


def scales_of(spec: RobotSpec, states: np.ndarray, commands: np.ndarray) -> Scales:
    """Scales from the specification's limits, else from `states` [n, S] and `commands` [n, C] that were seen.

    Columns that nobody limited and that never moved have scale 1. Raises ContractError if the widths do not fit.
    """
    layout, width = spec.state_layout, spec.command_layout.width
    if states.shape[1:] != (layout.width,) or commands.shape[1:] != (width,):
        raise ContractError(f"'{spec.name}' has {layout.width} state and {width} command columns; "
                            f"given {states.shape} and {commands.shape}")  # fmt: skip
    limits = np.array([c.limits or (-np.inf, np.inf) for c in layout.channels for _ in range(c.width)]).reshape(-1, 2)
    seen_centre, seen_scale = _robust(states)
    bounded = np.isfinite(limits).all(axis=1)
    limits = np.where(bounded[:, None], limits, [-1.0, 1.0])
    half, middle = (limits[:, 1] - limits[:, 0]) / 2, limits.mean(axis=1)
    angle = layout.mask([Kind.ANGLE])
    return Scales(
        state_centre=np.where(angle, 0.0, np.where(bounded, middle, seen_centre)),
        state_scale=np.where(angle, 1.0, np.where(bounded, half, seen_scale)),
        **_command_scales(spec, commands),
        angle=angle,
    )


def _command_scales(spec: RobotSpec, commands: np.ndarray) -> dict[str, np.ndarray]:
    """The command's range: its limits, else the largest magnitude seen, else 1 (in the channel's unit)."""
    low, high = spec.command_limits.T
    finite = commands[np.isfinite(commands).all(axis=1)]
    seen = np.abs(finite).max(axis=0) if len(finite) else np.zeros(len(low))
    reach = np.where(seen > 0, seen, 1.0)
    low = np.where(np.isfinite(low), low, np.minimum(-reach, np.where(np.isfinite(high), high - 2 * reach, -reach)))
    high = np.where(np.isfinite(high), high, np.maximum(reach, low + 2 * reach))
    return {"command_centre": (low + high) / 2, "command_scale": (high - low) / 2}


def _robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and half the 5..95 % range, per column; (0, 1) for a column that never moved."""
    finite = values[np.isfinite(values).all(axis=1)]
    if len(finite) < 2:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    low, middle, high = np.quantile(finite, [0.05, 0.5, 0.95], axis=0)
    spread = (high - low) / 2
    moved = spread > 1e-6
    return np.where(moved, middle, 0.0), np.where(moved, spread, 1.0)


class Features(nn.Module):
    """state_history [B, K, S] and command_history [B, K, C] to features [B, K * F]."""

    state_centre: Tensor
    state_scale: Tensor
    command_centre: Tensor
    command_scale: Tensor
    angle_columns: Tensor
    other_columns: Tensor

    def __init__(self, scales: Scales, history_steps: int) -> None:
        super().__init__()
        self.history_steps = history_steps
        for name in ("state_centre", "state_scale", "command_centre", "command_scale"):
            self.register_buffer(name, torch.tensor(getattr(scales, name), dtype=torch.float32))
        self.register_buffer("angle_columns", torch.tensor(np.flatnonzero(scales.angle), dtype=torch.int64))
        self.register_buffer("other_columns", torch.tensor(np.flatnonzero(~scales.angle), dtype=torch.int64))
        per_step = 2 * int(scales.angle.sum()) + int((~scales.angle).sum()) + len(scales.command_scale)
        self.width = history_steps * per_step

    def forward(self, state_history: Tensor, command_history: Tensor) -> Tensor:
        scaled = (state_history - self.state_centre) / self.state_scale
        angle = state_history.index_select(2, self.angle_columns)
        command = (command_history - self.command_centre) / self.command_scale
        parts = [angle.sin(), angle.cos(), scaled.index_select(2, self.other_columns).asinh(), command.asinh()]
        return torch.cat(parts, dim=2).flatten(1)
