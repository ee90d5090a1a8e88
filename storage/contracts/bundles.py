"""Manifests of the artefacts: what a simulator or a policy is made of, and what it may be used with.

Files are named by role and found by digest in the object store. Nothing here is executable; weights are safetensors,
policies ONNX. Library versions are recorded for people, they take no part in any key.
"""

from pydantic import Field

from storage.contracts.base import Contract
from storage.contracts.robot import RobotSpec

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class SimulatorManifest(Contract):
    """`files`: role -> SHA-256, e.g. {"weights": …}. `config` is the training configuration as JSON values."""

    name: str
    architecture: str
    config: dict[str, object]
    files: dict[str, str]
    dataset: str
    """Digest of the dataset manifest it was trained on."""
    specs: tuple[RobotSpec, ...]
    parent: str | None = None
    """Digest of the bundle it was trained on from, if any."""
    pretrained_on_standins: bool = False


class PolicyManifest(Contract):
    """An ONNX policy and the robot it is for.

    ONNX inputs, float32, physical units: `state_history` [B, K, S] and `command_history` [B, K, C], oldest first,
    where row k of the commands acted just before row k of the states (zero-padded in front by the first state and the
    safe command); output `command` [B, C]. Normalisation is inside the graph, so that the robot computes nothing of
    its own.
    """

    name: str
    onnx_sha256: str = Sha256
    spec: RobotSpec
    task: str
    history_steps: int = Field(ge=1, le=256)
    control_rate_hz: float = Field(gt=0)
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Safetensors of the network, to train on from it; robots do not need them."""
    simulator: str | None = None
    """Digest of the simulator bundle it was trained in; None for a scripted or random policy."""
    seed: int = 0
