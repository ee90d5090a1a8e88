"""Datasets from the catalog's episodes: splits by recording, scales that stay fixed."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from storage.catalog.episodes import EpisodeRow
from storage.contracts.channel import Kind
from storage.contracts.dataset import DatasetManifest, EpisodeRef, Split, split_of
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError


def build_dataset(
    name: str,
    rows: Sequence[EpisodeRow],
    spec_digest: str,
    *,
    channel_std: dict[str, float],
    split: Split | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> DatasetManifest:
    """A manifest of `rows`. With `split` all are in it; else each recording's own hash decides (its row's split, if it
    has one). `notes` is what people said of episodes, by digest (see `flows.artefacts.said_of`).

    Raises InputError when there is no episode.
    """
    if not rows:
        raise InputError(f"dataset '{name}' would be empty", remedy="Import logs first, or see 'sim2real status'.")
    refs = [
        EpisodeRef(
            sha256=row.sha256,
            robot=row.robot,
            split=split or _split_in(row) or split_of(row.raw_sha256),
            duration_s=row.duration_s,
            steps=row.steps,
            notes=tuple((notes or {}).get(row.sha256, ())),
        )
        for row in sorted(rows, key=lambda row: row.sha256)
    ]
    return DatasetManifest(name=name, spec_digest=spec_digest, episodes=tuple(refs), channel_std=channel_std)


def _split_in(row: EpisodeRow) -> Split | None:
    """The catalog keeps text; EpisodeRef refuses what is no split."""
    return cast(Split | None, row.split)


def channel_scales(episodes: Sequence[Episode]) -> dict[str, float]:
    """Standard deviation per state column over the valid samples; circular for angles, so that a full turn is not far.

    Mardia & Jupp 2000, eq. 2.3.14: sqrt(-2 ln R), at most pi (a uniform angle has none).
    """
    layout = episodes[0].spec.state_layout
    angles = layout.mask([Kind.ANGLE])
    state = np.concatenate([e.state for e in episodes])
    valid = np.concatenate([e.state_valid for e in episodes])
    return {name: _scale(state[valid[:, i], i], bool(angles[i])) for i, name in enumerate(layout.columns)}


def _scale(values: np.ndarray, is_angle: bool) -> float:
    if len(values) < 2:
        return 1.0
    if is_angle:
        resultant = min(max(float(np.abs(np.exp(1j * values).mean())), 1e-12), 1.0)
        spread = min(float(np.sqrt(-2.0 * np.log(resultant))), float(np.pi))
    else:
        spread = float(values.std())
    return spread if spread > 1e-9 else 1.0
