"""Plots of what a simulator is worth on one robot: reliability, PIT, error by horizon, single worlds, the posterior."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas

from flows.report.calibration import LEVELS, Calibration
from flows.report.charts import FLOOR, NEW, SIM, STYLE

_BINS = 10
_LINES = 4
Figures = dict[str, Canvas]


def reliability(found: Calibration) -> Canvas:
    """Nominal against observed coverage, one panel per horizon; thin lines are channels, the thick one their mean."""
    horizons = list(found.coverage)
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(horizons), 3, 2.6)
        for axes, horizon in zip(panels, horizons, strict=False):
            axes.plot([0, 1], [0, 1], color=FLOOR, linestyle="--", linewidth=1)
            for s in range(len(found.columns)):
                axes.plot(LEVELS, found.coverage[horizon][:, s], color=SIM, alpha=0.3, linewidth=1)
            axes.plot(LEVELS, np.nanmean(found.coverage[horizon], 1), "o-", color=SIM, markersize=3)
            axes.set(
                title=f"{horizon:g} s ahead, {found.windows[horizon]} windows", xlim=(0, 1), ylim=(0, 1), aspect="equal"
            )
        _labels(panels, len(horizons), 3, "said", "seen")
    return figure


def pit(found: Calibration) -> Canvas:
    """Where the truth stands among the samples: flat when calibrated, a U when too sure, a hill when too wide."""
    horizons = list(found.pit)
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(horizons), 3, 2.0)
        for axes, horizon in zip(panels, horizons, strict=False):
            values = found.pit[horizon][np.isfinite(found.pit[horizon])]
            share, edges = np.histogram(values, bins=_BINS, range=(0, 1))
            axes.bar(
                edges[:-1], share / max(1, len(values)) * _BINS, width=1 / _BINS, align="edge", color=SIM, alpha=0.6
            )
            axes.axhline(1, color=FLOOR, linestyle="--", linewidth=1)
            axes.set(title=f"{horizon:g} s ahead", xlim=(0, 1), ylim=(0, max(2.0, axes.get_ylim()[1])))
        _labels(panels, len(horizons), 3, "place of the truth among the samples", "density")
    return figure


def error_by_horizon(found: Calibration) -> Canvas:
    """RMSE of the mean prediction over the horizon, hold-last beside it, one panel a channel."""
    horizons = np.array(list(found.rmse))
    rmse, held = (np.array([table[h] for h in horizons]) for table in (found.rmse, found.hold_last))
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(found.columns), 2, 2.0)
        for s, axes in enumerate(panels[: len(found.columns)]):
            axes.plot(horizons, rmse[:, s], "o-", color=SIM, label="simulator", markersize=4)
            axes.plot(horizons, held[:, s], ":", color=FLOOR, label="hold-last", linewidth=1.6)
            axes.set(xscale="log", ylim=(0, None), ylabel=f"{found.columns[s]}\n[{found.units[s]}]")
            axes.set_xticks(horizons, [f"{h:g}" for h in horizons], minor=False)
            axes.minorticks_off()
        panels[0].legend(fontsize=8)
        _labels(panels, len(found.columns), 2, "seconds ahead", "")
    return figure


def single_worlds(
    time_s: np.ndarray, measured: np.ndarray, samples: np.ndarray, columns: Sequence[str], units: Sequence[str]
) -> Canvas:
    """The log [H + 1, S] and a few worlds [W, H + 1, S], each a whole possible run with its own noise."""
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(columns), 2, 2.0)
        for s, axes in enumerate(panels[: len(columns)]):
            for w in range(min(_LINES, len(samples))):
                axes.plot(
                    time_s, samples[w, :, s], color=SIM, alpha=0.55, linewidth=0.9, label="one world" if not w else ""
                )
            axes.plot(time_s, measured[:, s], color="black", linewidth=1.1, label="measured")
            axes.set(ylabel=f"{columns[s]}\n[{units[s]}]")
        panels[0].legend(fontsize=8)
        _labels(panels, len(columns), 2, "seconds", "")
    return figure


def posterior_width(names: Sequence[str], widths: Sequence[np.ndarray]) -> Canvas:
    """Deviation of the scene latent against the prior's 1, dimension by dimension, for each amount of prompt."""
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(6.6, 2.6), layout="constrained", facecolor="white")
        axes = figure.subplots()
        at = np.arange(len(widths[0]))
        for i, (name, width) in enumerate(zip(names, widths, strict=True)):
            shift = 0.8 * ((i + 0.5) / len(names) - 0.5)
            colour = (FLOOR, NEW, SIM)[i % 3]
            axes.bar(at + shift, width, width=0.8 / len(names), color=colour, label=name)
        axes.axhline(1, color="black", linestyle="--", linewidth=0.8)
        axes.set(xlabel="dimension of the scene latent", ylabel="deviation", xticks=at)
        axes.legend(fontsize=8, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def beliefs(posterior: Mapping[str, np.ndarray], truth: Mapping[str, float]) -> Canvas:
    """What worlds take each promptable quantity to be, [N] each, and what it is where that is known."""
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(posterior), 3, 2.0)
        for axes, (name, values) in zip(panels, posterior.items(), strict=False):
            axes.hist(values, bins=24, density=True, color=SIM, alpha=0.6, label="worlds")
            for bound in np.quantile(values, [0.05, 0.95]):
                axes.axvline(bound, color=SIM, linestyle=":", linewidth=1)
            if name in truth:
                axes.axvline(truth[name], color="black", linewidth=1.4, label="truth")
            axes.set(xlabel=name, yticks=[])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8)
    return figure


def _grid(count: int, columns: int, height: float) -> tuple[Canvas, Any]:
    """A figure with `count` panels in rows of `columns`."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Canvas(figsize=(9.0, 0.4 + height * rows), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels


def _labels(panels: Any, count: int, columns: int, below: str, left: str) -> None:
    """Below the lowest panel of each column, left of the first of each row."""
    columns = min(columns, count)
    for i in range(count):
        if i + columns >= count:
            panels[i].set_xlabel(below)
        if left and i % columns == 0:
            panels[i].set_ylabel(left)
