"""Compiles a robot's specification into index tables over padded entities. The only place that reads channel kinds.

Slots of an entity are ordered: first `pairs` quantities that have a derivative channel, then their `pairs`
derivatives in the same order, then `others`. Categories and events are integers in slots of their own. Commands and
exogenous inputs share input slots. This module knows no data and no weights.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from simulator.mechanism import Mechanism
from simulator.relations import View
from storage.contracts.base import Contract
from storage.contracts.canonical import digest_of
from storage.contracts.channel import DISCRETE, Channel, Kind
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

MAX_TAPS = 16
MAX_KNOTS = 16


class Shape(Contract):
    """Padded sizes of a model, enough for every robot it was trained on. `knots` and `taps` count history rows."""

    pairs: int
    others: int
    inputs: int
    categories: int
    labels: int
    taps: int
    knots: int
    feature_names: tuple[str, ...] = ()
    tasks: bool = False
    """Whether logs hold rewards or ends of episodes, which a model then has a head for. Set by training."""
    notes: bool = False
    """Whether episodes hold operators' notes, which a model then has an encoder for. Set by training."""

    @property
    def slots(self) -> int:
        return 2 * self.pairs + self.others

    @classmethod
    def of(cls, specs: Iterable[RobotSpec], *, history_s: float, delay_s: float) -> "Shape":
        """The smallest shape that covers all `specs`."""
        tables = [_Slots(spec) for spec in specs]
        if not tables:
            raise InputError("a simulator needs at least one robot specification")
        names = {name for table in tables for entity in table.spec.entities for name in entity.features}
        return cls(
            pairs=max(table.most("pairs") for table in tables),
            others=max(table.most("others") for table in tables),
            inputs=max(1, *(table.most("inputs") for table in tables)),
            categories=max(table.most("categories") for table in tables),
            labels=max(table.labels for table in tables),
            taps=max(tap_count(table.spec, delay_s) for table in tables),
            knots=max(knot_count(table.spec, history_s) for table in tables),
            feature_names=tuple(sorted(names)),
        )

    def covers(self, other: "Shape") -> bool:
        """May a model of this shape run robots that need `other`? The names of features must be equal."""
        sizes = ("pairs", "others", "inputs", "categories", "labels", "taps", "knots")
        if (other.tasks and not self.tasks) or (other.notes and not self.notes):
            return False
        return set(other.feature_names) <= set(self.feature_names) and all(
            getattr(self, name) >= getattr(other, name) for name in sizes
        )


def tap_count(spec: RobotSpec, delay_s: float) -> int:
    """Commands under way that a step sees: the current one and those of the last `delay_s` seconds."""
    return min(MAX_TAPS, int(np.ceil(delay_s * spec.control_rate_hz - 1e-9)) + 1)


def knot_count(spec: RobotSpec, history_s: float) -> int:
    return max(1, min(MAX_KNOTS, round(history_s * spec.control_rate_hz)))


class _Slots:
    """Lists per entity which columns stand in which slot."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.rows: list[dict[str, list[tuple[Channel, int, int]]]] = [
            {"pairs": [], "derivatives": [], "others": [], "categories": [], "inputs": []} for _ in spec.entities
        ]
        self.added: list[tuple[int, int]] = []
        """Input columns that act in addition to another one: (column, the other column)."""
        index = {entity.name: i for i, entity in enumerate(spec.entities)}
        state = spec.state_layout
        derivative = {c.derivative_of: c for c in state.channels if c.derivative_of in state and c.kind not in DISCRETE}
        integrated = {name for name, c in derivative.items() if self._may_pair(c, derivative)}
        for channel in state.channels:
            row = self.rows[index[channel.entity]]
            if channel.kind in DISCRETE:
                row["categories"] += self._columns(channel, state[channel.name].start)
            elif channel.name in integrated:
                row["pairs"] += self._columns(channel, state[channel.name].start)
                velocity = derivative[channel.name]
                row["derivatives"] += self._columns(velocity, state[velocity.name].start)
            elif channel.derivative_of not in integrated:
                row["others"] += self._columns(channel, state[channel.name].start)
        for layout, offset in ((spec.command_layout, 0), (spec.exogenous_layout, spec.command_layout.width)):
            for channel in layout.channels:
                start = layout[channel.name].start + offset
                if channel.adds_to is not None:
                    command = spec.command_layout[channel.adds_to].start
                    self.added += [(start + i, command + i) for i in range(channel.width)]
                    continue
                self.rows[index[channel.entity]]["inputs"] += self._columns(channel, start)

    @staticmethod
    def _may_pair(velocity: Channel, derivative: dict[str | None, Channel]) -> bool:
        """A derivative that is itself the parent of an acceleration is paired with its own parent only."""
        return velocity.derivative_of is not None and not any(
            other.name == velocity.derivative_of for other in derivative.values()
        )

    @staticmethod
    def _columns(channel: Channel, start: int) -> list[tuple[Channel, int, int]]:
        return [(channel, i, start + i) for i in range(channel.width)]

    def most(self, name: str) -> int:
        return max((len(row[name]) for row in self.rows), default=0)

    @property
    def labels(self) -> int:
        found = [max(2, len(c.labels)) for row in self.rows for c, _, _ in row["categories"]]
        return max(found, default=0)


class Structure:
    """Index tables of one spec in one shape. E entities, K slots, Q category slots, J input slots, S and C columns.

    Attributes (numpy): `columns` [S'] continuous state columns with `column_slot` [S'] flat positions in E*K;
    `category_columns`/`category_slot` likewise in E*Q; `input_slot` [C + X] flat positions in E*J, of which inputs
    that add up share one; `present`, `angle`,
    `unit_group` [E, K]; `label_count` [E, Q]; `adjacency` [3E, E] (mean of the others, parent, mean of the children).
    `view`: where logs hold other columns than `spec`, which is then the refined one (see `relations`).
    """

    def __init__(self, spec: RobotSpec, shape: Shape, view: View | None = None) -> None:
        self.spec, self.shape, self.view = spec, shape, view
        entities = len(spec.entities)
        self.present = np.zeros((entities, shape.slots), dtype=bool)
        self.angle = np.zeros_like(self.present)
        self.unit_group = np.full((entities, shape.slots), -1)
        self.channel_at: dict[tuple[int, int], tuple[Channel, int]] = {}
        self.input_at: dict[tuple[int, int], tuple[Channel, int]] = {}
        self.label_count = np.zeros((entities, shape.categories), dtype=np.int64)
        self.input_present = np.zeros((entities, shape.inputs), dtype=bool)
        state: list[tuple[int, int]] = []
        categories: list[tuple[int, int]] = []
        inputs: list[tuple[int, int]] = []
        slots = _Slots(spec)
        for e, row in enumerate(slots.rows):
            for name, first in (("pairs", 0), ("derivatives", shape.pairs), ("others", 2 * shape.pairs)):
                for k, (channel, i, column) in enumerate(row[name]):
                    self._place(e, first + k, channel, i)
                    state.append((column, e * shape.slots + first + k))
            for k, (channel, _, column) in enumerate(row["categories"]):
                self.label_count[e, k] = max(2, len(channel.labels))
                categories.append((column, e * shape.categories + k))
            for k, (channel, i, column) in enumerate(row["inputs"]):
                self.input_at[e, k] = (channel, i)
                self.input_present[e, k] = True
                inputs.append((column, e * shape.inputs + k))
        place_of = dict(inputs)
        inputs += [(column, place_of[other]) for column, other in slots.added]
        self.columns, self.column_slot = _table(state)
        self.category_columns, self.category_slot = _table(categories)
        _, self.input_slot = _table(inputs)
        self.adjacency = _adjacency(spec)
        self.lineage = _lineage(spec, self.angle[:, 0] if shape.slots else np.zeros(entities, dtype=bool))

    def _place(self, e: int, k: int, channel: Channel, i: int) -> None:
        self.present[e, k] = True
        self.angle[e, k] = channel.kind == Kind.ANGLE
        self.channel_at[e, k] = (channel, i)
        if channel.kind in (Kind.DIRECTION, Kind.ORIENTATION):
            self.unit_group[e, k] = next(j for j, c in enumerate(self.spec.channels) if c.name == channel.name)

    @cached_property
    def mechanism(self) -> Mechanism | None:
        """What moves together, None where nothing turns."""
        p = self.shape.pairs
        return Mechanism.of(self.spec, self.present[:, :p], self.angle[:, :p] & self.present[:, :p], self.lineage)

    @property
    def entities(self) -> int:
        return len(self.spec.entities)

    @cached_property
    def unit_matrix(self) -> np.ndarray | None:
        """[E, K, K]: x² @ matrix is the squared norm of the group a slot is in; None without unit vectors."""
        if (self.unit_group < 0).all():
            return None
        same = self.unit_group[:, :, None] == self.unit_group[:, None, :]
        matrix: np.ndarray = (same & (self.unit_group >= 0)[:, :, None]).astype(np.float32)
        return matrix

    @property
    def key(self) -> str:
        """Robots of equal key can stand in one batch: same channels, same tree; features may differ."""
        channels = [
            c.model_dump(mode="json", exclude={"limits", "latency_s", "resolution"}) for c in self.spec.channels
        ]
        tree = [[e.name, e.parent] for e in self.spec.entities]
        return digest_of([channels, tree, self.spec.control_rate_hz])


def _table(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = sorted(rows)
    array = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _lineage(spec: RobotSpec, turns: np.ndarray) -> np.ndarray:
    """[E, E]: 1 or -1 where the column is the row itself, or a joint that carries it and turns about a parallel axis.
    Joints whose axes nobody told turn themselves only."""
    index = {entity.name: i for i, entity in enumerate(spec.entities)}
    table = np.zeros((len(index), len(index)), dtype=np.float32)
    for i, entity in enumerate(spec.entities):
        if not turns[i]:
            continue
        table[i, i] = 1.0
        seen, parent = {entity.name}, entity.parent
        while parent is not None and parent not in seen and entity.axis is not None:
            seen.add(parent)
            carrier = spec.entities[index[parent]]
            if turns[index[parent]] and carrier.axis is not None:
                along = float(np.dot(entity.axis, carrier.axis))
                along /= float(np.linalg.norm(entity.axis) * np.linalg.norm(carrier.axis)) + 1e-12
                table[i, index[parent]] = np.sign(along) if abs(along) > 0.99 else 0.0
            parent = carrier.parent
    return table


def _adjacency(spec: RobotSpec) -> np.ndarray:
    index = {entity.name: i for i, entity in enumerate(spec.entities)}
    n = len(index)
    others = (1.0 - np.eye(n)) / max(1, n - 1)
    parent = np.zeros((n, n))
    for entity in spec.entities:
        if entity.parent is not None:
            parent[index[entity.name], index[entity.parent]] = 1.0
    children = parent.T / np.maximum(1.0, parent.T.sum(1, keepdims=True))
    return np.concatenate([others, parent, children]).astype(np.float32)
