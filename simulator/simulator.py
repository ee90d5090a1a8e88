"""A trained simulator as an artefact: ground a prompt, score against logs, write to files and read back.

Files: `weights` (safetensors). Everything else is JSON in the manifest. It never touches a database; a store is any
object with `get_bytes(sha256)`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from simulator.config import SimulatorConfig
from simulator.model import Model, Temperature, Traits, model_layout
from simulator.parameters import from_arrays, to_arrays
from simulator.prompt import Prompt
from simulator.relations import Relations
from simulator.scales import Scales
from simulator.scene import Scene, ground
from simulator.structure import Shape
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.canonical import digest_of, sha256_hex
from storage.contracts.episode import Episode
from storage.contracts.errors import DataError, IncompatibleError
from storage.contracts.figures import Scorecard, Scored
from storage.contracts.robot import RobotSpec

ARCHITECTURE = "entity-ensemble-8"


class ByteStore(Protocol):
    def get_bytes(self, sha256: str) -> bytes: ...


class Simulator:
    """`specs` are the robots that it was trained on; others may be grounded too. `manifest` is the digest of the
    manifest that it was read with, if it was."""

    def __init__(self, model: Model, specs: tuple[RobotSpec, ...], manifest: str | None = None) -> None:
        self.model, self.specs, self.manifest = model, specs, manifest

    @property
    def config(self) -> SimulatorConfig:
        return self.model.config

    def ground(self, prompt: Prompt) -> Scene:
        """What the prompt says of its robot; a second of computing where it holds logs (see `simulator.inference`)."""
        return ground(self.model, prompt, self.specs)

    def score(
        self,
        episodes: Sequence[Episode],
        horizons_s: Sequence[float] = (0.1, 0.5, 1.0),
        channel_std: Mapping[str, float] | None = None,
        *,
        prompts: Mapping[str, Prompt] | None = None,
        measured_on: str | None = None,
        split: Scored = "test",
        samples: int = 20,
        max_windows: int = 400,
        seed: int = 0,
    ) -> Scorecard:
        """Open loop against real logs; see `score.score_simulator`."""
        from simulator.score import ScoreOptions, score_simulator

        options = ScoreOptions(tuple(horizons_s), channel_std, prompts, measured_on, split, samples, max_windows, seed)
        return score_simulator(self, episodes, options)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """role -> bytes, deterministic."""
        arrays = to_arrays(self.model.theta, self.model.layout)
        arrays |= {f"starts.{key}": np.ascontiguousarray(rows) for key, rows in self.model.starts.items()}
        return {"weights": save_safetensors(dict(sorted(arrays.items())))}

    @cached_property
    def digest(self) -> str:
        """What scorecards call this simulator: its manifest's digest, else SHA-256 over configuration and files."""
        if self.manifest is not None:
            return self.manifest
        files = {role: sha256_hex(data) for role, data in self.files.items()}
        return digest_of([ARCHITECTURE, self._config_json(), files, [spec.digest for spec in self.specs]])

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Parts of a SimulatorManifest (architecture, config, files as digests, specs) and the bytes by role."""
        parts = {
            "architecture": ARCHITECTURE,
            "config": self._config_json(),
            "files": {role: sha256_hex(data) for role, data in self.files.items()},
            "specs": self.specs,
        }
        return parts, self.files

    def _config_json(self) -> dict[str, Any]:
        model = self.model
        relations = {key: found.model_dump(mode="json") for key, found in sorted(model.relations.items())}
        return {
            "training": model.config.model_dump(mode="json"),
            # left out where there are none, so that such simulators keep the digests that they had before
            "shape": model.shape.model_dump(mode="json", exclude=None if model.shape.notes else {"notes"}),
            "traits": model.traits.model_dump(mode="json"),
            "temperature": model.temperature.model_dump(mode="json"),
            "scales": {key: scales.to_json() for key, scales in sorted(model.scales.items())},
        } | ({"relations": relations} if relations else {})

    @classmethod
    def from_files(cls, manifest: SimulatorManifest, files: Mapping[str, bytes]) -> "Simulator":
        """Raises IncompatibleError for another architecture, DataError for bytes that are not those of the manifest."""
        if manifest.architecture != ARCHITECTURE:
            raise IncompatibleError(
                f"simulator '{manifest.name}' is of architecture '{manifest.architecture}'; this engine runs "
                f"'{ARCHITECTURE}'"
            )
        for role, digest in manifest.files.items():
            if role not in files or sha256_hex(files[role]) != digest:
                raise DataError(
                    f"simulator '{manifest.name}': the bytes of '{role}' are missing or not those of its manifest",
                    code="digest",
                )
        parts: Any = manifest.config
        config, shape = SimulatorConfig.model_validate(parts["training"]), Shape.model_validate(parts["shape"])
        scales = {key: Scales.from_json(values) for key, values in parts["scales"].items()}
        arrays = load_safetensors(files["weights"])
        starts = {name.removeprefix("starts."): a for name, a in arrays.items() if name.startswith("starts.")}
        theta = from_arrays(arrays, model_layout(shape, config))
        traits, temperature = Traits.model_validate(parts["traits"]), Temperature.model_validate(parts["temperature"])
        relations = {key: Relations.model_validate(found) for key, found in parts.get("relations", {}).items()}
        model = Model(config, shape, traits, theta, scales, starts, temperature, relations)
        return cls(model, manifest.specs, manifest.digest)

    @classmethod
    def load(cls, store: ByteStore, digest: str) -> "Simulator":
        """From the digest of a manifest in an object store."""
        manifest = SimulatorManifest.from_json(store.get_bytes(digest))
        return cls.from_files(manifest, {role: store.get_bytes(sha) for role, sha in manifest.files.items()})


def joined(parts: Sequence[Simulator]) -> Simulator:
    """One ensemble of the members of several, trained apart on the same data and configuration."""
    return Simulator(parts[0].model.with_theta(torch.cat([part.model.theta for part in parts])), parts[0].specs)
