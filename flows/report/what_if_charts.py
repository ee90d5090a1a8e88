"""Plots of what-if answers and sensitivities, with their intervals; to SVG text, or to a file by its ending."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas

from flows.report.charts import FLOOR, NEW, SIM, STYLE
from simulator.answer import Answer, Case, Distribution
from simulator.sensitivity import Sensitivity
from storage.contracts.errors import InputError, UnavailableError

_ENDINGS = (".svg", ".png", ".pdf")


def answer_figure(answer: Answer) -> Canvas:
    """One row per quantity: the outcome by value, and the paired effect against the base."""
    by_quantity: dict[str, list[Case]] = {}
    for case in answer.cases:
        by_quantity.setdefault(case.quantity, []).append(case)
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(9.2, 0.9 + 2.7 * len(by_quantity)), layout="constrained", facecolor="white")
        axes = figure.subplots(len(by_quantity), 2, squeeze=False)
        for (left, right), (quantity, cases) in zip(axes, by_quantity.items(), strict=True):
            _row(left, right, answer, quantity, cases)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        figure.suptitle(
            f"{answer.title} after {answer.horizon_s:g} s: {answer.worlds} worlds, the same in every case. "
            f"{_sources(answer.base)}",
            fontsize=9,
        )
    return figure


def sensitivity_figure(found: Sensitivity) -> Canvas:
    """One panel per command column: mean gradient over time, the band holds 90 % of the worlds."""
    with mpl.rc_context(STYLE):
        columns = len(found.columns)
        figure = Canvas(figsize=(7.2, 0.8 + 2.2 * columns), layout="constrained", facecolor="white")
        time_s = np.arange(len(found.mean)) * found.period_s
        for c, axes in enumerate(figure.subplots(columns, 1, squeeze=False)[:, 0]):
            axes.fill_between(time_s, found.low[:, c], found.high[:, c], color=SIM, alpha=0.2, linewidth=0, step="post")
            axes.step(time_s, found.mean[:, c], where="post", color=SIM, label="mean; band: 90 % of the worlds")
            axes.axhline(0, color=FLOOR, linewidth=0.8)
            axes.set(
                ylabel=f"d / d {found.columns[c]}\n[{found.unit or '1'} per {found.command_units[c]}]",
                xlabel="when the command acts, seconds",
            )
        figure.axes[0].legend(fontsize=8)
        figure.suptitle(f"How {found.title} answers to commands, {found.worlds} worlds", fontsize=10)
    return figure


def save(figure: Canvas, path: Path) -> None:
    """By the ending of `path`. Raises InputError for an ending that is not drawn."""
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"a plot cannot be written as '{path.name}'; endings are {', '.join(_ENDINGS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            figure.savefig(path, dpi=144, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise UnavailableError(f"cannot write the plot to {path}: {error.strerror}") from error


def _row(left: Any, right: Any, answer: Answer, quantity: str, cases: Sequence[Case]) -> None:
    base_value = answer.base_values.get(quantity)
    numeric = len({c.value for c in cases}) == len(cases) and all(c.value is not None for c in cases)
    order = sorted(cases, key=lambda c: c.value or 0.0) if numeric else list(cases)
    at = np.array([c.value for c in order] if numeric else range(len(order)), dtype=float)
    unit = f" [{answer.unit}]" if answer.unit else ""
    _spread(left, at, [c.outcome for c in order])
    left.axhline(answer.base.quantiles[2], color=FLOOR, linestyle="--", linewidth=1, label="as it is, median")
    left.axhspan(answer.base.low, answer.base.high, color=FLOOR, alpha=0.12, linewidth=0, label="as it is, 90 %")
    left.set(ylabel=f"{answer.title}{unit}", xlabel=quantity)
    mean = np.array([c.effect.mean for c in order])
    bars = np.array([[c.effect.mean - c.effect.low, c.effect.high - c.effect.mean] for c in order]).T
    right.errorbar(at, mean, yerr=np.maximum(bars, 0.0), fmt="o", color=NEW, capsize=4, linewidth=1.4)
    right.axhline(0, color=FLOOR, linestyle="--", linewidth=1)
    against = f"{quantity} {order[0].against}" if order[0].against else "the robot as it is"
    right.set(ylabel=f"change{unit}\nmean and 90 % of worlds", xlabel=quantity, title=f"against {against}")
    for axes in (left, right):
        axes.margins(x=0.08, y=0.15)
        if numeric and base_value is not None:
            axes.axvline(base_value, color=FLOOR, linestyle=":", linewidth=1)
        if not numeric:
            axes.set_xticks(at, [c.change for c in order])


def _spread(axes: Any, at: np.ndarray, found: Sequence[Distribution]) -> None:
    """Median with bars of 50 % and 90 %."""
    q = np.array([d.quantiles for d in found])
    axes.vlines(at, q[:, 0], q[:, 4], color=SIM, alpha=0.45, linewidth=2, label="90 %")
    axes.vlines(at, q[:, 1], q[:, 3], color=SIM, linewidth=5, alpha=0.75, label="50 %")
    axes.plot(at, q[:, 2], "o", color="white", markeredgecolor=SIM, markersize=5, label="median")


def _sources(base: Distribution) -> str:
    """Where the spread comes from, in words."""
    parts = {"model": base.variance.member, "robot": base.variance.scene, "noise": base.variance.noise}
    total = sum(parts.values())
    if total <= 0:
        return ""
    return "Variance: " + ", ".join(f"{name} {value / total:.0%}" for name, value in parts.items())
