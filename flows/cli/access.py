"""`access ...`: who may do what: keys of robots, accounts of people, quotas, the audit trail."""

from datetime import datetime
from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json, table
from flows.cli.logs import Api, Json

app = typer.Typer(
    help="Who may do what: robots' keys, people's accounts, quotas, the audit trail.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="The account's name.")]


def _ask(api: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    from fleet_ingest.robot.client import Refused
    from flows.remote import open_remote
    from storage.contracts.errors import InputError

    with open_remote(api, note=console.print) as remote:
        try:
            return remote.send(method, path, body)
        except Refused as error:
            raise InputError(str(error), remedy=error.remedy) from error


@app.command()
def keys(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for admission.")] = False,
    api: Api = None,
    json: Json = False,
) -> None:
    """Keys of robots. Compare the mark with what the robot's log says before you admit one."""
    rows = _ask(api, "GET", "/keys?state=waiting" if waiting else "/keys")
    if json:
        print_json({"keys": rows})
        return
    cells = [[r["id"], r["robot"], r["mark"], r["state"], r["note"], r["decided_by"] or ""] for r in rows]
    out.print(table("", ["key", "robot", "mark", "state", "from", "decided by"], cells, right=[0]))


@app.command()
def admit(
    robot: Annotated[str, typer.Argument(help="Serial of the robot whose waiting key is let in.")],
    key: Annotated[int | None, typer.Option(help="Which key, when several wait.")] = None,
    api: Api = None,
    json: Json = False,
) -> None:
    """Let a robot in by its key."""
    from storage.contracts.errors import InputError

    if key is None:
        found = _ask(api, "GET", f"/keys?state=waiting&robot={robot}")
        if len(found) != 1:
            marks = ", ".join(f"{r['id']} ({r['mark']})" for r in found) or "none"
            raise InputError(f"keys of '{robot}' that wait: {marks}", remedy="Say which with --key NUMBER.")
        key = found[0]["id"]
    _show_key(_ask(api, "POST", f"/keys/{key}/admit"), json)


@app.command()
def revoke(
    key: Annotated[int, typer.Argument(help="Number of the key, from 'sim2real access keys'.")],
    api: Api = None,
    json: Json = False,
) -> None:
    """End a key for good; its running sessions end with their next call."""
    _show_key(_ask(api, "POST", f"/keys/{key}/revoke"), json)


@app.command()
def operators(api: Api = None, json: Json = False) -> None:
    """Accounts of people."""
    rows = _ask(api, "GET", "/operators")
    if json:
        print_json({"operators": rows})
    else:
        cells = [[r["name"], r["role"], r["state"]] for r in rows]
        out.print(table("", ["name", "role", "state"], cells))


@app.command()
def add(
    name: Name,
    role: Annotated[
        str, typer.Option(help="viewer (looks), operator (sends, releases, admits) or admin.")
    ] = "operator",
    api: Api = None,
    json: Json = False,
) -> None:
    """Make an account. Its secret is shown this once."""
    _show_secret(_ask(api, "POST", "/operators", {"name": name, "role": role}), json)


@app.command()
def secret(name: Name, api: Api = None, json: Json = False) -> None:
    """Give an account a new secret; the old one and its sessions end."""
    _show_secret(_ask(api, "PATCH", f"/operators/{name}", {"new_secret": True}), json)


@app.command()
def disable(name: Name, api: Api = None, json: Json = False) -> None:
    """Shut an account out; its sessions end."""
    _show_secret(_ask(api, "PATCH", f"/operators/{name}", {"state": "disabled"}), json)


@app.command()
def quota(
    robot: Annotated[str, typer.Argument(help="Serial of the robot.")],
    gigabytes: Annotated[float | None, typer.Option(help="GB in 24 hours.", min=0)] = None,
    files: Annotated[int | None, typer.Option(help="Files in 24 hours.", min=0)] = None,
    open_uploads: Annotated[int | None, typer.Option(help="Uploads begun and not finished.", min=0)] = None,
    api: Api = None,
    json: Json = False,
) -> None:
    """What a robot may send and has sent; with options, set it."""
    found = _ask(api, "GET", f"/robots/{robot}/quota")
    asked = {
        "bytes_per_day": None if gigabytes is None else int(gigabytes * 1e9),
        "files_per_day": files,
        "open_uploads": open_uploads,
    }
    if any(value is not None for value in asked.values()):
        body = {key: found[key] if value is None else value for key, value in asked.items()}
        found = _ask(api, "PUT", f"/robots/{robot}/quota", body)
    if json:
        print_json(found)
        return
    out.print(f"{robot}: {found['bytes_used'] / 1e9:.3f} of {found['bytes_per_day'] / 1e9:g} GB in 24 h,")
    out.print(f"  {found['files_used']} of {found['files_per_day']} files, {found['open_used']} of")
    out.print(f"  {found['open_uploads']} uploads begun and not finished")


@app.command()
def audit(
    who: Annotated[str | None, typer.Option(help="Only of this actor, e.g. operator:anna.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    api: Api = None,
    json: Json = False,
) -> None:
    """Who did what, newest first."""
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        rows = remote.pages("/audit", limit, who=who, subject=subject)
    if json:
        print_json({"audit": rows})
        return
    cells = [[_time(r["at_ns"]), r["actor"], r["action"], r["subject"], r["outcome"], r["detail"]] for r in rows]
    out.print(table("", ["when", "who", "what", "about", "outcome", "detail"], cells))


def _show_key(row: dict[str, Any], json: bool) -> None:
    if json:
        print_json(row)
    else:
        out.print(f"key {row['id']} of {row['robot']} ({row['mark']}): {row['state']}")


def _show_secret(answer: dict[str, Any], json: bool) -> None:
    row = answer["operator"]
    if json:
        print_json(answer)
        return
    out.print(f"{row['name']} ({row['role']}): {row['state']}")
    if answer["secret"]:
        out.print(f"  secret, shown this once: {answer['secret']}")


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
