"""Runs an ONNX policy on a robot: checks what it is, keeps its history windows, answers one command per period.

ONNX Runtime on one thread, no torch. Clamping is the robot process's duty, not this module's: what the policy asked for
is returned as it is, finite or not.
"""

import numpy as np
import onnxruntime

from storage.contracts.bundles import PolicyManifest
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import ContractError, DataError

INPUTS = ("state_history", "command_history")
OUTPUT = "command"


class PolicyRunner:
    """The policy of `manifest`. Shapes: K history rows, S state, C command; physical units throughout.

    Raises DataError (code `digest`) when `onnx` is not the file that the manifest names, DataError (code `onnx`) when
    it cannot be loaded or has other inputs and outputs than the manifest's docstring says.
    """

    def __init__(self, manifest: PolicyManifest, onnx: bytes) -> None:
        found = sha256_hex(onnx)
        if found != manifest.onnx_sha256:
            raise DataError(
                f"policy '{manifest.name}': the ONNX file has digest {found[:12]}, the manifest says "
                f"{manifest.onnx_sha256[:12]}",
                code="digest",
                remedy="Fetch it again; if it differs still, the stored policy was replaced: train or release it anew.",
            )
        self.manifest = manifest
        self._session = _session(manifest.name, onnx)
        self._check_signature()
        spec = manifest.spec
        self._states = np.zeros((manifest.history_steps, spec.state_layout.width), dtype=np.float32)
        self._commands = np.zeros((manifest.history_steps, spec.command_layout.width), dtype=np.float32)
        self._ready = False

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The checked network, dynamic in the batch."""
        return self._session

    def reset(self, first_state: np.ndarray) -> None:
        """Begins an episode: every row of the windows is `first_state` [S] and the safe command."""
        self._states[:] = self._shaped(first_state, self._states.shape[1], "state")
        self._commands[:] = self.manifest.spec.safe
        self._ready = True

    def act(self, state: np.ndarray, last_command: np.ndarray | None = None) -> np.ndarray:
        """The command [C] that the policy asks for in `state` [S], float64.

        `last_command` [C] is what was applied, after clamping, in the period that ended in `state`; None or the safe
        command at the first call. Raises ContractError before `reset`.
        """
        if not self._ready:
            raise ContractError("reset(first_state) must come before act(...)")
        command = self.manifest.spec.safe if last_command is None else last_command
        self._states[:-1] = self._states[1:]
        self._commands[:-1] = self._commands[1:]
        self._states[-1] = self._shaped(state, self._states.shape[1], "state")
        self._commands[-1] = self._shaped(command, self._commands.shape[1], "command")
        feed = {INPUTS[0]: self._states[None], INPUTS[1]: self._commands[None]}
        answer = np.asarray(self._session.run([OUTPUT], feed)[0], dtype=np.float64).reshape(-1)
        return self._shaped(answer, self._commands.shape[1], "command")

    @staticmethod
    def _shaped(values: np.ndarray, width: int, what: str) -> np.ndarray:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (width,):
            raise ContractError(f"{what} has shape {array.shape}, expected ({width},)")
        return array

    def _check_signature(self) -> None:
        spec, rows = self.manifest.spec, self.manifest.history_steps
        wanted = {INPUTS[0]: (rows, spec.state_layout.width), INPUTS[1]: (rows, spec.command_layout.width)}
        given = {i.name: i for i in self._session.get_inputs()}
        outputs = {o.name: o for o in self._session.get_outputs()}
        if set(given) != set(wanted) or OUTPUT not in outputs:
            raise DataError(
                f"policy '{self.manifest.name}' has inputs {sorted(given)} and outputs {sorted(outputs)}; expected "
                f"inputs {sorted(wanted)} and output '{OUTPUT}'",
                code="onnx",
            )
        for name, shape in wanted.items():
            tensor = given[name]
            sizes = [size for size in tensor.shape[1:] if isinstance(size, int)]
            if tensor.type != "tensor(float)" or len(tensor.shape) != 3 or (len(sizes) == 2 and tuple(sizes) != shape):
                raise DataError(
                    f"policy '{self.manifest.name}': input '{name}' is {tensor.type} {tensor.shape}, expected "
                    f"tensor(float) [B, {shape[0]}, {shape[1]}]",
                    code="onnx",
                )


def _session(name: str, onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    # The runtime's own exceptions have no common base below Exception.
    except Exception as error:
        raise DataError(f"policy '{name}' is no ONNX model that can be run: {str(error)[:300]}", code="onnx") from error
