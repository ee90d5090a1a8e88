"""Held-out runs and their predictions as a Rerun recording, written to a file. It opens no viewer and no connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storage.contracts.errors import UnavailableError

_QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
_SHOWN_WORLDS = 3


@dataclass(frozen=True, eq=False)
class Run:
    """A log and what was predicted of it. `time_s` [H + 1], `measured` [H + 1, S], `samples` [W, H + 1, S], `command`
    [H, C]."""

    title: str
    time_s: np.ndarray
    measured: np.ndarray
    samples: np.ndarray
    command: np.ndarray
    columns: tuple[str, ...]
    command_columns: tuple[str, ...]


def write_recording(runs: Mapping[str, Run], path: Path) -> None:
    """One entity path per run, channel and series: `RUN/CHANNEL/measured`, `.../p05`, `.../world_0`.

    Raises UnavailableError when the viewer's library is not installed, or the file cannot be written.
    """
    try:
        import rerun
    except ImportError as error:
        raise UnavailableError(
            "a Rerun recording needs the package 'rerun-sdk'", remedy="pip install 'sim2real-engine[viewer]'"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch()
    except OSError as error:
        raise UnavailableError(f"cannot write the recording to {path}: {error.strerror}") from error
    stream = rerun.RecordingStream("sim2real", recording_id="simulator-show", send_properties=False)
    stream.save(str(path))
    for name, run in runs.items():
        stream.log(f"{name}/about", rerun.TextDocument(run.title), static=True)
        for s, column in enumerate(run.columns):
            for label, values in _series(run, s).items():
                _send(rerun, stream, f"{name}/{column}/{label}", run.time_s, values)
        for c, column in enumerate(run.command_columns):
            _send(rerun, stream, f"{name}/commands/{column}", run.time_s[:-1], run.command[:, c])
    stream.flush()
    stream.disconnect()


def _series(run: Run, s: int) -> dict[str, np.ndarray]:
    found = {"measured": run.measured[:, s]}
    found |= {label: np.quantile(run.samples[:, :, s], q, axis=0) for label, q in _QUANTILES.items()}
    return found | {f"world_{w}": run.samples[w, :, s] for w in range(min(_SHOWN_WORLDS, len(run.samples)))}


def _send(rerun: Any, stream: Any, path: str, time_s: np.ndarray, values: np.ndarray) -> None:
    """A series in one message."""
    keep = np.isfinite(values)
    times = rerun.TimeColumn("time", duration=time_s[keep])
    rerun.send_columns(path, indexes=[times], columns=rerun.Scalars.columns(scalars=values[keep]), recording=stream)
