"""`fleet` and `lineage`: what the catalog knows. They start nothing."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.cli.console import out, print_json, table

Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]


def add_to(app: typer.Typer) -> None:
    app.command()(fleet)
    app.command()(lineage)


def fleet(
    robot: Annotated[str | None, typer.Option(help="Only robots whose specification has this name.")] = None,
    json: Json = False,
) -> None:
    """The robots: their logs, seconds recorded, and what they are assigned."""
    from flows.status import open_catalog, read_fleet

    with open_catalog() as catalog:
        rows = read_fleet(catalog, robot)
    if json:
        print_json({"robots": rows})
        return
    columns = ["robot", "specification", "kind", "logs", "seconds", "quarantined", "assignment"]
    cells = [
        [
            row["serial"],
            row["spec"],
            row["kind"],
            row["logs"],
            f"{row['seconds']:.1f}",
            row["quarantined"],
            row["assignment"],
        ]
        for row in rows
    ]
    out.print(
        table("", columns, cells, right=[3, 4, 5])
        if rows
        else "no robots yet; 'sim2real import' or 'sim2real demo' brings some"
    )


def lineage(
    artefact: Annotated[str, typer.Argument(help="Digest, at least 8 digits of one, or name@number (or name@latest).")],
    kind: Annotated[
        str | None, typer.Option(help="simulator, policy, dataset ..., where a name stands for several.")
    ] = None,
    json: Json = False,
) -> None:
    """What an artefact was made from, and what was made from it."""
    from flows.status import open_catalog

    with open_catalog() as catalog:
        found = catalog.artefacts.lineage(
            catalog.artefacts.resolve(artefact, kind or _only_kind(catalog, artefact)).digest
        )
    if json:
        print_json(asdict(found))
        return
    from rich.tree import Tree

    root = Tree(_label(found.root))
    for title, nodes in (("made from", found.ancestors), ("used for", found.descendants)):
        branch = root.add(f"[bold]{title}") if nodes else root
        episodes = [node for node in nodes if node.kind == "episode"]
        for node in nodes:
            if node.kind != "episode":
                branch.add(_label(node))
        if episodes:
            branch.add(f"{len(episodes)} episodes")
    out.print(root)


def _label(node: Any) -> str:
    return f"{node.kind} {node.label} [dim]{node.digest[:12]}"


def _only_kind(catalog: Any, reference: str) -> str | None:
    """A simulator or policy is meant where a name also stands for its dataset and scorecards."""
    name = reference.rpartition("@")[0]
    return next((kind for kind in ("simulator", "policy") if name and catalog.artefacts.list(kind, name=name)), None)
