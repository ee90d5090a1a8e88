"""`import` and `upload`: real logs in."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown, table
from storage.contracts.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="One line of JSON, last.")]
Api = Annotated[
    str | None,
    typer.Option(
        envvar="SIM2REAL_API_URL",
        help="An API elsewhere; it takes SIM2REAL_OPERATOR and SIM2REAL_OPERATOR_SECRET. Default: the embedded one.",
    ),
]


class Priority(StrEnum):
    incident = "incident"
    intervention = "intervention"
    on_demand = "on_demand"
    routine = "routine"


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_logs)
    app.command()(upload)


def import_logs(
    paths: Annotated[
        list[Path], typer.Argument(help="Files or folders of logs: MCAP, ROS bags, ULog, LeRobot, HDF5, Parquet, CSV.")
    ],
    mapping: Annotated[Path | None, typer.Option("--map", help="The mapping from columns to channels (YAML).")] = None,
    propose: Annotated[
        bool, typer.Option("--propose", help="Draft a mapping from the first file and plot its channels.")
    ] = False,
    robot: Annotated[str | None, typer.Option(help="Serial name of the robot, if the mapping does not say.")] = None,
    notes: Annotated[
        str, typer.Option(help="What an operator knows: kept with the logs; the simulator does not read it yet.")
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
    print_results(results, json)


def upload(
    paths: Annotated[list[Path] | None, typer.Argument(help="Log files or folders.")] = None,
    robot: Annotated[str, typer.Option(help="Serial name of the robot that recorded them.")] = "",
    mapping: Annotated[
        Path | None, typer.Option("--map", help="The mapping, for files that do not describe themselves.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Groups the files of one outing, e.g. 'field-2026-11-22'.")
    ] = None,
    notes: Annotated[str, typer.Option(help="What you know about them; kept with the episodes.")] = "",
    priority: Annotated[
        Priority, typer.Option(help="What a robot's own files are sent in the order of; kept for yours.")
    ] = Priority.routine,
    limit_mbps: Annotated[float | None, typer.Option(help="Cap in megabits per second.", min=0.01)] = None,
    watch: Annotated[Path | None, typer.Option(help="Send what appears in this folder, until Ctrl-C.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    api: Api = None,
    json: Json = False,
) -> None:
    """Send logs through the upload protocol, as a robot does: hashed, in parts, verified by the server.

    Interrupt it when you like: the same command, or 'sim2real uploads resume', goes on from the parts that arrived.

    Examples:  sim2real upload run1.mcap --robot arm-0001
    sim2real upload logs/ --robot arm-0001 --map arm.map.yaml --session monday --notes "new gearbox"
    sim2real upload --watch /mnt/logger --robot arm-0001 --limit-mbps 20

    Exit codes: 0 all taken in, 2 wrong words, 3 some quarantined (kept, with the reason), 4 no server, 7 some refused
    """
    from fleet_ingest.robot.throttle import Throttle
    from flows.remote import open_remote
    from flows.uploading import Wish, try_paths, upload_paths
    from flows.uploading import watch as watch_folder

    if not robot or not (paths or watch):
        raise InputError(
            "which files, of which robot?", remedy="sim2real upload PATH... --robot SERIAL (or --watch DIR)"
        )
    if watch and (paths or dry_run):
        raise InputError(
            "--watch goes with neither paths nor --dry-run",
            remedy="Send paths by a command of their own; to try a folder: sim2real upload DIR --dry-run",
        )
    wish = Wish(robot, mapping, session, notes, priority.value)
    throttle = Throttle(limit_mbps * 1e6 / 8) if limit_mbps else None
    with progress_shown(), open_remote(api, note=console.print, throttle=throttle) as remote:
        if watch is not None:
            console.print(f"watching {watch}; Ctrl-C ends it")
            watch_folder(remote, watch, wish, partial(_tell, json=json))
            return
        results = (try_paths if dry_run else upload_paths)(remote, paths or [], wish)
    print_results(results, json)


def _tell(row: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(row)
    else:
        out.print(one_line(row), soft_wrap=True, markup=False)


def one_line(row: dict[str, Any]) -> str:
    """With what to do, where the file was refused."""
    remedy = f" {row['remedy']}" if row["state"] == "refused" and row["remedy"] else ""
    return f"{row['path']}: {row['state']}" + (f" ({row['reason']})" if row["reason"] else "") + remedy


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


def summary_of(results: list[dict[str, Any]], bad: int) -> str:
    """One line; of a dry run it says that nothing was sent."""
    tried = [r for r in results if r["state"] == "would be sent" or r["state"].startswith("there already")]
    if results and len(tried) == len(results):
        new = sum(r["state"] == "would be sent" for r in results)
        return f"nothing was sent; {new} of {len(results)} files would be, the others are there already"
    kept = sum(r["state"] == "quarantined" for r in results)
    fates = [f"{kept} quarantined (kept, with the reason)"] if kept or not bad else []
    fates += [f"{bad - kept} refused"] if bad > kept else []
    return f"{len(results) - bad} of {len(results)} files in; {', '.join(fates)}"


def print_results(results: list[dict[str, Any]], json: bool) -> None:
    refused = [r for r in results if r["state"] in ("refused", "changed")]
    bad = [r for r in results if r["state"] == "quarantined"] + refused
    if json:
        print_json({"files": results, "quarantined": len(bad)})
    else:
        cells = [
            [r["path"], r["robot"] or "", r["state"], len(r["episodes"]), f"{r['duration_s']:.1f}", r["reason"] or ""]
            for r in results
        ]
        out.print(table("", ["file", "robot", "state", "episodes", "seconds", "reason"], cells, right=[3, 4]))
        console.print(summary_of(results, len(bad)))
        for remedy in dict.fromkeys(r["remedy"] for r in refused if r["remedy"]):
            out.print(remedy, soft_wrap=True, markup=False)
    if bad:
        raise typer.Exit(7 if refused else 3)
