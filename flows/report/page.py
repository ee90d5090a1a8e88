"""The self-contained HTML reports: of a campaign, and of a simulator on a robot's held-out logs.

Pages load nothing; plots are inline SVG. This module writes files and computes no figures of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from flows.artefacts import load_episodes, load_refs, load_simulator
from flows.campaign_config import HORIZONS_S
from flows.engine import Engine
from flows.report import charts
from flows.report.fans import fan_of
from flows.report.spent import time_table
from flows.report.text import REALITY, interval, number
from flows.retrain import dataset_of_robot, prompts_of, score_robot
from simulator.score import horizons_that_fit
from storage.contracts.errors import UnavailableError


@dataclass(frozen=True)
class Plot:
    svg: str
    label: str


@dataclass(frozen=True)
class Section:
    title: str
    text: str = ""
    plots: Sequence[Plot] = ()
    table: dict[str, Any] | None = None
    note: str = ""
    pair: bool = False


@dataclass(frozen=True)
class Page:
    title: str
    lead: str
    cards: Sequence[dict[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=list)


def write_campaign_report(engine: Engine, result: dict[str, Any], path: Path) -> None:
    """Compounding curve, simulator errors, measured against predicted trajectories, where the time went."""
    records = [row.values for row in engine.catalog.iterations.list(result["campaign"])]
    first, last = records[0], records[-1]
    page = Page(
        title=f"Campaign {result['campaign']}",
        lead="Policies are trained in a learned simulator, run on the robots, "
        f"and the simulator learns from their logs. {_reality(engine, last)}",
        cards=_campaign_cards(result),
        sections=[
            Section(
                "Does progress compound?",
                plots=[
                    Plot(
                        charts.compounding(records, result["random_return"], result["oracle_return"]),
                        "Return over robot time",
                    ),
                    Plot(charts.errors(records), "Simulator error by iteration"),
                ],
                note="Shaded: 95 % intervals by bootstrap over robots. "
                "New logs are scored before the simulator trains on them. "
                "A horizon without points is longer than the logs.",
            ),
            Section("Iteration by iteration", table=_campaign_table(result)),
            Section(
                "What the simulator predicted, and what the robots did",
                text="Evaluation runs of the last iteration, "
                "predicted open loop from their first moments and the commands alone. Shorter runs are left out.",
                plots=[*_policy_fans(engine, first, last)],
                note="Neither simulator had seen these logs.",
            ),
            Section(
                "Where the time went",
                plots=[Plot(charts.time_spent(records), "Seconds by step")],
                table=time_table(records, _seconds_before(engine, result["campaign"])),
                note="Seconds of wall clock, the start of the servers left out.",
            ),
        ],
    )
    write_page(page, path)


def _seconds_before(engine: Engine, campaign: str) -> float:
    """Seconds in which the held-out and the first logs were collected."""
    steps = engine.catalog.steps.list(campaign, state="done")
    return float(sum((s.result or {}).get("wall_seconds", 0.0) for s in steps if s.iteration == -1))


def _reality(engine: Engine, record: dict[str, Any]) -> str:
    kinds = {engine.catalog.robots.get(serial).kind for serial in record["real_return"]["per_robot"]}
    return " ".join(REALITY[kind] for kind in sorted(kinds) if kind in REALITY)


def write_simulator_report(engine: Engine, robot: str, simulator: str | None, path: Path) -> None:
    """Errors by channel and horizon with hold-last, and fans over held-out runs, for any imported robot."""
    scored = score_robot(engine, robot, simulator, HORIZONS_S)
    dataset = dataset_of_robot(engine, robot)
    sim = load_simulator(engine, scored["simulator"])
    held_out = load_refs(engine, dataset.of("test"))
    prompts = prompts_of(engine, dataset)
    one_each = list({e.robot: e for e in held_out}.values())[:4]
    columns = ["channel", *(f"{h} s (hold-last)" for h in scored["error"]), "RMSE at 0.5 s"]
    rows = [
        [
            name,
            *(f"{number(e['error'])} ({number(e['hold_last'])})" for e in by.values()),
            f"{number(by['0.5']['rmse'])} {by['0.5']['unit']}",
        ]
        for name, by in scored["channels"].items()
    ]
    page = Page(
        title=f"Simulator {scored['simulator_name']} of {robot}",
        lead=f"Scored open loop on {scored['episodes']} held-out recordings of {', '.join(scored['robots'])}.",
        cards=[
            {
                "value": number(error),
                "label": f"error {h} s ahead; hold-last {number(scored['hold_last'][h])}",
            }
            for h, error in scored["error"].items()
        ],
        sections=[
            Section(
                "Errors by channel",
                table={"columns": columns, "rows": rows},
                note="In fixed standard deviations of each channel, angles wrapped; windows: "
                + ", ".join(f"{n} at {h} s" for h, n in scored["windows"].items())
                + ".",
            ),
            Section(
                "Measured against predicted",
                plots=[
                    Plot(
                        fan_of(sim, e, f"{e.robot}, held-out recording", prompts.get(e.robot, ())),
                        f"Prediction of {e.robot}",
                    )
                    for e in one_each
                ],
            ),
        ],
    )
    write_page(page, path)


def _campaign_cards(result: dict[str, Any]) -> list[dict[str, str]]:
    first, last = result["iterations"][0], result["iterations"][-1]
    horizon = list(last["sim_error"])[-1]
    cards = [
        {
            "value": interval(last["real_return"]),
            "label": f"real return of the last iteration, {last['real_return']['n']} episodes",
        },
        {"value": interval(first["real_return"]), "label": "real return of iteration 0, the first trained policy"},
        {
            "value": f"{number(first['sim_error'][horizon])} → {number(last['sim_error'][horizon])}",
            "label": f"simulator error {horizon} s ahead on the fixed held-out set",
        },
        {"value": f"{last['real_seconds']:.0f} s", "label": "of robot time, all counted"},
    ]
    if result["oracle_return"]:
        share = last["real_return"]["mean"] / result["oracle_return"]
        cards.insert(
            1,
            {
                "value": f"{share:.0%}",
                "label": f"of the oracle's {result['oracle_return']:.1f}; random {result['random_return']:.1f}",
            },
        )
    return cards


def _campaign_table(result: dict[str, Any]) -> dict[str, Any]:
    horizons = list(result["iterations"][0]["sim_error"])
    columns = [
        "iteration",
        "real return",
        "simulated",
        *(f"error {h} s" for h in horizons),
        *(f"new logs {h} s" for h in horizons),
        "robot s",
        "wall s",
    ]
    rows = [
        [
            r["iteration"],
            interval(r["real_return"]),
            interval(r["sim_return"]),
            *(number(r["sim_error"][h]) for h in horizons),
            *(number(r["new_log_error"][h]) for h in horizons),
            f"{r['real_seconds']:.0f}",
            f"{r['wall_seconds']:.0f}",
        ]
        for r in result["iterations"]
    ]
    return {"columns": columns, "rows": rows}


def _policy_fans(engine: Engine, first: dict[str, Any], last: dict[str, Any]) -> list[Plot]:
    """The same unseen log predicted by the first and by the last simulator, and one log of each other robot by the
    last.
    """
    rows = [
        row
        for row in engine.catalog.episodes.get_many(last["rollout"]["episodes"])
        if row.tags.get("purpose") == "evaluation"
    ]
    chosen = list({row.robot: row for row in reversed(rows)}.values())[:3]
    episodes = load_episodes(engine, [row.sha256 for row in chosen])
    prompts = {robot: load_episodes(engine, digests) for robot, digests in last["prompts"].items()}
    before, after = load_simulator(engine, first["simulator"]), load_simulator(engine, last["simulator"])
    episodes = [e for e in episodes if horizons_that_fit(after, [e], HORIZONS_S)]
    if not episodes:
        return []  # every run ended before anything could be predicted
    shown = episodes[0]
    plots = [
        Plot(fan_of(before, shown, f"{shown.robot}: simulator of iteration 0", prompts[shown.robot]), "First simulator")
    ]
    title = f"simulator of iteration {last['iteration']}"
    return plots + [
        Plot(fan_of(after, e, f"{e.robot}: {title}", prompts[e.robot]), f"Last simulator, {e.robot}") for e in episodes
    ]


def write_page(page: Page, path: Path) -> None:
    """Renders and writes by temporary name and rename. Raises UnavailableError when the place cannot be written."""
    template = files("flows.report").joinpath("page.html").read_text(encoding="utf-8")
    html = (
        jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template).render(vars(page))
    )
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(f"cannot write the report to {path}: {error.strerror}") from error
