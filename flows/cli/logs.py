"""`import` and `upload`: real logs in."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown, table

Json = Annotated[bool, typer.Option("--json", help="One line of JSON, last.")]


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_logs)
    app.command()(upload)


def import_logs(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of logs: Parquet, CSV, MCAP.")],
    mapping: Annotated[Path | None, typer.Option("--map", help="The mapping from columns to channels (YAML).")] = None,
    propose: Annotated[
        bool, typer.Option("--propose", help="Draft a mapping from the first file and plot its channels.")
    ] = False,
    robot: Annotated[str | None, typer.Option(help="Serial name of the robot, if the mapping does not say.")] = None,
    notes: Annotated[
        str, typer.Option(help="What an operator knows: kept with the logs, a prompt for the simulator.")
    ] = "",
    json: Json = False,
) -> None:
    """Turn logs into episodes through a mapping; or, with --propose, draft the mapping."""
    if propose:
        _propose(paths[0], json)
        return
    from flows.engine import open_engine
    from flows.importing import import_paths
    from flows.services import STORAGE
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), STORAGE) as engine:
        results = import_paths(engine, paths, mapping, robot, notes=notes)
    _print_results(results, json)


def upload(
    paths: Annotated[list[Path], typer.Argument(help="Log files or folders.")],
    robot: Annotated[str, typer.Option(help="Serial name of the robot that recorded them.")],
    mapping: Annotated[
        Path | None, typer.Option("--map", help="The mapping, for files that do not describe themselves.")
    ] = None,
    json: Json = False,
) -> None:
    """Send logs through the upload protocol, as a robot does: hashed, in parts, verified by the server."""
    from flows.engine import open_engine
    from flows.importing import upload_paths
    from flows.services import INGEST
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), INGEST) as engine:
        results = upload_paths(engine, paths, robot, mapping)
    _print_results(results, json)


def _propose(path: Path, json: bool) -> None:
    from fleet_ingest.propose import propose

    draft = propose(path)
    target, plot = Path(f"{path.stem}.map.yaml"), Path(f"{path.stem}.channels.png")
    target.write_text(draft.yaml)
    plot.write_bytes(draft.plot_png)
    if json:
        print_json({"mapping": str(target), "plot": str(plot)})
    else:
        console.print(
            f"drafted {target} and plotted {plot}; look at both, then: sim2real import PATH... --map {target}"
        )


def _print_results(results: list[dict[str, Any]], json: bool) -> None:
    bad = [r for r in results if r["state"] in ("quarantined", "refused")]
    if json:
        print_json({"files": results, "quarantined": len(bad)})
    else:
        cells = [
            [r["path"], r["robot"] or "", r["state"], len(r["episodes"]), f"{r['duration_s']:.1f}", r["reason"] or ""]
            for r in results
        ]
        out.print(table("", ["file", "robot", "state", "episodes", "seconds", "reason"], cells, right=[3, 4]))
        console.print(
            f"{len(results) - len(bad)} of {len(results)} files in; "
            f"{len(bad)} quarantined (kept, with the reason) or refused"
        )
    if bad:
        raise typer.Exit(3)
