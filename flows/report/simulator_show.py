"""What a simulator believes of one robot and how well it does: plots in a folder, one page that holds them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flows.report import charts
from flows.report import simulator_charts as plots
from flows.report.calibration import LEVELS, Calibration, calibrate
from flows.report.fans import Predicted, fan, predicted
from flows.report.page import Page, Plot, Section, write_page
from flows.report.rerun_log import Run, write_recording
from flows.report.text import number
from simulator.prompt import Prompt
from simulator.scene import Scene, latent_rows
from simulator.simulator import Simulator
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError, UnavailableError

_FANS = 3
_LONGER_S = 8.0


@dataclass(frozen=True, eq=False)
class Shown:
    """`scene` is grounded in `prompt`; `held_out` are logs that the simulator neither trained on nor was prompted with
    (digest -> episode). `beliefs`: what worlds take each promptable quantity to be, [N] by name, from a simulator that
    can say; `truth` what it is, for a stand-in."""

    simulator: Simulator
    scene: Scene
    prompt: Sequence[Episode]
    held_out: dict[str, Episode]
    name: str
    beliefs: Mapping[str, np.ndarray] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)


def write_show(shown: Shown, folder: Path, rerun: Path | None = None) -> Path:
    """Writes `index.html` and one SVG and PNG per plot; with `rerun` a recording too. Returns the page's path."""
    if not shown.held_out:
        raise InputError("no held-out log to show", remedy="Name logs with --held-out.")
    scene = shown.scene
    runs = {digest: predicted(scene, episode) for digest, episode in list(shown.held_out.items())[:_FANS]}
    first = next(iter(shown.held_out.values()))
    longer = predicted(scene, first, longest_s=_LONGER_S, samples=12)
    found = calibrate(scene, list(shown.held_out.values()))
    figures = {
        "reliability": plots.reliability(found),
        "pit": plots.pit(found),
        "error": plots.error_by_horizon(found),
        "worlds": plots.single_worlds(longer.time_s, longer.measured, longer.samples, longer.columns, longer.units),
        "posterior": plots.posterior_width(*_widths(shown)),
    }
    if shown.beliefs:
        figures["beliefs"] = plots.beliefs(shown.beliefs, shown.truth)
    svg = {name: charts.svg(figure) for name, figure in figures.items()}
    svg |= {f"fan-{i + 1}": fan(run, f"log {digest[:12]}") for i, (digest, run) in enumerate(runs.items())}
    _write_plots(folder, svg, figures)
    page = folder / "index.html"
    write_page(_page(shown, found, svg), page)
    if rerun is not None:
        write_recording({f"log_{digest[:12]}": _run(run, digest, scene) for digest, run in runs.items()}, rerun)
    return page


def _page(shown: Shown, found: Calibration, svg: dict[str, str]) -> Page:
    seconds = sum(e.duration_s for e in shown.prompt)
    prompt = f"its specification and {seconds:.1f} s of log" if shown.prompt else "its specification alone"
    fans = [Plot(text, f"Trajectory fan {name}") for name, text in svg.items() if name.startswith("fan-")]
    sections = [
        Section(
            "Predicted and measured",
            text="Open loop from a moment's history under the logged commands. Bands hold 50 % and 90 % of the worlds.",
            plots=fans,
        ),
        Section(
            "Single worlds",
            text="Each blue line is one whole possible run, with its own hypothesis and noise.",
            plots=[Plot(svg["worlds"], "Measured run and single simulated worlds")],
        ),
        Section(
            "Is it as sure as it says?",
            text="Said against seen coverage of central intervals. Above the diagonal it is less sure than it could "
            "be, below it is too sure. Thin lines are channels.",
            plots=[
                Plot(svg["reliability"], "Reliability: nominal against observed coverage by horizon"),
                Plot(svg["pit"], "Histogram of the probability integral transform by horizon"),
            ],
        ),
        Section(
            "Error by horizon",
            plots=[Plot(svg["error"], "Error by horizon beside hold-last")],
            table=_table(found),
            note="Root mean square error of the mean prediction, angles wrapped; hold-last in brackets. Windows: "
            + ", ".join(f"{n} at {h:g} s" for h, n in sorted(found.windows.items()))
            + ".",
        ),
        Section(
            "What the prompt taught",
            text="How wide the simulator's belief about this robot is in each direction of its latent; 1 is what it "
            "believes before it is told anything.",
            plots=[
                Plot(svg["posterior"], "Width of the posterior against the prior"),
                *(Plot(svg[name], "Belief about each promptable quantity") for name in ("beliefs",) if name in svg),
            ],
        ),
    ]
    view = shown.scene.frame.structure.view
    if view is not None:
        found_out = "Nobody said what these channels have to do with each other; the logs did. "
        sections.append(Section("Found in the logs", text=found_out + " ".join(view.relations.words)))
    return Page(
        title=f"{shown.name} on {shown.scene.spec.name}",
        lead=f"The simulator was told {prompt}; it is shown on {len(shown.held_out)} held-out logs.",
        cards=_cards(found),
        sections=sections,
    )


def _cards(found: Calibration) -> list[dict[str, str]]:
    cards = []
    for horizon in list(found.rmse)[-3:]:
        ratio = np.nanmean(found.rmse[horizon] / np.maximum(found.hold_last[horizon], 1e-12))
        cards.append(
            {"value": f"{ratio:.2f}", "label": f"of hold-last's error {horizon:g} s ahead, mean over channels"}
        )
    last = list(found.coverage)[-1]
    at = int(np.argmin(np.abs(LEVELS - 0.9)))
    cards.append(
        {
            "value": f"{np.nanmean(found.coverage[last][at]):.0%}",
            "label": f"seen inside the 90 % interval at {last:g} s",
        }
    )
    return cards


def _table(found: Calibration) -> dict[str, object]:
    horizons = list(found.rmse)
    rows = [
        [
            f"{column} [{unit}]",
            *(f"{number(found.rmse[h][s])} ({number(found.hold_last[h][s])})" for h in horizons),
        ]
        for s, (column, unit) in enumerate(zip(found.columns, found.units, strict=True))
    ]
    return {"columns": ["channel", *(f"{h:g} s" for h in horizons)], "rows": rows}


def _widths(shown: Shown) -> tuple[list[str], list[np.ndarray]]:
    """Mean deviation over members [Z], averaged over entities: with the specification alone, and with the prompt."""
    spec_alone = shown.simulator.ground(Prompt(shown.scene.spec))
    scenes = {"specification": spec_alone}
    if shown.prompt:
        scenes["one log"] = shown.simulator.ground(Prompt(shown.scene.spec, tuple(shown.prompt[:1])))
    if len(shown.prompt) > 1:
        scenes["all of the prompt"] = shown.scene
    return list(scenes), [latent_rows(scene)[1].mean((0, 1)).numpy() for scene in scenes.values()]


def _run(run: Predicted, digest: str, scene: Scene) -> Run:
    title = f"log {digest}: measured, and 5, 50 and 95 % of the predictions of {scene.spec.name}"
    names = scene.spec.command_layout.columns
    return Run(title, run.time_s, run.measured, run.samples, run.command, run.columns, names)


def _write_plots(folder: Path, svg: dict[str, str], figures: plots.Figures) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in svg.items():
            (folder / f"{name}.svg").write_text(charts.standalone(text), encoding="utf-8")
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=120)
    except OSError as error:
        raise UnavailableError(f"cannot write plots to {folder}: {error.strerror}") from error
