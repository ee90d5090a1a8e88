"""`up`, `down`, `status`, `doctor`: the embedded servers of this installation."""

from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown, table

Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status, doctor):
        app.command()(command)


def up(json: Json = False) -> None:
    """Start the embedded servers and keep them until `down`."""
    from flows.engine import open_engine
    from flows.services import EVERYTHING
    from flows.settings import Settings

    with progress_shown(), open_engine(Settings(), EVERYTHING) as engine:
        engine.stack.pin()
        addresses = {"prefect": engine.prefect_ui_url, "api": engine.api_url, "home": str(engine.home.path)}
        secret = engine.catalog.operators.first()
    if json:
        print_json(addresses | ({"operator": "local", "secret": secret} if secret else {}))
        return
    out.print(table("The stack is up; 'sim2real down' stops it.", ["server", "address"], list(addresses.items())))
    out.print(f"operators' page: {addresses['api']}/web/")
    if secret:
        out.print(f"  sign in as 'local' with the secret {secret}")
        out.print("  (shown this once; 'sim2real access secret local' makes another)")


def down(json: Json = False) -> None:
    """Stop the embedded servers. Nothing that was stored is lost."""
    from flows.settings import Settings
    from storage.embedded.home import Home
    from storage.embedded.stack import Stack

    stack = Stack(Home(Settings().home))
    stopped = stack.status().running
    stack.stop()
    if json:
        print_json({"stopped": stopped})
    else:
        console.print("the stack is down" if stopped else "no stack was up")


def status(json: Json = False) -> None:
    """What is up, and how far the campaigns have come. Starts nothing."""
    from flows.status import read_status

    found: dict[str, Any] = read_status()
    if json:
        print_json(found)
        return
    servers = [(s["name"], s["state"], s["pid"], s["ports"], s["restarts"]) for s in found["services"]]
    out.print(
        table(f"home {found['home']}", ["server", "state", "pid", "ports", "restarts"], servers)
        if servers
        else "no server is up"
    )
    campaigns = [
        (c["name"], c["state"], f"{c['done']} of {c['iterations']}", c["real_return"]) for c in found["campaigns"]
    ]
    if campaigns:
        out.print(table("", ["campaign", "state", "iterations", "real return"], campaigns))
    ran = [c for c in found["campaigns"] if c["spent"]]
    if ran:
        from flows.report.spent import time_table

        spent = max(ran, key=lambda c: c["updated_ns"])
        times = time_table(spent["spent"])
        right = range(1, len(times["columns"]))
        out.print(table(f"where the time of {spent['name']} went", times["columns"], times["rows"], right=right))


def doctor(json: Json = False) -> None:
    """Check this machine and installation, with a remedy for each thing that is not right."""
    from flows.doctor import examine

    findings = examine()
    if json:
        print_json({"ok": all(f.ok for f in findings), "findings": [f.__dict__ for f in findings]})
    else:
        for finding in findings:
            console.print(f"{'[green]✓[/]' if finding.ok else '[red]✗[/]'} {finding.what}: {finding.found}")
            if not finding.ok:
                console.print(f"    {finding.remedy}")
    if not all(f.ok for f in findings):
        raise typer.Exit(1)
