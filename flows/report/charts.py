"""The plots of the reports, as inline SVG: nothing is loaded from anywhere, and text stays text.

Each function takes plain numbers and returns one `<svg>` element. Colours keep their meaning in every plot.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib.figure import Figure as Canvas

from flows.report.spent import step_names

_PIXELS_PER_INCH = 104
REAL, SIM, FLOOR, NEW = "#1f6f43", "#2a5fb0", "#8a8a8a", "#c0561f"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "svg.fonttype": "none", "legend.frameon": False, "svg.hashsalt": "sim2real",
}  # fmt: skip
Record = Mapping[str, Any]


def compounding(records: Sequence[Record], random_return: float, oracle_return: float | None) -> str:
    """Real and simulated return over real robot seconds, intervals shaded, floor and oracle as lines."""
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(5.2, 3.2), layout="constrained")
        _returns(figure.subplots(), records, random_return, oracle_return)
        return svg(figure)


def campaign(records: Sequence[Record], random_return: float, oracle_return: float | None) -> str:
    """One wide picture: returns on the left, simulator error one second ahead on the right."""
    horizon = list(records[0]["sim_error"])[-1]
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(9.2, 3.3), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        _returns(left, records, random_return, oracle_return)
        _error(right, records, horizon)
        right.set(ylabel="error, standard deviations", title=f"Simulator error {horizon} s ahead")
        right.legend()
        return svg(figure)


def _returns(axes: Any, records: Sequence[Record], random_return: float, oracle_return: float | None) -> None:
    seconds = [r["real_seconds"] for r in records]
    for key, colour, label in (("real_return", REAL, "robots"), ("sim_return", SIM, "simulated")):
        axes.plot(seconds, [r[key]["mean"] for r in records], "o-", color=colour, label=label)
        low, high = zip(*(r[key]["ci95"] for r in records), strict=True)
        axes.fill_between(seconds, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(random_return, color=FLOOR, linestyle=":", label="random commands")
    if oracle_return is not None:
        axes.axhline(oracle_return, color="black", linestyle="--", linewidth=1, label="oracle")
    axes.set(xlabel="seconds of robot time", ylabel="return", title="What the policies earn on the robots")
    axes.legend()


def _error(axes: Any, records: Sequence[Record], horizon: str) -> None:
    x = [r["iteration"] for r in records]
    axes.plot(x, [r["sim_error"][horizon] for r in records], "o-", color=SIM, label="held out (fixed)")
    axes.plot(x, [r["hold_last_error"][horizon] for r in records], ":", color=FLOOR, label="hold-last")
    axes.plot(x, [r["new_log_error"][horizon] for r in records], "s--", color=NEW, label="new logs, unseen")
    axes.set(xlabel="iteration", title=f"{horizon} s ahead", xticks=x, ylim=(0, None))


def errors(records: Sequence[Record]) -> str:
    """Simulator error by iteration: the fixed held-out set per horizon with hold-last, and new logs before training."""
    horizons = list(records[0]["sim_error"])
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(1.9 + 2.2 * len(horizons), 3.2), layout="constrained")
        for axes, horizon in zip(np.atleast_1d(figure.subplots(1, len(horizons))), horizons, strict=True):
            _error(axes, records, horizon)
        figure.axes[0].set_ylabel("error, standard deviations")
        figure.axes[-1].legend(fontsize=8)
        return svg(figure)


def time_spent(records: Sequence[Record]) -> str:
    """Seconds per step, stacked, one bar an iteration."""
    steps = step_names(records)
    with mpl.rc_context(STYLE):
        figure = Canvas(figsize=(6.4, 0.9 + 0.45 * len(records)), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(records))
        labels = [f"iteration {r['iteration']}" for r in records]
        for step, shade in zip(steps, np.linspace(0.85, 0.25, len(steps)), strict=True):
            widths = np.array([r["wall_seconds_by_step"].get(step, 0.0) for r in records])
            axes.barh(labels, widths, left=left, label=step, color=mpl.colormaps["viridis"](shade))
            left += widths
        axes.invert_yaxis()
        axes.set(xlabel="seconds")
        axes.legend(ncols=3, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return svg(figure)


def fan(
    time_s: np.ndarray,
    measured: np.ndarray,
    samples: np.ndarray,
    columns: Sequence[str],
    units: Sequence[str],
    title: str,
) -> str:
    """Measured against predicted, one panel a column. measured [H+1, S], samples [W, H+1, S]; bands hold 50 % and 90 %.

    Angles are expected unwrapped by the caller, so that a band never jumps.
    """
    with mpl.rc_context(STYLE):
        rows = int(np.ceil(len(columns) / 2))
        figure = Canvas(figsize=(9.0, 0.5 + 1.9 * rows), layout="constrained")
        figure.suptitle(title, fontsize=10)
        panels = figure.subplots(rows, min(2, len(columns)), squeeze=False).flat
        for i, axes in enumerate(panels):
            if i >= len(columns):
                axes.set_visible(False)
                continue
            for inside, alpha in ((0.9, 0.15), (0.5, 0.3)):
                low, high = np.quantile(samples[:, :, i], [(1 - inside) / 2, (1 + inside) / 2], axis=0)
                axes.fill_between(time_s, low, high, color=SIM, alpha=alpha, linewidth=0)
            axes.plot(
                time_s,
                np.median(samples[:, :, i], axis=0),
                color=SIM,
                linewidth=1.2,
                label="simulator: median, 50 %, 90 %",
            )
            axes.plot(time_s, measured[:, i], color="black", linewidth=1.0, label="measured")
            axes.set(ylabel=f"{columns[i]}\n[{units[i]}]", xlabel="seconds" if i >= len(columns) - 2 else "")
        figure.axes[0].legend(fontsize=7, loc="best")
        return svg(figure)


def svg(figure: Canvas) -> str:
    """The figure as one `<svg>` that shrinks with the page and never grows beyond its size, without a creation date."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    head, _, rest = text[text.index("<svg") :].partition(">")
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f'{head} width="100%" style="max-width:{figure.get_figwidth() * _PIXELS_PER_INCH:.0f}px">{rest}'


def standalone(element: str) -> str:
    """An `<svg>` element of a page as a file of its own."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return element if "xmlns=" in element.partition(">")[0] else element.replace("<svg", f"<svg {names}", 1)
