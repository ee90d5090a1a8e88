"""Lineage: the graph of what was made from what. Its edges are foreign keys, so that it cannot point to nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from storage.catalog.repository import batches
from storage.catalog.tables import artefact_campaigns, artefact_names, artefacts, episodes, parents
from storage.contracts.errors import UnknownName


@dataclass(frozen=True)
class Node:
    """An artefact, or an episode (kind `episode`), with digests of its neighbours in the graph."""

    digest: str
    kind: str
    label: str
    parents: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """Ancestors and descendants of `root`, nearest first, each once.

    `root.parents` and the nodes' `parents` are the edges.
    """

    root: Node
    ancestors: tuple[Node, ...]
    descendants: tuple[Node, ...]


def link_parents(connection: Connection, child: str, digests: Sequence[str]) -> None:
    """Notes what `child` was made from. Raises UnknownName for a digest that is neither artefact nor episode."""
    ordered = list(dict.fromkeys(digests))
    known = _kinds(connection, ordered)
    rows = []
    for position, digest in enumerate(ordered):
        if digest not in known or digest == child:
            raise UnknownName("parent artefact or episode", digest, None, remedy="Add what it was made from first.")
        is_episode = known[digest] == "episode"
        rows.append(
            {
                "child": child,
                "position": position,
                "artefact": None if is_episode else digest,
                "episode": digest if is_episode else None,
            }
        )
    if rows:
        connection.execute(parents.insert(), rows)


def read_lineage(connection: Connection, digest: str, depth: int) -> Lineage:
    """The graph around `digest`, at most `depth` edges away. Raises UnknownName."""
    up = _walk(connection, digest, depth, _parents_of)
    down = _walk(connection, digest, depth, _children_of)
    nodes = _nodes(connection, [digest, *up, *down])
    if digest not in nodes:
        raise UnknownName("artefact or episode", digest, None)
    return Lineage(nodes[digest], tuple(nodes[d] for d in up), tuple(nodes[d] for d in down))


def _walk(connection: Connection, digest: str, depth: int, neighbours: Any) -> list[str]:
    seen, edge = {digest: None}, [digest]
    for _ in range(depth):
        found = {n for ns in neighbours(connection, edge).values() for n in ns}
        edge = sorted(found - seen.keys())
        seen |= dict.fromkeys(edge)
        if not edge:
            break
    return [d for d in seen if d != digest]


def _parents_of(connection: Connection, digests: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in batches(digests):
        query = select(parents).where(parents.c.child.in_(part)).order_by(parents.c.child, parents.c.position)
        for row in connection.execute(query):
            found.setdefault(row.child, []).append(row.artefact or row.episode)
    for part in batches(digests):
        made_by = select(episodes.c.sha256, episodes.c.policy_artefact).where(
            episodes.c.sha256.in_(part), episodes.c.policy_artefact.is_not(None)
        )
        for row in connection.execute(made_by):
            found.setdefault(row.sha256, []).append(row.policy_artefact)
    return found


def _children_of(connection: Connection, digests: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in batches(digests):
        for column in (parents.c.artefact, parents.c.episode):
            for child, parent in connection.execute(select(parents.c.child, column).where(column.in_(part))):
                found.setdefault(parent, []).append(child)
        ran = select(episodes.c.sha256, episodes.c.policy_artefact).where(episodes.c.policy_artefact.in_(part))
        for row in connection.execute(ran):
            found.setdefault(row.policy_artefact, []).append(row.sha256)
    return found


def _kinds(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in batches(digests):
        found |= {
            d: "episode"
            for d in connection.execute(select(episodes.c.sha256).where(episodes.c.sha256.in_(part))).scalars()
        }
        made = connection.execute(select(artefacts.c.digest, artefacts.c.kind).where(artefacts.c.digest.in_(part)))
        found |= {row.digest: row.kind for row in made}
    return found


def _nodes(connection: Connection, digests: Sequence[str]) -> dict[str, Node]:
    kinds = _kinds(connection, digests)
    labels: dict[str, str] = {}
    campaigns: dict[str, set[str]] = {}
    for part in batches(digests):
        named = (
            select(artefact_names).where(artefact_names.c.digest.in_(part)).order_by(artefact_names.c.named_ns.desc())
        )
        labels |= {row.digest: f"{row.name}@{row.number}" for row in connection.execute(named)}
        ran = connection.execute(select(episodes.c.sha256, episodes.c.robot).where(episodes.c.sha256.in_(part)))
        labels |= {row.sha256: row.robot for row in ran}
        links = select(artefact_campaigns.c.digest, artefact_campaigns.c.campaign)
        for row in connection.execute(links.where(artefact_campaigns.c.digest.in_(part))):
            campaigns.setdefault(row.digest, set()).add(row.campaign)
    above = _parents_of(connection, digests)
    return {
        d: Node(d, kind, labels.get(d, d[:12]), tuple(above.get(d, ())), tuple(sorted(campaigns.get(d, ()))))
        for d, kind in kinds.items()
    }
