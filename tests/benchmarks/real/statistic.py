"""The statistic of real-accuracy claims: robust to chaos, paired by run.

One error per window (the larger of the wrapped angle errors), the median over a run's windows, the ratio to a
reference on the same run, the geometric mean over runs, and a bootstrap over runs. RMSE over windows would measure
chaos: few windows carry most of the squared error.
"""

from collections.abc import Sequence

import numpy as np


def window_errors(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """[N] the larger wrapped error of `predicted` and `measured` angles [N, A], rad."""
    difference = np.abs((predicted - measured + np.pi) % (2 * np.pi) - np.pi)
    worst: np.ndarray = difference.max(axis=1)
    return worst


def paired_ratio(
    errors: Sequence[np.ndarray], references: Sequence[np.ndarray], *, seed: int = 0, draws: int = 2000
) -> tuple[float, tuple[float, float]]:
    """Geometric mean over runs of median(errors) / median(reference), with its 95 % bootstrap interval over runs."""
    logs = np.array([np.log(np.median(e) / np.median(r)) for e, r in zip(errors, references, strict=True)])
    rng = np.random.default_rng(seed)
    means = rng.choice(logs, (draws, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return float(np.exp(logs.mean())), (float(low), float(high))


def energy_scores(samples: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """[N] energy score (Gneiting and Raftery 2007, eq. 22) of `samples` [N, K, A] of angles against `measured` [N, A],
    in the embedding (cos, sin) of each angle."""
    inside = np.concatenate([np.cos(samples), np.sin(samples)], axis=-1)
    truth = np.concatenate([np.cos(measured), np.sin(measured)], axis=-1)
    accuracy = np.linalg.norm(inside - truth[:, None], axis=-1).mean(axis=1)
    k = samples.shape[1]
    apart = np.linalg.norm(inside[:, :, None] - inside[:, None, :], axis=-1).sum(axis=(1, 2)) / (k * (k - 1))
    score: np.ndarray = accuracy - 0.5 * apart
    return score


def circular_median(samples: np.ndarray) -> np.ndarray:
    """[N, A] median of `samples` [N, K, A] of angles about their circular mean."""
    mean = np.arctan2(np.sin(samples).mean(1), np.cos(samples).mean(1))
    offset = (samples - mean[:, None] + np.pi) % (2 * np.pi) - np.pi
    middle: np.ndarray = mean + np.median(offset, axis=1)
    return middle
