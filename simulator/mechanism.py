"""Which joints of a robot move together: its degrees of freedom, and the orientations that its parts can take.

The position of every point of an open chain of joints is a sum of sines and cosines of whole-number combinations of its
angles, and of its linear positions. A `Mechanism` lists those combinations from the specification's tree; what each
body makes of them is learned (`kinetics`). This module knows no data and no weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from storage.contracts.robot import RobotSpec

MOST_FREE, MOST_TERMS = 12, 24
"""Degrees of freedom, and combinations, that are treated together; robots with more keep the free network alone."""

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Mechanism:
    """n degrees of freedom, T terms (angle combinations, then linear positions), E entities, P pair slots.

    Attributes:
        places: [n] flat positions of the degrees of freedom in (E, P).
        combination: float32 [T, n], whole numbers: the angle of a term, or which linear position it is.
        turns: bool [T], sine and cosine of the combination act; else it acts as it is.
        carried: float32 [E, T], 1 where every joint of the term is the entity's own or carries it.
        relation: float32 [E, T, F], how an entity stands to a term.
        members: float32 [T, E], share of each entity in a term.
    """

    places: np.ndarray
    combination: np.ndarray
    turns: np.ndarray
    carried: np.ndarray
    relation: np.ndarray
    members: np.ndarray

    @classmethod
    def of(cls, spec: RobotSpec, present: np.ndarray, angle: np.ndarray, lineage: np.ndarray) -> "Mechanism | None":
        """`present`, `angle` bool [E, P] of the slots that have a derivative; `lineage` [E, E] of parallel joints. None
        where nothing turns, or too much does."""
        above = ancestors(spec)
        free: list[Place] = [(e, k) for e, k in np.argwhere(present).tolist() if _turns_near(e, above, angle)]
        if not free or len(free) > MOST_FREE:
            return None
        index = {place: i for i, place in enumerate(free)}
        angular = [place for place in free if angle[place]]
        rows = list(_orientations(spec, angular, above, lineage))
        pairs = list(_products(spec, angular, above, lineage))
        rows += pairs if len(rows) + len(pairs) + len(free) - len(angular) <= MOST_TERMS else []
        turning = len(rows)
        rows += [{place: 1} for place in free if not angle[place]]
        if len(rows) > MOST_TERMS:
            return None
        combination = np.zeros((len(rows), len(free)), dtype=np.float32)
        for t, row in enumerate(rows):
            for place, factor in row.items():
                combination[t, index[place]] = factor
        entities, slots = present.shape
        carried = np.zeros((entities, len(rows)), dtype=np.float32)
        members = np.zeros((len(rows), entities), dtype=np.float32)
        relation = np.zeros((entities, len(rows), relation_width(slots)), dtype=np.float32)
        for t, row in enumerate(rows):
            for (e, _), factor in row.items():
                members[t, e] += abs(factor) / sum(map(abs, row.values()))
            for e in range(entities):
                carried[e, t] = all(place[0] == e or place[0] in above[e] for place in row)
                relation[e, t] = _relation(e, row, t < turning, slots)
        return cls(
            np.array([e * slots + k for e, k in free], dtype=np.int64),
            combination,
            np.arange(len(rows)) < turning,
            carried,
            relation,
            members,
        )


def relation_width(slots: int) -> int:
    return 4 + 2 * slots


def ancestors(spec: RobotSpec) -> list[set[int]]:
    """Of each entity, those that carry it."""
    index = {entity.name: i for i, entity in enumerate(spec.entities)}
    found: list[set[int]] = []
    for entity in spec.entities:
        above: set[int] = set()
        parent = entity.parent
        while parent is not None and index[parent] not in above:
            above.add(index[parent])
            parent = spec.entities[index[parent]].parent
        found.append(above)
    return found


def _turns_near(e: int, above: Sequence[set[int]], angle: np.ndarray) -> bool:
    """Whether the entity turns, is carried by one that does, or carries one."""
    return any(angle[i].any() for i in range(len(above)) if i == e or i in above[e] or e in above[i])


def _orientations(
    spec: RobotSpec, angular: Sequence[Place], above: Sequence[set[int]], lineage: np.ndarray
) -> Iterator[dict[Place, int]]:
    """Each angle with those of the joints that carry it about parallel axes: how a link is turned in the world."""
    first = {e: k for e, k in reversed(angular)}
    for e, k in angular:
        row = {(e, k): 1}
        if k == first[e] == 0:
            row |= {(i, 0): int(lineage[e, i]) for i in above[e] if lineage[e, i] and (i, 0) in angular}
        yield row


def _products(
    spec: RobotSpec, angular: Sequence[Place], above: Sequence[set[int]], lineage: np.ndarray
) -> Iterator[dict[Place, int]]:
    """Sums and differences of two angles of one body whose axes are not known to be parallel: products of their sines
    and cosines are made of these."""
    for position, a in enumerate(angular):
        for b in angular[position + 1 :]:
            related = a[0] == b[0] or a[0] in above[b[0]] or b[0] in above[a[0]]
            parallel = bool(lineage[a[0], b[0]] or lineage[b[0], a[0]]) and a[1] == b[1] == 0 and a[0] != b[0]
            if related and not parallel:
                yield {a: 1, b: 1}
                yield {a: 1, b: -1}


def _relation(e: int, row: dict[Place, int], turns: bool, slots: int) -> np.ndarray:
    """Shares of the entity's own joints and of others in the term, their number, whether it turns; the factors of the
    entity's own slots and of others'."""
    own, others = np.zeros(slots), np.zeros(slots)
    for (i, k), factor in row.items():
        (own if i == e else others)[k] += factor
    mine = sum(i == e for i, _ in row)
    return np.array([mine, len(row) - mine, len(row) / 2, turns, *own, *others], dtype=np.float32)
