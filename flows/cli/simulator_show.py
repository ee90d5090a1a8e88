"""`simulator show`: what a simulator believes of one robot and how well it does, as a page, plots and a recording."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console, print_json, progress_shown
from flows.cli.simulator_ask import (
    EditOption,
    Json,
    NotesOption,
    PromptOption,
    RobotOption,
    SimulatorOption,
    SpecOption,
)


def show(
    out: Annotated[Path, typer.Option(help="Folder for the page and its plots.")],
    simulator: SimulatorOption = None,
    robot: RobotOption = None,
    spec: SpecOption = None,
    prompt_episode: PromptOption = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="Log to show: digest or file; default: the robot's test split."),
    ] = None,
    notes: NotesOption = "",
    edit: EditOption = None,
    rerun: Annotated[Path | None, typer.Option(help="Also write a Rerun recording (.rrd).")] = None,
    json: Json = False,
) -> None:
    """Show trajectory fans, calibration, errors and what the prompt taught, on logs that were held out."""
    from flows.asking import About, facts, ground
    from flows.progress import reporting
    from flows.report.simulator_show import Shown, write_show
    from flows.sources import Sources

    about = About(simulator, robot, spec, tuple(prompt_episode or ()), notes, tuple(edit or ()))
    with progress_shown(), Sources() as sources:
        grounded = ground(sources, about)
        references = held_out or sources.held_out(robot)
        logs = dict(sources.episode(reference, robot) for reference in references)
        name = simulator or f"{grounded.scene.spec.name}@latest"
        with reporting(f"show {Path(name).name} on {len(logs)} logs"):
            shown = Shown(grounded.simulator, grounded.scene, grounded.prompt, logs, Path(name).name)
            page = write_show(shown, out, rerun)
    if json:
        print_json(facts(grounded) | {"page": str(page), "held_out": list(logs), "rerun": str(rerun or "")})
    else:
        console.print(f"page: {page.resolve()}")
