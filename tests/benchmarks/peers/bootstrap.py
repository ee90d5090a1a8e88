"""The statistics that loops and learning curves are compared with. Pure functions; nothing is fitted to a score.

The unit of a comparison is one loop (one seed, one draw of robots); what is measured within a loop is averaged first.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Statistic = Callable[[np.ndarray], float]
Interval = tuple[float, float]


def iqm(values: Sequence[float] | np.ndarray) -> float:
    """Interquartile mean: the mean of what is left when a quarter of the values (rounded down) is cut at either end
    (Agarwal et al. 2021, arXiv:2108.13264). Raises ValueError without values."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.size == 0:
        raise ValueError("no values: an interquartile mean needs at least one")
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def stratified_bootstrap(
    differences: Mapping[str, Sequence[float]], statistic: Statistic = iqm, n: int = 2000, seed: int = 0
) -> tuple[float, Interval]:
    """`statistic` over all paired `differences` (stratum, e.g. task -> one difference per loop) and its 95 % interval.

    Loops are drawn with replacement within their stratum, so that each stratum keeps its weight; the interval is that
    of the percentiles of `n` draws. Raises ValueError for a stratum without loops.
    """
    strata = [np.asarray(differences[name], dtype=np.float64) for name in sorted(differences)]
    if not strata or any(stratum.size == 0 for stratum in strata):
        counts = {name: len(values) for name, values in differences.items()}
        raise ValueError(f"every stratum needs a loop, given {counts}")
    rng = np.random.default_rng(seed)
    drawn = [statistic(np.concatenate([rng.choice(s, s.size) for s in strata])) for _ in range(n)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return statistic(np.concatenate(strata)), (float(low), float(high))


def area_under(curve_x: Sequence[float], curve_y: Sequence[float], up_to: float) -> float:
    """Area between the first `curve_x` and `up_to` under the straight lines through the points, in units of x times y.

    Beyond its last point the curve stays level. Raises ValueError when x does not rise or begins beyond `up_to`.
    """
    x, y = np.asarray(curve_x, dtype=np.float64), np.asarray(curve_y, dtype=np.float64)
    if x.size == 0 or x.shape != y.shape or (np.diff(x) <= 0).any() or x[0] > up_to:
        raise ValueError(f"x must rise from at most {up_to}, one y each; given x {x.tolist()} and {y.size} y")
    inside = x < up_to
    xs, ys = np.append(x[inside], up_to), np.append(y[inside], np.interp(up_to, x, y))
    return float(np.trapezoid(ys, xs))
