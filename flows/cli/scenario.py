"""`scenario run|list|new|add`: behavioural unit tests that run in the simulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown, table
from flows.cli.simulator_ask import Json, SimulatorOption

if TYPE_CHECKING:
    from storage.contracts.scenario import ScenarioResult

app = typer.Typer(help="Behavioural unit tests in the simulator.", no_args_is_help=True)
CHECK_FAILED = 7
"""Exit code when everything ran and a check did not hold."""


@app.command()
def run(
    files: Annotated[list[Path] | None, typer.Argument(help="Scenario files (YAML, JSON).")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All scenarios in force in the catalog.")] = False,
    robot: Annotated[str | None, typer.Option(help="With --all: only those of this specification.")] = None,
    simulator: SimulatorOption = None,
    policy: Annotated[str | None, typer.Option(help="The policy under test: name@version, digest or folder.")] = None,
    episode: Annotated[
        list[Path] | None, typer.Option(help="Log file that a scenario's prompt names by digest; repeat for more.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    json: Json = False,
) -> None:
    """Run scenarios. Exit code 7 when a check does not hold, 0 when all do."""
    with progress_shown():
        results = _run(files or [], all_of_them, robot, simulator, policy, episode or [])
    if junit is not None:
        from flows.report.junit import write_junit

        write_junit(results, junit)
    passed = all(result.passed for result in results)
    if json:
        print_json({"passed": passed, "results": [r.model_dump(mode="json") | {"digest": r.digest} for r in results]})
    else:
        _show(results)
    if not passed:
        raise typer.Exit(CHECK_FAILED)


def _run(
    files: list[Path],
    everything: bool,
    robot: str | None,
    simulator: str | None,
    policy: str | None,
    episodes: list[Path],
) -> "list[ScenarioResult]":
    from flows.progress import reporting
    from flows.scenarios import read_scenario, run, stored_scenarios
    from flows.sources import Sources
    from storage.contracts.errors import InputError

    if not files and not everything:
        raise InputError("no scenario given", remedy="Name scenario files, or --all for those of the catalog.")
    with Sources() as sources:
        for path in episodes:
            sources.episode(str(path))
        scenarios = [read_scenario(path, sources) for path in files]
        if everything:
            scenarios += stored_scenarios(sources.engine, robot)
        if not scenarios:
            raise InputError("no scenario is in force", remedy="Make one: sim2real scenario new --from-episode LOG ...")
        results, loaded = [], {}
        with reporting(f"run {len(scenarios)} scenarios") as progress:
            for i, scenario in enumerate(scenarios):
                name = scenario.prompt.robot.name
                if name not in loaded:
                    loaded[name] = sources.simulator(simulator or f"{name}@latest")
                results.append(run(sources, scenario, loaded[name], policy))
                progress((i + 1) / len(scenarios), scenario.name)
    return results


@app.command("list")
def list_scenarios(
    robot: Annotated[str | None, typer.Option(help="Only those of this specification.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Also those out of force.")] = False,
    json: Json = False,
) -> None:
    """The scenarios of the catalog."""
    from flows.status import open_catalog

    with open_catalog() as catalog:
        rows = catalog.scenarios.list(spec_name=robot, state=None if retired else "active")
    if json:
        print_json({"scenarios": [vars(row) for row in rows]})
        return
    cells = [[row.name, row.spec_name, row.state, (row.episode or "")[:12], row.digest[:12]] for row in rows]
    columns = ["scenario", "specification", "state", "made from log", "digest"]
    out.print(table("", columns, cells) if rows else "no scenarios yet; 'sim2real scenario new' makes one from a log")


@app.command()
def new(
    from_episode: Annotated[str, typer.Option(help="The log in which it went wrong: digest, file or 'latest'.")],
    never: Annotated[str, typer.Option(help="What went wrong, as an expression over channels.")],
    name: Annotated[str, typer.Option(help="Name of the scenario.")],
    robot: Annotated[str | None, typer.Option(help="Serial, for 'latest'.")] = None,
    at: Annotated[float | None, typer.Option(help="When it went wrong, seconds; default: when it first held.")] = None,
    before: Annotated[float, typer.Option(min=0.0, help="Seconds of run-up.")] = 1.0,
    after: Annotated[float, typer.Option(min=0.0, help="Seconds beyond.")] = 0.5,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of worlds in which it must not.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write it as a file.")] = None,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Put it in force in the catalog.")] = True,
    json: Json = False,
) -> None:
    """Turn a logged failure into a test: the run-up is the start, and the failure must never come again."""
    from flows.scenarios import Failure, from_failure, store_scenario, write_scenario
    from flows.sources import Sources

    with progress_shown(), Sources() as sources:
        digest, episode = sources.episode(from_episode, robot)
        made = from_failure(name, digest, episode, Failure(never, at, before, after, share))
        if output is not None:
            write_scenario(made, output)
        if store:
            store_scenario(sources.engine, made, digest)
    _made(made, output, store, json)


@app.command()
def add(files: Annotated[list[Path], typer.Argument(help="Scenario files.")], json: Json = False) -> None:
    """Put scenario files in force in the catalog."""
    from flows.scenarios import read_scenario, store_scenario
    from flows.sources import Sources

    with progress_shown(), Sources() as sources:
        digests = {str(path): store_scenario(sources.engine, read_scenario(path, sources)) for path in files}
    if json:
        print_json({"scenarios": digests})
        return
    for path, digest in digests.items():
        console.print(f"{path}: in force as {digest[:12]}")


def _made(scenario: Any, output: Path | None, stored: bool, json: bool) -> None:
    if json:
        print_json({"scenario": scenario.digest, "name": scenario.name, "stored": stored, "file": str(output or "")})
        return
    console.print(f"scenario {scenario.name} ({scenario.digest[:12]}): {scenario.description}")
    if output is not None:
        console.print(f"wrote {output}; run it: sim2real scenario run {output}")


def _show(results: "list[ScenarioResult]") -> None:
    from flows.report.junit import words

    cells = [
        [result.name, check.title, "passed" if check.passed else "FAILED", words(check)]
        for result in results
        for check in result.checks
    ]
    out.print(table("", ["scenario", "check", "", "worlds"], cells))
    failed = sum(not result.passed for result in results)
    console.print(f"{len(results) - failed} of {len(results)} scenarios passed")
