"""`simulator ask`: what if a quantity were other, and which command matters when."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown

if TYPE_CHECKING:
    from simulator.answer import Answer
    from simulator.sensitivity import Sensitivity

SimulatorOption = Annotated[
    str | None, typer.Option("--simulator", help="'pretrained', name@version, digest, folder; default: the robot's.")
]
RobotOption = Annotated[str | None, typer.Option("--robot", help="Serial of a robot, or name of a specification.")]
SpecOption = Annotated[Path | None, typer.Option("--spec", help="Specification file (YAML, JSON) in place of --robot.")]
PromptOption = Annotated[
    list[str] | None,
    typer.Option("--prompt-episode", help="Log of this robot: digest, file or 'latest'; repeat for more."),
]
NotesOption = Annotated[str, typer.Option(help="What operators know of this robot.")]
EditOption = Annotated[
    list[str] | None, typer.Option("--edit", help="Change made throughout, e.g. payload.mass=0.2; repeat for more.")
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON, last.")]


def ask(
    outcome: Annotated[
        str, typer.Option(help="final|max|min|mean(EXPR), time_above(EXPR, X), or task:NAME for a return.")
    ],
    sweep: Annotated[
        list[str] | None, typer.Option(help="QUANTITY=V,V,...: numbers, or changes such as x1.5 and +0.1.")
    ] = None,
    simulator: SimulatorOption = None,
    robot: RobotOption = None,
    spec: SpecOption = None,
    prompt_episode: PromptOption = None,
    notes: NotesOption = "",
    edit: EditOption = None,
    start: Annotated[str, typer.Option(help="Begin at CHANNEL=V,...; other channels at 0.")] = "",
    from_episode: Annotated[
        str | None, typer.Option(help="Begin within this log; default: the first --prompt-episode.")
    ] = None,
    at: Annotated[float | None, typer.Option(help="Seconds into that log; default: as early as can be.")] = None,
    commands: Annotated[
        str | None, typer.Option(help="'logged', 'safe' or a CSV file; default: logged where there is a log.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="A policy drives instead: name@version, digest, folder.")] = None,
    horizon: Annotated[float | None, typer.Option(min=0.0, help="Seconds; default 2, or what the log holds.")] = None,
    worlds: Annotated[int, typer.Option(min=2, help="Hypotheses about the robot.")] = 256,
    seed: Annotated[int, typer.Option()] = 0,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Gradient of the outcome to every command.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a plot: .svg, .png or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Ask what would happen to this robot if a quantity were other, or which command moves an outcome."""
    from flows.asking import About, Given

    about = About(simulator, robot, spec, tuple(prompt_episode or ()), notes, tuple(edit or ()))
    given = Given(start, from_episode, at, commands, policy, horizon)
    with progress_shown():
        found = _answered(about, given, outcome, sweep or [], worlds, seed, sensitivity, plot)
    if json:
        print_json(found)
        return
    for line in found["sentences"]:
        out.print(line, soft_wrap=True)
    if plot is not None:
        console.print(f"plot: {plot.resolve()}")


def _answered(
    about: Any, given: Any, outcome: str, sweep: list[str], worlds: int, seed: int, gradient: bool, plot: Path | None
) -> dict[str, Any]:
    from flows.asking import facts, ground, parse_sweep, situation
    from flows.sources import Sources
    from simulator.outcome import Measure, Outcome, TaskReturn
    from simulator.sensitivity import sensitivity
    from simulator.what_if import ask as ask_simulator
    from storage.contracts.errors import InputError

    if not sweep and not gradient:
        raise InputError("nothing is asked", remedy="Add --sweep QUANTITY=V,V,... or --sensitivity.")
    asked = parse_sweep(sweep)
    with Sources() as sources:
        name = outcome.removeprefix("task:")
        measure: Measure = TaskReturn(sources.task(name)) if name != outcome else Outcome(outcome)
        grounded = ground(sources, about)
        where = situation(sources, given, grounded, about.robot)
        said = facts(grounded) | {"horizon_s": where.horizon_s, "outcome": measure.text, "sentences": []}
        if asked:
            answer = ask_simulator(grounded.scene, asked, measure, where, worlds=worlds, seed=seed)
            _add(said, "answer", answer, plot)
        if gradient:
            slopes = sensitivity(grounded.scene, measure, where, worlds=worlds, seed=seed)
            _add(said, "sensitivity", slopes, plot if not asked or plot is None else _beside(plot))
    return said


def _add(said: dict[str, Any], key: str, found: "Answer | Sensitivity", plot: Path | None) -> None:
    from flows.report import what_if_charts as charts
    from simulator.answer import Answer

    said["sentences"] += found.sentences()
    if isinstance(found, Answer):
        said[key], draw = found.model_dump(mode="json"), partial(charts.answer_figure, found)
    else:
        said[key], draw = found.to_json(), partial(charts.sensitivity_figure, found)
    if plot is not None:
        charts.save(draw(), plot)


def _beside(plot: Path) -> Path:
    return plot.with_name(f"{plot.stem}-sensitivity{plot.suffix}")
