"""`simulator train|score|leaderboard|report|ask|show`: the learned simulator for its own sake, without any task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import simulator_ask, simulator_show
from flows.cli.console import PARENT, console, out, print_json, progress_shown, table

app = typer.Typer(help="Train, score, compare, ask and look at learned simulators.", no_args_is_help=True)
app.command()(simulator_ask.ask)
app.command()(simulator_show.show)
Json = Annotated[bool, typer.Option("--json", help="One line of JSON, last.")]
Robot = Annotated[str, typer.Option(help="Specification name or serial of an imported robot.")]
Horizons = Annotated[str, typer.Option(help="Seconds, separated by commas.")]


@app.command()
def train(
    robot: Robot,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Gradient updates; default: enough for an hour of logs.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help=PARENT)] = None,
    seed: Annotated[int, typer.Option()] = 0,
    json: Json = False,
) -> None:
    """Train a simulator on all training logs of a robot, and score it on its held-out ones."""
    from flows.engine import open_engine
    from flows.services import TRAINING
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), TRAINING) as engine:
        from flows.prefect_flows import retrain, using

        with using(engine):
            result: dict[str, Any] = retrain(robot, seed=seed, updates=updates, parent=parent)
    _print_score(result, json)


@app.command()
def score(
    robot: Robot,
    simulator: Annotated[str | None, typer.Option(help="Digest or name@version; default: the robot's latest.")] = None,
    horizons: Horizons = "0.1,0.5,1.0",
    json: Json = False,
) -> None:
    """Score a simulator on a robot's held-out logs, open loop, with hold-last beside it."""
    from flows.engine import open_engine
    from flows.retrain import score_robot
    from flows.services import STORAGE
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), STORAGE) as engine:
        result = score_robot(engine, robot, simulator, parse_horizons(horizons))
    _print_score(result, json)


@app.command()
def leaderboard(robot: Robot, json: Json = False) -> None:
    """All simulators scored on the same fixed held-out set of a robot, best first."""
    from flows.retrain import read_leaderboard
    from flows.status import open_catalog

    with open_catalog() as catalog:
        rows = read_leaderboard(catalog, robot)
    if json:
        print_json({"robot": robot, "rows": rows})
        return
    horizons = sorted({h for row in rows for h in row["error"]}, key=float)
    cells = [
        [
            i + 1,
            row["name"],
            *(f"{row['error'].get(h, float('nan')):.3f}" for h in horizons),
            max(row["windows"].values(), default=0),
            row["measured_on"][:8],
        ]
        for i, row in enumerate(rows)
    ]
    columns = ["", "simulator", *(f"error at {h} s" for h in horizons), "windows", "measured on"]
    out.print(table(f"simulators of {robot}", columns, cells) if rows else f"no simulator of {robot} was scored yet")


@app.command()
def report(
    robot: Robot,
    simulator: Annotated[str | None, typer.Option(help="Digest or name@version; default: the robot's latest.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("report.html"),
) -> None:
    """One self-contained page: measured against predicted trajectories with their uncertainty, errors by horizon and
    channel.
    """
    from flows.engine import open_engine
    from flows.services import STORAGE
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), STORAGE) as engine:
        from flows.report.page import write_simulator_report

        write_simulator_report(engine, robot, simulator, output)
    console.print(f"report: {output.resolve()}")


def parse_horizons(text: str) -> tuple[float, ...]:
    """'0.1,0.5' -> (0.1, 0.5). Raises InputError that shows the bad part."""
    from storage.contracts.errors import InputError

    found = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError as error:
            raise InputError(f"horizon '{part}' is not a number of seconds; expected e.g. 0.1,0.5,1.0") from error
        if not 0 < value <= 3600:
            raise InputError(f"horizon {value} s is not between 0 and 3600 s")
        found.append(value)
    return tuple(sorted(set(found)))


def _print_score(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    horizons = list(result["error"])
    rows = [["all channels", *(_pair(result["error"][h], result["hold_last"][h]) for h in horizons)]]
    for channel, errors in result["channels"].items():
        rows.append([channel, *(_pair(errors[h]["error"], errors[h]["hold_last"]) for h in horizons)])
    title = f"{result['simulator_name']} on {result['episodes']} held-out episodes of {', '.join(result['robots'])}"
    out.print(
        table(
            title,
            ["error (hold-last), in standard deviations", *(f"{h} s" for h in horizons)],
            rows,
            right=range(1, 1 + len(horizons)),
        )
    )
    console.print("windows: " + ", ".join(f"{n} at {h} s" for h, n in result["windows"].items()))


def _pair(error: float | None, hold_last: float | None) -> str:
    return "-" if error is None else f"{error:.3f} ({hold_last:.3f})"
