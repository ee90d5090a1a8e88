"""A mapping: what the columns of somebody's logs mean, written in YAML, so that no robot needs code.

    name: slider                          # name of the robot's specification
    files: "**/*.csv"                     # which files of a tree
    path: "{unit}/{run}.csv"              # names parts of the path, matched from its end
    robot: "slider-{unit}"                # serial name: several robots of one tree share one specification
    time: {column: t, unit: ms}
    rate_hz: 100                          # episodes are resampled to this rate
    channels:
      - {column: x_mm, name: cart.position, kind: linear, unit: mm, entity: cart}
      - {column: v_mm_s, name: cart.velocity, kind: linear, unit: mm/s, entity: cart, derivative_of: cart.position}
      - {column: F, name: cart.force, kind: effort, role: command, unit: N, entity: cart, limits: [-10, 10]}

`mapping.schema.json` beside this file describes every field. `load_mapping` reads the file; `fleet_ingest.convert`
applies it. This module reads no logs.
"""

from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from fleet_ingest.formats.csv_dialect import CsvOptions
from fleet_ingest.path_pattern import PathPattern, placeholders
from storage.contracts.base import Contract
from storage.contracts.channel import DISCRETE, MEDIA, Channel, Kind, Role
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.robot import Entity, RobotSpec
from storage.contracts.units import ALIASES, UNITS, si_unit, unit

_DIMENSIONS: dict[Kind, tuple[str, ...]] = {
    Kind.ANGLE: ("angle",), Kind.DIRECTION: ("dimensionless",), Kind.ORIENTATION: ("dimensionless",),
    Kind.CATEGORY: ("dimensionless",), Kind.EVENT: ("dimensionless",),
}  # fmt: skip
_RATE_OF = {
    "angle": "angular velocity",
    "length": "velocity",
    "velocity": "acceleration",
    "angular velocity": "angular acceleration",
}
Resample = Literal["auto", "linear", "hold", "mean"]


class TimeMap(Contract):
    """Where time is.

    Either a column (a path below the topic for MCAP; there the default is the log time) or a fixed rate.
    """

    column: str | None = Field(default=None, description="name of the time column")
    unit: Literal["s", "ms", "us", "ns", "min", "iso8601", "auto"] = Field(
        default="auto", description="unit of the time column; auto: told from its type, values and name"
    )
    rate_hz: float | None = Field(default=None, gt=0, description="for files without time: rows are this far apart")
    format: str | None = Field(default=None, description="strptime format of text, e.g. '%d/%m/%Y %H:%M:%S.%f'; UTC")
    nanoseconds_column: str | None = Field(
        default=None, description="a second column with the nanoseconds within the second"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TimeMap":
        if self.column is not None and self.rate_hz is not None:
            raise ContractError("time: give 'column' or 'rate_hz' (for files without a time column), not both")
        return self


class ChannelMap(Contract):
    """One channel and the column it comes from: `si = to_si(sign * scale * value + offset)`, with `unit` as the
    source unit.
    """

    column: str | tuple[str, ...] = Field(description="column name; `name[2]` is one of a list; several make a vector")
    name: str = Field(description="name of the channel, e.g. pole.angle")
    kind: Kind
    role: Role = Role.STATE
    unit: str = Field(default="1", description="unit of the values in the file; kept in SI")
    sign: Literal[1, -1] = 1
    scale: float = 1.0
    offset: float = Field(default=0.0, description="in `unit`, added after sign and scale")
    optional: bool = Field(
        default=False, description="a file without the column is read, the channel marked as not measured"
    )
    default: float | None = Field(default=None, description="SI value that stands where the column is missing")
    requested_column: str | None = Field(
        default=None, description="commands: the column of what was asked for before clamping"
    )
    resample: Resample = Field(default="auto", description="auto: measured signals linear, commands and events held")
    size: int | None = Field(default=None, ge=1, le=4096)
    entity: str = "robot"
    derivative_of: str | None = None
    adds_to: str | None = Field(
        default=None, description="exogenous channels: the command that acts together with it, e.g. an injected torque"
    )
    frame: str | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    latency_s: float = Field(default=0.0, ge=0)
    resolution: float | None = Field(default=None, gt=0)
    limits: tuple[float, float] | None = Field(default=None, description="in `unit`, inclusive")
    labels: tuple[str, ...] = Field(default=(), description="categories: the texts in the column, in order")

    @field_validator("kind", mode="before")
    @classmethod
    def _known_kind(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in set(Kind):
            raise ContractError(str(UnknownName("channel kind", value, Kind)))
        return value

    @field_validator("role", mode="before")
    @classmethod
    def _known_role(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in set(Role):
            raise ContractError(str(UnknownName("channel role", value, Role)))
        return value

    @field_validator("unit", "column", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ContractError(f"YAML reads this word as {str(value).lower()}; put it in quotes")
        return str(value) if isinstance(value, int | float) else value

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: str) -> str:
        if value not in UNITS and value.strip().lower() not in ALIASES:
            raise ContractError(str(UnknownName("unit", value, UNITS)))
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "ChannelMap":
        if self.kind in MEDIA:
            raise ContractError(f"channel '{self.name}': {self.kind} channels are not read from tables")
        allowed = _DIMENSIONS.get(self.kind)
        dimension = unit(self.unit).dimension
        if allowed is not None and dimension not in allowed:
            units = ", ".join(name for name, u in UNITS.items() if u.dimension in allowed)
            hint = " An angular velocity is 'kind: linear' with 'derivative_of'." if self.kind == Kind.ANGLE else ""
            raise ContractError(
                f"channel '{self.name}': kind {self.kind} cannot be in '{self.unit}' ({dimension}); "
                f"units: {units}.{hint}"
            )
        if self.scale == 0:
            raise ContractError(f"channel '{self.name}': scale is 0, so every value would be the same")
        self.channel  # noqa: B018 - checks limits, labels and sizes now rather than when the first log comes
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if isinstance(self.column, str) else self.column

    @cached_property
    def to_si(self) -> tuple[float, float]:
        """(factor, offset) from a value in the file to SI."""
        source = unit(self.unit)
        return self.sign * self.scale * source.scale, self.offset * source.scale + source.offset

    @cached_property
    def channel(self) -> Channel:
        """The channel in SI units."""
        source = unit(self.unit)
        limits = None
        if self.limits is not None:
            low, high = (float(np.float64(v) * source.scale + source.offset) for v in self.limits)
            limits = (low, high)
        size = self.size if self.size is not None else max(len(self.columns), 4 if self.kind == Kind.ORIENTATION else 1)
        return Channel(
            name=self.name, kind=self.kind, role=self.role, unit=si_unit(self.unit), size=size, entity=self.entity,
            derivative_of=self.derivative_of, adds_to=self.adds_to, frame=self.frame, rate_hz=self.rate_hz,
            latency_s=self.latency_s, limits=limits, labels=self.labels,
            resolution=None if self.resolution is None else self.resolution * source.scale,
        )  # fmt: skip


class FileRule(Contract):
    """What holds for some files only: tags and a note, e.g. that a column holds something else in the logs of one
    day.
    """

    files: str = Field(description="glob over the path within the tree, e.g. '**/20220812_*'")
    tags: dict[str, str] = Field(default={})
    note: str = ""
    without: tuple[str, ...] = Field(
        default=(), description="channels whose column is not to be trusted in these files"
    )


class Mapping(Contract):
    """What a family of logs means. See the module's docstring for an example."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,79}$", description="name of the robot's specification")
    version: int = Field(default=1, ge=1)
    files: str = Field(default="**/*", description="glob of the logs within a tree")
    format: Literal["csv", "hdf5", "lerobot", "mcap", "parquet", "rosbag1", "rosbag2", "ulog"] | None = Field(
        default=None, description="found from the file if left out"
    )
    csv: CsvOptions = CsvOptions()
    path: str | None = Field(
        default=None, description="pattern of the path's end with {parts}, e.g. '{build}/{task}/{run}.csv'"
    )
    robot: str | None = Field(default=None, description="serial name; may use {parts} of the path; left out: `name`")
    robot_column: str | None = Field(default=None, description="column that tells several robots in one table apart")
    episode_column: str | None = Field(default=None, description="column whose value changes where a new run begins")
    time: TimeMap = TimeMap()
    rate_hz: float | None = Field(
        default=None, gt=0, le=20_000, description="rate of the episodes; left out: the log's own"
    )
    nominal_rate_hz: float | None = Field(default=None, gt=0, description="rate the logger was meant to have; checked")
    gap_s: float | None = Field(
        default=None, gt=0, description="a longer pause splits; left out: 10 periods, at least 0.1 s"
    )
    min_duration_s: float = Field(default=0.2, ge=0, description="shorter pieces are left out and counted")
    salvage: bool = Field(
        default=True, description="use the readable part of a file that is cut off or damaged; false: quarantine it"
    )
    channels: tuple[ChannelMap, ...] = Field(min_length=1)
    entities: tuple[Entity, ...] = ()
    tags: dict[str, str] = Field(default={}, description="facts about each episode; may use {parts} of the path")
    rules: tuple[FileRule, ...] = ()
    notes: str = ""
    source: str = Field(
        default="", description="where the logs are from; the robot's data sheet; kept in the specification"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Mapping":
        known = set(placeholders(self.path)) if self.path else set()
        for where, text in (("robot", self.robot or ""), *((f"tags.{k}", v) for k, v in self.tags.items())):
            for used in placeholders(text):
                if used not in known:
                    raise ContractError(
                        f"{where}: {UnknownName('part of the path', used, known, remedy='')} Name it in 'path'."
                    )
        if self.robot is not None and self.robot_column is not None:
            raise ContractError(
                "give 'robot' (for whole files) or 'robot_column' (several robots in one table), not both"
            )
        names = {c.name for c in self.channels}
        for rule in self.rules:
            for name in rule.without:
                if name not in names:
                    raise ContractError(f"rules: {UnknownName('channel', name, names)}")
        self._check_derivatives()
        self.spec_at(self.rate_hz or 1.0)
        return self

    def _check_derivatives(self) -> None:
        by_name = {c.name: c for c in self.channels}
        for channel in self.channels:
            parent = by_name.get(channel.derivative_of or "")
            if parent is None:
                continue
            given, of = unit(channel.unit).dimension, unit(parent.unit).dimension
            if of in _RATE_OF and given != _RATE_OF[of]:
                units = ", ".join(name for name, u in UNITS.items() if u.dimension == _RATE_OF[of])
                raise ContractError(
                    f"channel '{channel.name}' in '{channel.unit}' ({given}) cannot be the derivative of "
                    f"'{parent.name}' in '{parent.unit}' ({of}); units: {units}"
                )

    def spec_at(self, rate_hz: float) -> RobotSpec:
        """The robot's specification at a control rate in Hz."""
        return RobotSpec(
            name=self.name, version=self.version, control_rate_hz=rate_hz,
            channels=tuple(c.channel for c in self.channels), entities=self.entities, source_text=self.source,
        )  # fmt: skip

    def at_rate(self, rate_hz: float) -> "Mapping":
        """This mapping with its rate fixed."""
        return self._with(rate_hz=rate_hz)

    def with_notes(self, notes: str) -> "Mapping":
        """This mapping with an operator's words added to its notes."""
        return self._with(notes=f"{self.notes}\n{notes}".strip()) if notes.strip() else self

    def _with(self, **fields: Any) -> "Mapping":
        """A changed copy. `model_copy` would carry the cached digest over."""
        return Mapping.model_validate({**{name: getattr(self, name) for name in Mapping.model_fields}, **fields})

    @property
    def wanted_columns(self) -> tuple[str, ...]:
        """Every column that is read, without indices."""
        names = [name for channel in self.channels for name in channel.columns]
        names += [c.requested_column for c in self.channels if c.requested_column]
        extra = (self.time.column, self.time.nanoseconds_column, self.robot_column, self.episode_column)
        return tuple(dict.fromkeys([*names, *(name for name in extra if name)]))

    def facts_of(
        self, path: str, *, robot: str | None = None
    ) -> tuple[str, dict[str, str], tuple[str, ...], frozenset[str]]:
        """(serial name, tags, notes, channels not to be trusted) of the log at `path`.

        `robot` is the serial name where it is known. Raises ContractError when the path does not fit the pattern and
        the serial name needs it.
        """
        path = path.encode("utf-8", "replace").decode()  # names that are not UTF-8 come with lone surrogates
        parts = PathPattern(self.path).match(path) if self.path else {}
        needed = placeholders(self.robot or "")
        if parts is None and needed and robot is None:
            raise ContractError(
                f"the path '{path}' does not fit the mapping's pattern '{self.path}', which names the robot"
            )
        parts = parts or {}
        tags = {key: text.format_map(parts) for key, text in self.tags.items() if set(placeholders(text)) <= set(parts)}
        notes, distrusted = [self.notes] if self.notes else [], set[str]()
        for rule in self.rules:
            if PathPattern(rule.files).match(path) is not None:
                tags |= rule.tags
                notes += [rule.note] if rule.note else []
                distrusted |= set(rule.without)
        serial = robot if robot is not None else (self.robot or self.name).format_map(parts)
        return serial, tags, tuple(notes), frozenset(distrusted)

    @property
    def discrete(self) -> frozenset[str]:
        return frozenset(c.name for c in self.channels if c.kind in DISCRETE)
