"""`bootstrap` and `demo`: run iterations of the loop."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.console import PARENT, console, out, print_json, progress_shown

Result = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    app.command()(bootstrap)
    app.command()(demo)


def bootstrap(
    robot: Annotated[
        str,
        typer.Option(
            help="A stand-in (cartpole), an environment (gymnasium:ID, dm_control:DOMAIN-TASK), "
            "or a registered robot with a task."
        ),
    ],
    iterations: Annotated[int, typer.Option(min=1, max=1000, help="How many iterations the campaign has.")] = 3,
    fleet: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many robots take part; 3, of environments 1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal arguments and seed give equal digests.")] = 0,
    new: Annotated[
        bool, typer.Option("--new", help="Start another campaign although one of these arguments is finished.")
    ] = False,
    more: Annotated[
        int | None, typer.Option(min=1, help="Extend the finished campaign of these arguments by so many.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help=PARENT)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny budgets: walks through every step, learns nothing.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the self-contained HTML report here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON, last.")] = False,
) -> None:
    """Train a simulator and a policy, run it on the robots, learn from their logs, and again.

    Killed at any moment, the same command goes on where it stopped.
    """
    from flows.fleet import default_size

    size = fleet if fleet is not None else default_size(robot)
    result = run(
        robot, iterations, fleet=size, seed=seed, new=new, more=more, report=report, quick=quick, parent=parent
    )
    if json:
        print_json(result)


def demo(
    iterations: Annotated[int, typer.Option(min=1)] = 3,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("report.html"),
) -> None:
    """A new campaign on three simulated stand-in cart-poles, its table and its report."""
    console.print(
        "Three stand-in cart-poles with hidden physics learn to swing up. "
        "The stand-ins are simulated; they stand for reality."
    )
    run("cartpole", iterations, fleet=3, seed=0, new=True, more=None, report=report, stay=True)


def run(
    robot: str,
    iterations: int,
    *,
    fleet: int,
    seed: int,
    new: bool,
    more: int | None,
    report: Path | None,
    quick: bool = False,
    parent: str | None = None,
    stay: bool = False,
) -> Result:
    """Runs the campaign with progress, prints the compounding table, and writes the report."""
    from flows.engine import open_engine
    from flows.fleet import check_robot, find_fleet
    from flows.parent import stored_parent
    from flows.presets import campaign_config
    from flows.report.text import REALITY, compounding_table
    from flows.services import EVERYTHING
    from flows.settings import Settings

    settings = Settings()
    kind = check_robot(settings, robot, fleet)
    with ExitStack() as opened:
        with progress_shown():
            engine = opened.enter_context(open_engine(settings, EVERYTHING))
            opened.callback(engine.close_and_wait)
            from flows.prefect_flows import bootstrap as bootstrap_flow
            from flows.prefect_flows import using

            with using(engine):
                config = campaign_config(robot, fleet=fleet, seed=seed, preset="quick" if quick else "standard")
                if parent is not None:
                    spec = find_fleet(engine.catalog, robot, fleet).spec
                    config = config.model_copy(update={"parent": stored_parent(engine, parent, spec, config.simulator)})
                result: Result = bootstrap_flow(config, iterations, new=new, more=more, listener=_announce)
            if report is not None:
                from flows.report.page import write_campaign_report

                write_campaign_report(engine, result, report)
        out.print(compounding_table(result))
        if kind == "environment":
            console.print(REALITY[kind])
        if report is not None:
            console.print(f"report: {report.resolve()}")
        if stay and console.is_terminal and sys.stdin.isatty():
            _hold_open(engine.prefect_ui_url, report)
    return result


def _announce(record: Result) -> None:
    real, sim = record["real_return"]["mean"], record["sim_return"]["mean"]
    console.print(f"[bold]iteration {record['iteration']}[/]: real return {real:.1f}, simulated {sim:.1f}")


def _hold_open(prefect_url: str, report: Path | None) -> None:
    console.print(
        f"Open these; Enter stops.\n  report   {report.resolve().as_uri() if report else '-'}\n  Prefect  {prefect_url}"
    )
    input()
