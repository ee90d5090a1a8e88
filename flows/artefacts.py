"""Artefacts in and out of the store: bytes first, then the row; a digest in, a checked object out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows.engine import Engine
from simulator.simulator import Simulator
from storage.catalog.catalog import Catalog
from storage.codecs.episodes import decode_episode, encode_episode
from storage.contracts.bundles import PolicyManifest, SimulatorManifest
from storage.contracts.dataset import DatasetManifest, EpisodeRef
from storage.contracts.episode import Episode
from storage.contracts.figures import Scorecard

MOST_NOTES = 64
"""Notes of one upload that are learned from."""
SimulatorParts = tuple[SimulatorManifest, dict[str, bytes]]


def store_simulator(engine: Engine, manifest: SimulatorManifest, files: dict[str, bytes], *, parents: list[str]) -> str:
    """Bytes first, then the row. Returns the digest of the manifest."""
    for data in files.values():
        engine.store.put_bytes(data)
    engine.store.put_bytes(manifest.to_json())
    engine.catalog.artefacts.add("simulator", manifest.digest, manifest.to_json(), name=manifest.name, parents=parents)
    return manifest.digest


def load_simulator_parts(engine: Engine, digest: str) -> SimulatorParts:
    manifest = SimulatorManifest.from_json(engine.store.get_bytes(digest))
    return manifest, {name: engine.store.get_bytes(sha256) for name, sha256 in manifest.files.items()}


def load_simulator(engine: Engine, digest: str) -> Simulator:
    return Simulator.from_files(*load_simulator_parts(engine, digest))


def store_policy(engine: Engine, manifest: PolicyManifest, files: Sequence[bytes], parents: Sequence[str]) -> None:
    for data in files:
        engine.store.put_bytes(data)
    engine.store.put_bytes(manifest.to_json())
    engine.catalog.artefacts.add("policy", manifest.digest, manifest.to_json(), name=manifest.task, parents=parents)


def load_policy_weights(engine: Engine, digest: str) -> bytes | None:
    """Safetensors of a policy's network; None for a policy that came without."""
    manifest = PolicyManifest.from_json(engine.store.get_bytes(digest))
    return engine.store.get_bytes(manifest.weights_sha256) if manifest.weights_sha256 else None


def load_manifest(engine: Engine, digest: str) -> DatasetManifest:
    return DatasetManifest.from_json(engine.store.get_bytes(digest))


def store_dataset(engine: Engine, manifest: DatasetManifest) -> str:
    engine.store.put_bytes(manifest.to_json())
    engine.catalog.artefacts.add("dataset", manifest.digest, manifest.to_json(), name=manifest.name, parents=[])
    return manifest.digest


def load_episodes(engine: Engine, digests: Sequence[str]) -> list[Episode]:
    return [decode_episode(engine.store.get_bytes(digest)) for digest in digests]


def load_refs(engine: Engine, refs: Sequence[EpisodeRef]) -> list[Episode]:
    """Episodes of a dataset, with the notes that it holds on them."""
    return [with_notes(decode_episode(engine.store.get_bytes(ref.sha256)), ref.notes) for ref in refs]


def encoded_refs(engine: Engine, refs: Sequence[EpisodeRef]) -> list[bytes]:
    """The same as bytes: the stored object where nothing was said."""
    return [_encoded(engine, ref) for ref in refs]


def _encoded(engine: Engine, ref: EpisodeRef) -> bytes:
    data = engine.store.get_bytes(ref.sha256)
    return encode_episode(with_notes(decode_episode(data), ref.notes)) if ref.notes else data


def said_of(catalog: Catalog, digests: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Episode digest -> the texts of the notes that were entered with its upload, the `MOST_NOTES` oldest of them."""
    found = catalog.notes.of_episodes(digests)
    return {digest: tuple(row.text for row in rows[:MOST_NOTES]) for digest, rows in found.items()}


def with_notes(episode: Episode, notes: Sequence[str]) -> Episode:
    """The episode with notes added that it does not hold already."""
    return replace(episode, notes=tuple(dict.fromkeys((*episode.notes, *notes)))) if notes else episode


def store_scorecard(engine: Engine, card: Scorecard, name: str) -> None:
    engine.store.put_bytes(card.to_json())
    engine.catalog.artefacts.add("scorecard", card.digest, card.to_json(), name=name, parents=[card.simulator])
