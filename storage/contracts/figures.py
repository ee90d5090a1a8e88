"""Figures with their meaning attached, and the scorecard of a simulator that collects them."""

from typing import Literal

from pydantic import Field

from storage.contracts.base import Contract


class Figure(Contract):
    """One measured number. `n` counts independent trials of what `of` says (windows, episodes, robots)."""

    name: str
    value: float
    unit: str = "1"
    n: int = Field(ge=0)
    of: str = "windows"
    ci95: tuple[float, float] | None = None
    horizon_s: float | None = None
    channel: str | None = None
    robot: str | None = None


Scored = Literal["train", "validation", "test", "new"]
"""What a simulator was scored on."""


class Scorecard(Contract):
    """What `simulator` predicts of `measured_on` (digest of the dataset manifest or of the sorted episode digests).

    Metric names, one meaning each: `rmse` (channel's unit), `nrmse` (divided by the channel's fixed standard
    deviation, angles wrapped), `hold_last_nrmse` (the same for predicting no change), `median_error`, `nll`, `crps`,
    `energy_score`, `coverage_50/68/90` (share of outcomes inside the central interval), `epistemic_rank` (Spearman of
    spread and error). A figure without a channel is over all channels.
    """

    simulator: str
    measured_on: str
    split: Scored = "test"
    figures: tuple[Figure, ...]

    def value(self, name: str, horizon_s: float, *, channel: str | None = None) -> float | None:
        found = self.find(name, horizon_s, channel=channel)
        return None if found is None else found.value

    def find(
        self, name: str, horizon_s: float, *, channel: str | None = None, robot: str | None = None
    ) -> Figure | None:
        wanted = (name, horizon_s, channel, robot)
        return next((f for f in self.figures if (f.name, f.horizon_s, f.channel, f.robot) == wanted), None)


class ReturnStatistics(Contract):
    """Mean return over `n` episodes of `robots` robots.

    The interval is a bootstrap over robots, or over episodes of one robot.
    """

    mean: float
    n: int
    robots: int
    ci95: tuple[float, float]
    per_robot: dict[str, float] = Field(default_factory=dict)
