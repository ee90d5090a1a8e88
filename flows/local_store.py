"""A local loop on disk: saved whole after an iteration or not at all, so that a killed experiment goes on from there.

A folder holds the episodes (Parquet), the simulator (manifest and safetensors), the policy (packed weights) and what
the caller adds as JSON. It is a checkpoint for one machine; campaigns keep their objects in S3.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from flows.local_loop import Deployed, LocalLoop
from policy.weights import pack_network, unpack_network
from simulator.simulator import Simulator
from storage.codecs.episodes import decode_episode, encode_episode
from storage.contracts.bundles import SimulatorManifest

_STATE = "state.json"


def save(loop: LocalLoop, folder: Path, facts: dict[str, Any]) -> None:
    """Replaces what `folder` holds. Killed at any instant, the folder is what it was or what it is to be."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for index, episode in enumerate(loop.episodes):
        (fresh / f"episode-{index:05d}.parquet").write_bytes(encode_episode(episode))
    if loop.simulator is not None:
        parts, files = loop.simulator.to_files()
        for role, data in files.items():
            (fresh / f"simulator-{role}.safetensors").write_bytes(data)
        manifest = SimulatorManifest(name="local", dataset="0" * 64, **parts)
        (fresh / "simulator.json").write_bytes(manifest.to_json())
    policies = {}
    for role, policy in (("policy", loop.policy), ("explorer", loop.explorer)):
        if policy is not None:
            (fresh / f"{role}.safetensors").write_bytes(pack_network(policy.network))
            policies[role] = [policy.manifest.seed, policy.promised, policy.spread]
    (fresh / _STATE).write_text(json.dumps({"facts": facts, "seconds": loop.seconds, "policies": policies}))
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def restore(loop: LocalLoop, folder: Path) -> dict[str, Any] | None:
    """Brings `loop` to where `save` left one and returns its facts; None where there is nothing."""
    _recover(folder)
    if not (folder / _STATE).is_file():
        return None
    state = json.loads((folder / _STATE).read_text())
    loop.episodes = [decode_episode(path.read_bytes()) for path in sorted(folder.glob("episode-*.parquet"))]
    if (folder / "simulator.json").is_file():
        manifest = SimulatorManifest.from_json((folder / "simulator.json").read_bytes())
        files = {role: (folder / f"simulator-{role}.safetensors").read_bytes() for role in manifest.files}
        loop.simulator = Simulator.from_files(manifest, files)
    for role, (seed, promised, spread) in state["policies"].items():
        network = unpack_network((folder / f"{role}.safetensors").read_bytes())
        setattr(loop, role, Deployed.of(network, loop.spec, loop.task, seed, promised, spread))
    loop.seconds = state["seconds"]
    facts: dict[str, Any] = state["facts"]
    return facts


def _recover(folder: Path) -> None:
    """Killed between the two renames, the folder is away and its predecessor beside it: that one is put back."""
    for old in sorted(folder.parent.glob(f".{folder.name}.*.old")):
        if not folder.exists():
            old.rename(folder)
        else:
            shutil.rmtree(old, ignore_errors=True)
    for fresh in folder.parent.glob(f".{folder.name}.*.fresh"):
        shutil.rmtree(fresh, ignore_errors=True)
