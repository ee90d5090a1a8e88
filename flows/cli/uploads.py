"""`uploads list|status|resume|verify`: what became of files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json, progress_shown, table
from flows.cli.logs import Api, Json, print_results

app = typer.Typer(help="What became of the files that were sent.", no_args_is_help=True)
DIFFERS = 10


@app.command("list")
def list_uploads(
    robot: Annotated[str | None, typer.Option(help="Only of this robot.")] = None,
    state: Annotated[
        str | None,
        typer.Option(help="receiving, verifying, accepted, salvaged, quarantined or abandoned."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    api: Api = None,
    json: Json = False,
) -> None:
    """The history, newest first."""
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        rows = remote.pages("/uploads", limit, robot=robot, state=state, session=session)
    if json:
        print_json({"uploads": rows})
    else:
        show_lines(rows)


@app.command()
def status(
    what: Annotated[str, typer.Argument(help="A file here, an upload's number, or a SHA-256.")],
    api: Api = None,
    json: Json = False,
) -> None:
    """What became of my file, in one line.

    Example:  sim2real uploads status run1.mcap

    Exit codes: 0 taken in, 3 quarantined, 8 still on its way, 9 the server never saw it
    """
    from flows.fates import CODES, NEVER, fates_of, line_of
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        found = fates_of(remote, what)
    if json:
        print_json({"fates": found})
    else:
        for fate in found:
            out.print(line_of(fate), soft_wrap=True, markup=False)
        if not found:
            out.print(f"{what}: the server never saw it. Send it: sim2real upload {what} --robot SERIAL", markup=False)
    raise typer.Exit(max((CODES.get(f["line"]["state"], NEVER) for f in found), default=NEVER))


@app.command()
def resume(api: Api = None, json: Json = False) -> None:
    """Go on with every upload that was interrupted on this machine, from the parts that the server has."""
    from flows.remote import open_remote
    from flows.uploading import resume as go_on

    with progress_shown(), open_remote(api, note=console.print) as remote:
        results = go_on(remote)
    if not results and not json:
        console.print("nothing was interrupted here")
        return
    print_results(results, json)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A file here.", exists=True, dir_okay=False)],
    api: Api = None,
    json: Json = False,
) -> None:
    """Is my file, byte for byte, what the server keeps? Hashes it and asks for the digest that the server found.

    Exit codes: 0 the same, 9 the server has no such file, 10 the server has a file of that name with other bytes
    """
    from flows.fates import NEVER, check_file
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        found = check_file(remote, path)
    if json:
        print_json(found)
    else:
        out.print(_verdict(found), soft_wrap=True, markup=False)
    if not found["same"]:
        raise typer.Exit(DIFFERS if found["others"] else NEVER)


def _verdict(found: dict[str, Any]) -> str:
    digest = found["sha256"]
    if found["same"]:
        receipts = f"; {len(found['receipts'])} receipt(s) here say so too" if found["receipts"] else ""
        uploads = ", ".join(str(i) for i in found["uploads"])
        return f"the same: {digest} ({found['size']} bytes) is what the server verified as upload {uploads}{receipts}"
    if found["others"]:
        other = found["others"][0]
        return (
            f"another file: here {digest}, on the server upload {other['upload']} of that name is {other['sha256']}"
            f" ({other['size']} bytes)"
        )
    return f"the server has no file with digest {digest}"


def show_lines(rows: list[dict[str, Any]]) -> None:
    """A table of upload lines."""
    cells = [
        [
            r["id"],
            r["name"] or r["sha256"][:12],
            r["robot"],
            f"{r['size'] / 1e6:.2f}",
            r["state"],
            r["reason_code"] or "",
        ]
        for r in rows
    ]
    out.print(table("", ["upload", "file", "robot", "MB", "state", "reason"], cells, right=[0, 3]))
