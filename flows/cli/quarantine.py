"""`quarantine list|explain|release`: files that were kept and not taken in."""

from typing import Annotated, Any

import typer

from flows.cli.console import console, out, print_json
from flows.cli.logs import Api, Json
from flows.cli.uploads import show_lines

app = typer.Typer(help="Files that were kept but not taken in, and why.", no_args_is_help=True)
Upload = Annotated[int, typer.Argument(help="The upload's number, from 'sim2real quarantine list'.", min=1)]


@app.command("list")
def list_quarantined(
    robot: Annotated[str | None, typer.Option(help="Only of this robot.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    api: Api = None,
    json: Json = False,
) -> None:
    """Files in quarantine, newest first."""
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        rows = remote.pages("/uploads", limit, robot=robot, state="quarantined")
    if json:
        print_json({"uploads": rows})
    else:
        show_lines(rows)


@app.command()
def explain(upload: Upload, api: Api = None, json: Json = False) -> None:
    """Why a file is in quarantine, in plain words, and what to do about it."""
    from flows.remote import open_remote

    with open_remote(api, note=console.print) as remote:
        fate = remote.get(f"/uploads/{upload}/fate")
    if json:
        print_json(fate)
        return
    for name, text in _explained(fate):
        out.print(f"{name:>12}: {text}", soft_wrap=True, markup=False)


@app.command()
def release(
    upload: Upload,
    note: Annotated[str, typer.Option(help="Why you overrule it; it stands in the audit trail.")],
    mapping: Annotated[str | None, typer.Option("--map", help="Take it in with this mapping (YAML file).")] = None,
    api: Api = None,
    json: Json = False,
) -> None:
    """Take a file in although it was quarantined, or with another mapping.

    Example:  sim2real quarantine release 17 --note "cut off on purpose, the start is good"

    Exit codes: 0 taken in, 3 quarantined again, 5 nobody may release it
    """
    from pathlib import Path

    from fleet_ingest.robot.client import Refused
    from flows.fates import CODES, line_of
    from flows.remote import open_remote
    from storage.contracts.errors import ConflictError

    with open_remote(api, note=console.print) as remote:
        body: dict[str, Any] = {"note": note}
        if mapping is not None:
            from fleet_ingest.mapping_yaml import load_mapping

            serial = remote.get(f"/uploads/{upload}/fate")["line"]["robot"]
            kept = remote.send(
                "POST", f"/robots/{serial}/mappings", load_mapping(Path(mapping)).model_dump(mode="json")
            )
            body["mapping_sha256"] = kept["sha256"]
        try:
            remote.send("POST", f"/uploads/{upload}/release", body)
        except Refused as error:
            raise ConflictError(str(error), remedy=error.remedy) from error
        fate = remote.get(f"/uploads/{upload}/fate")
    if json:
        print_json(fate)
    else:
        out.print(line_of(fate), soft_wrap=True, markup=False)
    raise typer.Exit(CODES.get(fate["line"]["state"], 1))


def _explained(fate: dict[str, Any]) -> list[tuple[str, str]]:
    line, card = fate["line"], fate["card"] or {}
    found = [
        ("file", f"{line['name'] or line['sha256'][:12]} of {line['robot']}, {line['size']} bytes"),
        ("state", line["state"] + (f" ({line['reason_code']})" if line["reason_code"] else "")),
        ("why", line["words"]),
        ("in detail", fate["detail"] or "-"),
        ("what to do", fate["remedy"] or "-"),
        ("release", "you may overrule it: sim2real quarantine release" if fate["releasable"] else "not possible"),
    ]
    if card:
        topics = ", ".join(f"{t['name'] or 'table'} ({t['decoded']})" for t in card.get("topics", [])[:8])
        found.append(("holds", f"{card.get('duration_s', 0):.1f} s; {topics or 'nothing readable'}"))
    return found
