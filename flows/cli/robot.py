"""`robot new|add|list`: bring a robot of your own."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console, out, print_json, table

app = typer.Typer(help="Bring your own robots.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower-case name of the specification, e.g. my-arm.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write; default: ./NAME")] = None,
) -> None:
    """Write the three files that a new robot needs, filled in as a working example: spec.yaml, task.yaml, driver.py."""
    from flows.scaffold import write_scaffold

    target = folder or Path(name)
    for path in write_scaffold(name, target):
        console.print(f"wrote {path}")
    console.print(f"edit them, then: sim2real robot add {target} --serial {name}-0001")


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A folder with spec.yaml and, for training policies, task.yaml.")],
    serial: Annotated[list[str], typer.Option(help="Serial name of a robot; repeat for each.")],
    json: Json = False,
) -> None:
    """Register robots by their specification and task, and say how to start their agents."""
    from flows.engine import open_engine
    from flows.scaffold import add_robots
    from flows.services import INGEST
    from flows.settings import Settings

    with open_engine(Settings(), INGEST) as engine:
        added = add_robots(engine, folder, serial)
    if json:
        print_json(added)
        return
    console.print(f"robots of '{added['spec']}': {', '.join(added['robots'])}; task: {added['task'] or 'none'}")
    for line in added["start"]:
        console.print(f"  on the robot: {line}")


@app.command("list")
def list_robots(json: Json = False) -> None:
    """Stand-ins that come with the engine, and registered robots."""
    from fleet_ingest.standins.registry import STANDINS
    from flows.status import registered_robots

    rows = [(name, s.spec.name, "stand-in", s.task.name) for name, s in STANDINS.items()] + registered_robots()
    if json:
        print_json({"robots": [dict(zip(("name", "spec", "kind", "task"), row, strict=True)) for row in rows]})
    else:
        out.print(table("", ["name", "specification", "kind", "task"], rows))
