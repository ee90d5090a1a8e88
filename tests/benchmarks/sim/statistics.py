"""The statistics that the simulator's benchmarks report. Pure functions of numpy arrays; nothing is fitted to a score.

Shapes: W windows, n samples of each, S columns, P policies, Q questions, R robots.
"""

from collections.abc import Callable, Sequence

import numpy as np

from storage.contracts.channel import wrap_angle

LEVELS = (50, 68, 90)


def difference(a: np.ndarray, b: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """a - b [..., S], wrapped in the columns where `angle` [S]."""
    plain = a - b
    return np.asarray(np.where(angle, wrap_angle(plain), plain))


def center(samples: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Mean [W, S] of `samples` [W, n, S], circular for angles."""
    circular = np.arctan2(np.sin(samples).mean(1), np.cos(samples).mean(1))
    return np.asarray(np.where(angle, circular, samples.mean(1)))


def errors(predicted: np.ndarray, truth: np.ndarray, scale: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """One error per window [W]: root mean square over the columns of the error in units of `scale` [S]."""
    found: np.ndarray = np.sqrt((((difference(predicted, truth, angle)) / scale) ** 2).mean(-1))
    return found


def channel_scale(states: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """[S] standard deviation of rows [T, S], of the wrapped values for angles; at least 1e-6."""
    return np.asarray(np.maximum(np.where(angle, wrap_angle(states), states).std(0), 1e-6))


def covered(samples: np.ndarray, truth: np.ndarray, angle: np.ndarray, level: float) -> np.ndarray:
    """bool [W, S]: the truth lies in the central `level` percent of the samples. Angles are taken about their circular
    mean; quantiles are those that cover exactly when truth and samples are exchangeable (Weibull)."""
    middle = center(samples, angle)
    around = difference(samples, middle[:, None], angle)
    off = difference(truth, middle, angle)
    low, high = np.quantile(around, [0.5 - level / 200, 0.5 + level / 200], axis=1, method="weibull")
    return np.asarray((off >= low) & (off <= high))


def pit(samples: np.ndarray, truth: np.ndarray, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomised probability integral transform [W, S], uniform when calibrated."""
    middle = center(samples, angle)
    around, off = difference(samples, middle[:, None], angle), difference(truth, middle, angle)[:, None]
    below, equal = (around < off).sum(1), (around == off).sum(1)
    return np.asarray((below + rng.random(below.shape) * (equal + 1)) / (samples.shape[1] + 1))


def embed(values: np.ndarray, scale: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Columns in units of `scale`; an angle becomes the two columns cos and sin over its scale."""
    plain = values[..., ~angle] / scale[~angle]
    turned = values[..., angle]
    return np.concatenate([plain, np.cos(turned) / scale[angle], np.sin(turned) / scale[angle]], -1)


def energy_score(samples: np.ndarray, truth: np.ndarray, scale: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Fair energy score [W], lower is better: E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, eq. 22)."""
    x, y = embed(samples, scale, angle), embed(truth, scale, angle)
    n = x.shape[1]
    to_truth = np.linalg.norm(x - y[:, None], axis=-1).mean(1)
    between = np.zeros(len(x))
    for shift in range(1, n):  # every ordered pair of different samples once
        between += np.linalg.norm(x - np.roll(x, shift, axis=1), axis=-1).mean(1)
    return np.asarray(to_truth - 0.5 * between / max(1, n - 1))


def mmrv(*, real: np.ndarray, simulated: np.ndarray) -> float:
    """Mean maximum rank violation (SIMPLER, eq. 2): for each policy the largest difference of *real* value to a policy
    that the simulator ranks the other way round. Not symmetric, hence keywords only. Values [P] in [0, 1]."""
    gap = np.abs(real[:, None] - real[None])
    flipped = (simulated[:, None] < simulated[None]) != (real[:, None] < real[None])
    return float((gap * flipped).max(1).mean())


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """0 where one side does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    """From 0, ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return np.asarray((first + (counts - 1) / 2)[inverse])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return pearson(ranks(a), ranks(b))


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of `truth` (bool [Q]) of the share predicted right; NaN where one class is missing."""
    if truth.all() or not truth.any():
        return float("nan")
    return float(np.mean([(predicted[truth == side] == side).mean() for side in (True, False)]))


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, draws: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Central 95 % of `statistic(index)` with indices of `n` independent trials drawn again; None below 3 trials."""
    if n < 3:
        return None
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(0, n, n)) for _ in range(draws)])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def ratio_of_runs(a: Sequence[float], b: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Geometric mean over runs of the paired ratios a / b, with a bootstrap over runs."""
    logs = np.log(np.asarray(a, dtype=float)) - np.log(np.asarray(b, dtype=float))
    interval = bootstrap(lambda i: float(np.exp(logs[i].mean())), len(logs))
    return float(np.exp(logs.mean())), interval


def wasserstein(a: np.ndarray, b: np.ndarray, *, angle: bool = False) -> float:
    """1-Wasserstein distance of two samples, exact: the integral of |F - G - c|; c is 0 on the line, and the median of
    F - G along the circle for angles (Rabin, Delon and Gousseau 2011)."""
    if angle:
        a, b = wrap_angle(a), wrap_angle(b)
    points = np.sort(np.concatenate([a, b]))
    if angle:
        points = np.concatenate([[-np.pi], points, [np.pi]])
    lengths = np.diff(points)
    f = np.searchsorted(np.sort(a), points[:-1], side="right") / len(a)
    gap = f - np.searchsorted(np.sort(b), points[:-1], side="right") / len(b)
    if angle:
        order = np.argsort(gap)
        gap = gap - gap[order][np.searchsorted(np.cumsum(lengths[order]), np.pi)]
    return float((np.abs(gap) * lengths).sum())


def uniform_p(values: np.ndarray) -> float:
    """p-value of the Kolmogorov-Smirnov test that `values` in [0, 1] are uniform (asymptotic series with the correction
    of Stephens 1970)."""
    n = len(values)
    ordered = np.sort(values)
    upper, lower = (np.arange(1, n + 1) / n - ordered).max(), (ordered - np.arange(n) / n).max()
    lam = (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n)) * max(upper, lower)
    if lam < 0.2:
        return 1.0
    k = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * lam**2)).sum(), 0.0, 1.0))
