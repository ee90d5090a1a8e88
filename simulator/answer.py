"""What-if answers as values: distributions, paired effects, where the variance comes from, and their plain words.

Intervals of outcomes and effects are over worlds, that is over what the robot might be like; `standard_error` is how
well the mean is known from so many worlds. This module computes from samples and runs nothing.
"""

import numpy as np

from storage.contracts.base import Contract

LEVEL = 0.9
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Split(Contract):
    """Variance of the outcome by its three sources, in squared units: which member of the ensemble (what the simulator
    does not know), which scene sample (what is not known of this robot), the noise of each step."""

    member: float
    scene: float
    noise: float


class Distribution(Contract):
    """Over worlds and noise. `quantiles` are at 5, 25, 50, 75 and 95 %; `low` and `high` the first and last of them."""

    mean: float
    deviation: float
    quantiles: tuple[float, ...]
    variance: Split

    @property
    def low(self) -> float:
        return self.quantiles[0]

    @property
    def high(self) -> float:
        return self.quantiles[-1]


class Effect(Contract):
    """Change against what it is compared with, paired by world (same hypothesis, same noise) and averaged over noise in
    each; `low` to `high` holds 90 % of the worlds. `positive` and `negative` are the shares of worlds in which it is
    above or below zero."""

    mean: float
    low: float
    high: float
    standard_error: float
    positive: float
    negative: float


class Case(Contract):
    """One value of one quantity. `change` is the edit; `value` the quantity after it; `against` the change that the
    effect is measured from, empty for the scene as it is."""

    quantity: str
    change: str
    value: float | None
    against: str = ""
    outcome: Distribution
    effect: Effect


class Answer(Contract):
    """`base_values`: the swept quantities as the scene has them, None where nobody said: there the first value of the
    sweep is what the others are compared with, because to be told a value is a change too."""

    outcome: str
    title: str
    unit: str
    horizon_s: float
    worlds: int
    replicates: int
    seed: int
    base: Distribution
    base_values: dict[str, float | None]
    cases: tuple[Case, ...]

    def sentences(self) -> list[str]:
        """One line in plain words for each case."""
        return [self._sentence(case) for case in self.cases]

    def _sentence(self, case: Case) -> str:
        e, unit = case.effect, f" {self.unit}" if self.unit else ""
        against = f" (not {case.against})" if case.against and case.against != case.change else ""
        head = f"{case.quantity} {case.change}{against}: {self.title}"
        if case.against == case.change:
            o = case.outcome
            return (
                f"{head} is {o.mean:.3g}{unit} [{o.low:.3g}, {o.high:.3g}] (90 %), {self.worlds} worlds; the others "
                "are compared with this, for the specification does not say"
            )
        if e.low == e.high == 0.0:
            return f"{head} does not change, {self.worlds} worlds"
        if e.low <= 0.0 <= e.high:
            return (
                f"{head} may rise or fall, {e.mean:+.3g}{unit} [{e.low:.3g}, {e.high:.3g}] (90 %); "
                f"it rises in {e.positive:.0%} of {self.worlds} worlds"
            )
        verb, sign = ("rises", 1.0) if e.mean > 0 else ("falls", -1.0)
        low, high = sorted((sign * e.low, sign * e.high))
        return f"{head} {verb} by {sign * e.mean:.3g}{unit} [{low:.3g}, {high:.3g}] (90 %), {self.worlds} worlds"


def distribution(values: np.ndarray, members: np.ndarray) -> Distribution:
    """Of `values` [R, N]: R draws of noise for each of N worlds, whose ensemble members are `members` [N]."""
    return Distribution(
        mean=float(values.mean()),
        deviation=float(values.std()),
        quantiles=tuple(float(q) for q in np.quantile(values, QUANTILES)),
        variance=split(values, members),
    )


def effect(values: np.ndarray, base: np.ndarray) -> Effect:
    """Of `values` against `base`, [R, N] each, entry by entry."""
    change = (values - base).mean(0)
    low, high = np.quantile(change, [QUANTILES[0], QUANTILES[-1]])
    spread = change.std(ddof=1) if len(change) > 1 else 0.0
    return Effect(
        mean=float(change.mean()),
        low=float(low),
        high=float(high),
        standard_error=float(spread / np.sqrt(len(change))),
        positive=float((change > 0).mean()),
        negative=float((change < 0).mean()),
    )


def split(values: np.ndarray, members: np.ndarray) -> Split:
    """Variance components of a nested design, worlds within members, draws within worlds (Searle, Casella, McCulloch
    1992, section 3.3): each mean square less what the levels below it add. Components are not below 0."""
    draws, worlds = values.shape
    noise = float(values.var(axis=0, ddof=1).mean()) if draws > 1 else 0.0
    means = values.mean(0)
    groups = [means[members == m] for m in np.unique(members)]
    within = [g.var(ddof=1) for g in groups if len(g) > 1]
    spread = float(np.mean(within)) if within else 0.0
    scene = max(0.0, spread - noise / draws)
    member = 0.0
    if len(groups) > 1:
        between = float(np.var([g.mean() for g in groups], ddof=1))
        member = max(0.0, between - spread * len(groups) / worlds)
    return Split(member=member, scene=scene, noise=noise)
