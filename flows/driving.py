"""Policies as what drives worlds: an ONNX bundle becomes a function of the step and of what the sensors show."""

import numpy as np
import torch
from torch import Tensor

from policy.runtime.batch import BatchRunner
from simulator.situation import Policy
from storage.contracts.bundles import PolicyManifest
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec


def as_policy(manifest: PolicyManifest, onnx: bytes, spec: RobotSpec) -> Policy:
    """Raises InputError when the policy is for other channels than those of `spec`."""
    given = (manifest.spec.state_layout.columns, manifest.spec.command_layout.columns)
    if given != (spec.state_layout.columns, spec.command_layout.columns):
        raise InputError(
            f"policy '{manifest.name}' reads {', '.join(given[0])} and commands {', '.join(given[1])}; "
            f"'{spec.name}' has {', '.join(spec.state_layout.columns)} and {', '.join(spec.command_layout.columns)}"
        )
    return _Driver(BatchRunner(manifest, onnx), spec)


class _Driver:
    def __init__(self, runner: BatchRunner, spec: RobotSpec) -> None:
        self._runner, self._safe, self._limits = runner, spec.safe, spec.command_limits
        self._last: np.ndarray | None = None

    def __call__(self, t: int, observed: Tensor) -> Tensor:
        seen = observed.detach().cpu().numpy()
        if t == 0:
            self._runner.reset(seen)
            self._last = None
        asked = self._runner.act(seen, self._last)
        asked = np.where(np.isfinite(asked), asked, self._safe)
        self._last = np.clip(asked, self._limits[:, 0], self._limits[:, 1])
        return torch.from_numpy(asked).float().to(observed.device)
