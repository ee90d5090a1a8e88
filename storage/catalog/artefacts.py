"""Artefacts: everything that was made, by digest, with `name@number` for people and parents for lineage."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from storage.catalog.campaigns import require_campaign
from storage.catalog.lineage import Lineage, link_parents, read_lineage
from storage.catalog.repository import Repository, now_ns
from storage.catalog.tables import artefact_campaigns, artefact_names, artefacts
from storage.contracts.errors import ConflictError, ContractError, InputError, UnknownName

KINDS = ("simulator", "policy", "dataset", "scenario", "scorecard", "evaluation", "report", "mapping", "task")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,119}")
_MIN_PREFIX = 8


@dataclass(frozen=True)
class ArtefactRow:
    """`manifest` are the manifest's bytes; `name` and `number` are the first ones it was given, if any."""

    digest: str
    kind: str
    manifest: bytes
    created_ns: int
    name: str | None = None
    number: int | None = None

    @property
    def reference(self) -> str:
        """`name@number`, or the digest of an artefact without a name."""
        return self.digest if self.name is None else f"{self.name}@{self.number}"


class Artefacts(Repository):
    """The artefacts and their names."""

    def add(
        self,
        kind: str,
        digest: str,
        manifest: bytes,
        name: str | None = None,
        parents: Sequence[str] = (),
        campaign: str | None = None,
        iteration: int | None = None,
    ) -> ArtefactRow:
        """Notes an artefact whose bytes are stored already. A digest has one number per name; again returns it.

        `parents` are digests of artefacts or episodes. Raises UnknownName for an unknown kind or parent,
        ConflictError if the digest is there as another kind.
        """
        if kind not in KINDS:
            raise UnknownName("kind of artefact", kind, KINDS)
        if name is not None and not _NAME.fullmatch(name):
            raise ContractError(
                f"'{name[:200]}' cannot be an artefact's name: letters, digits, _ . : / - (at most 120)"
            )

        def action(connection: Connection) -> ArtefactRow:
            require_campaign(connection, campaign)
            values = {"digest": digest, "kind": kind, "manifest": manifest, "created_ns": now_ns()}
            if self._db.insert_if_absent(connection, artefacts, values):
                link_parents(connection, digest, parents)
            found = _get(connection, digest)
            if found.kind != kind:
                raise ConflictError(f"{digest} is a {found.kind} already and cannot be a {kind}")
            if campaign is not None:
                link = {"digest": digest, "campaign": campaign, "iteration": iteration}
                self._db.insert_if_absent(connection, artefact_campaigns, link)
            if name is None:
                return found
            self._name(connection, kind, name, digest)
            return _one(connection, _named().where(_is_named(kind, name), artefact_names.c.digest == digest), name)

        return self._db.write(action)

    def get(self, digest: str) -> ArtefactRow:
        """Raises UnknownName."""
        return self._db.read(lambda connection: _get(connection, digest))

    def resolve(self, reference: str, kind: str | None = None) -> ArtefactRow:
        """The artefact called `name@3`, `name@latest`, a digest, or its first 8 or more digits.

        Raises UnknownName with the names there are, InputError when the reference fits several.
        """
        name, at, number = reference.rpartition("@")
        if at:
            return self._db.read(lambda connection: _resolve_name(connection, name, number, kind))
        return self._db.read(lambda connection: _resolve_prefix(connection, reference, kind))

    def list(self, kind: str, name: str | None = None) -> list[ArtefactRow]:
        """Artefacts of a kind, oldest first; with a name, its versions in order."""
        if kind not in KINDS:
            raise UnknownName("kind of artefact", kind, KINDS)
        query = _named().where(artefacts.c.kind == kind)
        if name is not None:
            query = query.where(artefact_names.c.name == name).order_by(artefact_names.c.number)
        query = query.order_by(artefacts.c.created_ns, artefact_names.c.name, artefacts.c.digest)
        return self._db.read(lambda connection: [ArtefactRow(**row._mapping) for row in connection.execute(query)])

    def lineage(self, digest: str, depth: int = 20) -> Lineage:
        """What an artefact or episode was made from, and what was made from it. Raises UnknownName."""
        return self._db.read(lambda connection: read_lineage(connection, digest, depth))

    def _name(self, connection: Connection, kind: str, name: str, digest: str) -> None:
        """Gives the digest the next number of the name; if another writer takes that first, the one after it."""
        names = artefact_names.c
        mine = select(names.number).where(_is_named(kind, name), names.digest == digest)
        while connection.execute(mine).first() is None:
            last = connection.execute(select(func.max(names.number)).where(_is_named(kind, name))).scalar() or 0
            values = {"kind": kind, "name": name, "number": last + 1, "digest": digest, "named_ns": now_ns()}
            self._db.insert_if_absent(connection, artefact_names, values)


def _is_named(kind: str, name: str) -> Any:
    return (artefact_names.c.kind == kind) & (artefact_names.c.name == name)


def _named() -> Select[Any]:
    return select(artefacts, artefact_names.c.name, artefact_names.c.number).outerjoin(
        artefact_names, artefact_names.c.digest == artefacts.c.digest
    )


def _one(connection: Connection, query: Select[Any], reference: str) -> ArtefactRow:
    row = connection.execute(query.order_by(artefact_names.c.named_ns, artefact_names.c.name).limit(1)).first()
    if row is None:
        raise UnknownName("artefact", reference, None)
    return ArtefactRow(**row._mapping)


def _get(connection: Connection, digest: str) -> ArtefactRow:
    return _one(connection, _named().where(artefacts.c.digest == digest), digest)


def _resolve_name(connection: Connection, name: str, number: str, kind: str | None) -> ArtefactRow:
    names = artefact_names.c
    query = _named().where(names.name == name)
    if kind is not None:
        query = query.where(names.kind == kind)
    rows = [ArtefactRow(**row._mapping) for row in connection.execute(query.order_by(names.number))]
    if not rows:
        known = select(names.name).distinct()
        known = known if kind is None else known.where(names.kind == kind)
        raise UnknownName(f"{kind or 'artefact'}", name, connection.execute(known).scalars())
    kinds = sorted({row.kind for row in rows})
    if len(kinds) > 1:
        raise InputError(f"'{name}' is the name of a {' and of a '.join(kinds)}; say which kind is meant")
    if number == "latest":
        return rows[-1]
    found = [row for row in rows if str(row.number) == number]
    if not found:
        raise UnknownName(f"version of '{name}'", number, [*(str(row.number) for row in rows), "latest"])
    return found[0]


def _resolve_prefix(connection: Connection, prefix: str, kind: str | None) -> ArtefactRow:
    if len(prefix) < _MIN_PREFIX or set(prefix) - set("0123456789abcdef"):
        raise InputError(
            f"'{prefix}' is neither name@number nor a digest; give e.g. fleet@3, fleet@latest or the first "
            f"{_MIN_PREFIX} or more digits of a digest"
        )
    query = select(artefacts.c.digest).where(artefacts.c.digest >= prefix, artefacts.c.digest < prefix + "g").limit(2)
    if kind is not None:
        query = query.where(artefacts.c.kind == kind)
    found = connection.execute(query).scalars().all()
    if not found:
        raise UnknownName(kind or "artefact", prefix, None)
    if len(found) > 1:
        raise InputError(f"several artefacts begin with '{prefix}'; give more digits")
    return _get(connection, found[0])
