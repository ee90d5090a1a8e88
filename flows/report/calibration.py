"""What a simulator's samples are worth against held-out logs: coverage, PIT and error by horizon. Numbers, no plots.

Samples are taken as `step` draws them, sensors' noise included; angles are compared around the samples' circular mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.scene import Scene
from simulator.score import Outcomes, ScoreOptions, predict
from storage.contracts.channel import Kind, wrap_angle
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95])
HORIZONS_S = (0.02, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Per horizon in seconds: `coverage` [levels, S] observed share inside the central interval of each of `LEVELS`,
    `pit` [n, S] where the truth stands among the samples (0 to 1, NaN where nothing was measured), `rmse` and
    `hold_last` [S] in the channels' units, and `windows`."""

    columns: tuple[str, ...]
    units: tuple[str, ...]
    coverage: Mapping[float, np.ndarray]
    pit: Mapping[float, np.ndarray]
    rmse: Mapping[float, np.ndarray]
    hold_last: Mapping[float, np.ndarray]
    windows: Mapping[float, int]


def calibrate(
    scene: Scene, episodes: Sequence[Episode], horizons_s: Sequence[float] = HORIZONS_S, samples: int = 60
) -> Calibration:
    """Over windows of one robot's episodes. Horizons below one period or beyond the logs are left out.

    Raises InputError when no window fits.
    """
    spec, rows = scene.spec, scene.frame.history_rows
    longest = max((e.steps - rows for e in episodes), default=0) * spec.period_s
    usable = tuple(h for h in horizons_s if spec.period_s <= h + 1e-9 and h <= longest + 1e-9)
    options = ScoreOptions(horizons_s=usable or (spec.period_s,), samples=samples, max_windows=200)
    found = predict(scene, episodes, options)
    if not found:
        raise InputError(
            f"no log is long enough: {rows} rows of history and {options.horizons_s[-1]} s are needed",
            remedy="Give longer logs with --held-out.",
        )
    measured = {h: _measure(spec, outcomes) for h, outcomes in sorted(found.items())}
    layout = spec.state_layout
    return Calibration(
        columns=layout.columns,
        units=tuple(c.unit for c in layout.channels for _ in range(c.width)),
        coverage={h: m[0] for h, m in measured.items()},
        pit={h: m[1] for h, m in measured.items()},
        rmse={h: m[2] for h, m in measured.items()},
        hold_last={h: m[3] for h, m in measured.items()},
        windows={h: len(outcomes.truth) for h, outcomes in found.items()},
    )


def _measure(spec: RobotSpec, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coverage [levels, S], PIT [n, S], RMSE [S], hold-last [S]."""
    angle = spec.state_layout.mask([Kind.ANGLE])
    samples, truth = outcomes.samples, np.where(outcomes.valid, outcomes.truth, np.nan)
    circular = np.arctan2(np.sin(samples).mean(1), np.cos(samples).mean(1))
    center = np.where(angle, circular, samples.mean(1))
    around = samples - center[:, None]
    around = np.where(angle, wrap_angle(around), around)
    error = np.where(angle, wrap_angle(truth - center), truth - center)
    held = np.where(angle, wrap_angle(truth - outcomes.now), truth - outcomes.now)
    low, high = (np.quantile(around, q, axis=1, method="weibull") for q in (0.5 - LEVELS / 2, 0.5 + LEVELS / 2))
    inside = np.where(np.isnan(error), np.nan, ((error >= low) & (error <= high)).astype(float))
    below = (around < error[:, None]).sum(1)
    pit = np.where(np.isnan(error), np.nan, (below + 0.5) / (samples.shape[1] + 1))
    return _mean(inside, 1), pit, np.sqrt(_mean(error**2, 0)), np.sqrt(_mean(held**2, 0))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Over what is not NaN; NaN where nothing is."""
    count = np.isfinite(values).sum(axis)
    total: np.ndarray = np.nansum(values, axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
