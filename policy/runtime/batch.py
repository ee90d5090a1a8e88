"""Runs an ONNX policy for many robots or worlds at once: the same windows as `runner`, one call for all of them.

It keeps no commands but those it is told; clamping is the caller's. ONNX Runtime on one thread, no torch.
"""

import numpy as np

from policy.runtime.runner import INPUTS, OUTPUT, PolicyRunner
from storage.contracts.bundles import PolicyManifest
from storage.contracts.errors import ContractError


class BatchRunner:
    """The policy of `manifest`. Shapes: N worlds, K history rows, S state, C command. Raises as `PolicyRunner` does."""

    def __init__(self, manifest: PolicyManifest, onnx: bytes) -> None:
        self.manifest = manifest
        self._session = PolicyRunner(manifest, onnx).session
        self._states = np.zeros((0, 0, 0), dtype=np.float32)
        self._commands = np.zeros((0, 0, 0), dtype=np.float32)

    def reset(self, first_state: np.ndarray) -> None:
        """Begins N episodes at `first_state` [N, S]; the commands before it were the safe one."""
        n, rows = len(first_state), self.manifest.history_steps
        self._states = np.repeat(np.asarray(first_state, dtype=np.float32)[:, None], rows, axis=1)
        self._commands = np.tile(self.manifest.spec.safe.astype(np.float32), (n, rows, 1))

    def act(self, state: np.ndarray, last_command: np.ndarray | None = None) -> np.ndarray:
        """Commands [N, C] asked for in `state` [N, S]; `last_command` [N, C] is what was applied before it, None at the
        first call. Raises ContractError before `reset`, or for another N."""
        if not self._states.size or state.shape != self._states[:, -1].shape:
            raise ContractError(
                f"state {state.shape} is not that of the worlds that were reset: reset(first_state) comes first"
            )
        safe = np.broadcast_to(self.manifest.spec.safe, self._commands[:, -1].shape)
        command = safe if last_command is None else last_command
        self._states = np.concatenate([self._states[:, 1:], state[:, None].astype(np.float32)], axis=1)
        self._commands = np.concatenate([self._commands[:, 1:], command[:, None].astype(np.float32)], axis=1)
        answer = self._session.run([OUTPUT], {INPUTS[0]: self._states, INPUTS[1]: self._commands})[0]
        found: np.ndarray = np.asarray(answer, dtype=np.float64)
        return found
