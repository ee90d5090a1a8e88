"""A channel: one named signal of one entity, with its kind, role and unit.

Channels that hold numbers occupy `width` columns of an array; media channels (image, depth, audio, pointset) occupy
none and are kept as references to objects. This module knows no robot and no file format.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.units import is_si, si_unit, unit


class Kind(StrEnum):
    """What a signal is, which fixes how it is differenced, integrated and compared."""

    LINEAR = "linear"  # a quantity on the real line: position, velocity, distance
    ANGLE = "angle"  # radians, wrapped to [-pi, pi) when compared
    DIRECTION = "direction"  # unit vector, e.g. a logged (cos, sin) pair
    ORIENTATION = "orientation"  # unit quaternion, wxyz
    EFFORT = "effort"  # force, torque, voltage, current: what drives
    SCALAR = "scalar"  # anything else with a number: temperature, battery, an unnamed observation
    CATEGORY = "category"  # integer index into `labels`
    EVENT = "event"  # 1 in the interval in which it happened, else 0
    IMAGE = "image"
    DEPTH = "depth"
    AUDIO = "audio"
    POINTSET = "pointset"


class Role(StrEnum):
    STATE = "state"
    COMMAND = "command"
    EXOGENOUS = "exogenous"  # known inputs that nobody on the robot commanded: injected disturbances, wind
    REWARD = "reward"
    TERMINATION = "termination"
    CONTEXT = "context"  # constant within an episode


MEDIA = frozenset({Kind.IMAGE, Kind.DEPTH, Kind.AUDIO, Kind.POINTSET})
DISCRETE = frozenset({Kind.CATEGORY, Kind.EVENT})


class Channel(Contract):
    """One signal.

    `unit` is SI; `rate_hz` is its own sampling rate (None: the log's); `limits` are inclusive, in `unit`.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=120)
    kind: Kind
    role: Role = Role.STATE
    unit: str = "1"
    size: int = Field(default=1, ge=1, le=4096)
    entity: str = "robot"
    derivative_of: str | None = None
    adds_to: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Of an exogenous channel: the command that it acts in addition to, such as a torque injected at the same motor."""
    frame: str | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    latency_s: float = Field(default=0.0, ge=0)
    resolution: float | None = Field(default=None, gt=0)
    limits: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()

    @field_validator("kind", mode="before")
    @classmethod
    def _known_kind(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in set(Kind):
            raise ContractError(str(UnknownName("channel kind", value, Kind)))
        return value

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: str) -> str:
        try:
            unit(value)
        except UnknownName as error:
            raise ContractError(str(error)) from error
        if not is_si(value):
            raise ContractError(f"unit '{value}' is not SI; channels are kept in '{si_unit(value)}' (mappings convert)")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Channel":
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ContractError(f"channel '{self.name}': limits {self.limits} must be (low, high) with low < high")
        if self.kind == Kind.CATEGORY and len(self.labels) < 2:
            raise ContractError(f"channel '{self.name}': a category needs at least two labels, given {self.labels}")
        if self.kind == Kind.ORIENTATION and self.size != 4:
            raise ContractError(
                f"channel '{self.name}': an orientation is a wxyz quaternion of size 4, given {self.size}"
            )
        if self.kind == Kind.DIRECTION and self.size < 2:
            raise ContractError(
                f"channel '{self.name}': a direction is a unit vector of size 2 or more, given {self.size}"
            )
        if self.role in (Role.REWARD, Role.TERMINATION) and self.size != 1:
            raise ContractError(f"channel '{self.name}': {self.role} has size 1, given {self.size}")
        if self.adds_to is not None and self.role != Role.EXOGENOUS:
            raise ContractError(f"channel '{self.name}': 'adds_to' is for exogenous channels, this one is {self.role}")
        return self

    @property
    def width(self) -> int:
        """Columns in an array; 0 for media."""
        return 0 if self.kind in MEDIA else self.size


class Layout:
    """Where each channel's columns stand in an array whose last axis has `width` columns."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self.channels: tuple[Channel, ...] = tuple(channel for channel in channels if channel.width)
        self._slices: dict[str, slice] = {}
        start = 0
        for channel in self.channels:
            self._slices[channel.name] = slice(start, start + channel.width)
            start += channel.width
        self.width = start

    def __getitem__(self, name: str) -> slice:
        if name not in self._slices:
            raise UnknownName("channel", name, self._slices)
        return self._slices[name]

    def __contains__(self, name: object) -> bool:
        return name in self._slices

    @property
    def columns(self) -> tuple[str, ...]:
        """One name per column: `name` for size 1, `name[i]` otherwise."""
        return tuple(
            channel.name if channel.size == 1 else f"{channel.name}[{i}]"
            for channel in self.channels
            for i in range(channel.width)
        )

    def mask(self, kinds: Iterable[Kind]) -> np.ndarray:
        """Boolean [width]: the columns whose channel is of one of `kinds`."""
        wanted = set(kinds)
        return np.array([channel.kind in wanted for channel in self.channels for _ in range(channel.width)], dtype=bool)


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Radians to [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
