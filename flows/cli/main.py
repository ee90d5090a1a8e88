"""The command `sim2real`. This file names the commands; each group has a module, and heavy imports stand in command
bodies.
"""

import os
import sys
from typing import Annotated

import typer

from flows.cli import access, bootstrap, catalog, logs, quarantine, robot, scenario, simulator, stack, uploads
from flows.cli.console import console, print_error, print_json
from storage.contracts.errors import Sim2RealError

app = typer.Typer(
    name="sim2real",
    help="Bootstraps a learned simulator of robots: "
    "train policies in it, run them on robots, learn from the logs, repeat.",
    epilog="State lives under SIM2REAL_HOME (default ~/.sim2real). Start with: sim2real demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
bootstrap.add_to(app)
stack.add_to(app)
logs.add_to(app)
catalog.add_to(app)
app.add_typer(robot.app, name="robot")
app.add_typer(simulator.app, name="simulator")
app.add_typer(scenario.app, name="scenario")
app.add_typer(uploads.app, name="uploads")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(access.app, name="access")


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version as package_version

        typer.echo(package_version("sim2real-engine"))
        raise typer.Exit


@app.callback()
def options(
    home: Annotated[
        str | None,
        typer.Option(envvar="SIM2REAL_HOME", help="Where this installation keeps its state.", show_envvar=True),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if home:
        os.environ["SIM2REAL_HOME"] = home


def main() -> None:
    """Entry point: errors of ours are one screen and an exit code of their own kind (see storage.contracts.errors)."""
    try:
        app(standalone_mode=True)
    except Sim2RealError as error:
        if "--json" in sys.argv:
            kind = type(error).__name__
            print_json(
                {"error": {"kind": kind, "message": str(error), "remedy": error.remedy, "exit_code": error.exit_code}}
            )
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where this one stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
