"""What a robot is to the engine: channels, and a table of entities with nullable physical features.

A robot description file (MJCF, URDF) is compiled into this table at the edge, by `fleet_ingest/specs`; the simulator
sees only the table. Rope nodes, lamps, appliances and robot joints are all entities. This module runs no robot.
"""

from collections import Counter
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.channel import Channel, Layout, Role
from storage.contracts.errors import ContractError, UnknownName


class Entity(Contract):
    """A joint, body, particle or appliance. SI units; None means that nobody said."""

    name: str = Field(max_length=120)
    type: Literal["joint", "body", "particle", "appliance", "other"] = "other"
    joint_type: Literal["revolute", "prismatic", "ball", "free", "fixed"] | None = None
    parent: str | None = None
    axis: tuple[float, float, float] | None = None
    length_m: float | None = None
    mass_kg: float | None = Field(default=None, ge=0)
    inertia_kgm2: tuple[float, float, float] | None = None
    limits: tuple[float, float] | None = None
    gear: float | None = None
    damping: float | None = None
    friction: float | None = None
    features: dict[str, float] = Field(default_factory=dict)
    """Further promptable quantities by name, e.g. {"payload.mass": 0.7}."""


class RobotSpec(Contract):
    """A robot described by channels. `safe_command` [C] is what is applied when there is no valid command."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,79}$")
    version: int = Field(default=1, ge=1)
    control_rate_hz: float = Field(gt=0, le=20_000)
    channels: tuple[Channel, ...]
    entities: tuple[Entity, ...] = ()
    safe_command: tuple[float, ...] | None = None
    source_text: str = ""
    """The text this was made from (MJCF, URDF, a mapping, a data sheet), for the prompt and for provenance."""

    @model_validator(mode="before")
    @classmethod
    def _fill_entities(cls, data: object) -> object:
        """Entities that only channels name get a row without features."""
        if not isinstance(data, dict):
            return data
        entities, channels = data.get("entities", ()), data.get("channels", ())
        if not isinstance(entities, list | tuple) or not isinstance(channels, list | tuple):
            return data  # the fields' own checks say what is wrong
        rows = [Entity.model_validate(e) for e in entities]
        known = {row.name for row in rows}
        for channel in channels:
            if not isinstance(channel, Channel | dict):
                return data
            name = channel.entity if isinstance(channel, Channel) else channel.get("entity", "robot")
            if not isinstance(name, str):
                return data
            if name not in known:
                rows.append(Entity(name=name))
                known.add(name)
        return {**data, "entities": tuple(rows)}

    @model_validator(mode="after")
    def _consistent(self) -> "RobotSpec":
        names = Counter(channel.name for channel in self.channels)
        if duplicates := sorted(name for name, count in names.items() if count > 1):
            raise ContractError(f"robot '{self.name}': channel names occur twice: {', '.join(duplicates)}")
        entity_names = Counter(entity.name for entity in self.entities)
        if duplicates := sorted(name for name, count in entity_names.items() if count > 1):
            raise ContractError(f"robot '{self.name}': entity names occur twice: {', '.join(duplicates)}")
        channels = {channel.name: channel for channel in self.channels}
        for channel in self.channels:
            if channel.derivative_of is not None:
                self._check_derivative(channel, channels)
            if channel.adds_to is not None:
                self._check_addition(channel)
        for entity in self.entities:
            if entity.parent is not None and entity.parent not in entity_names:
                raise ContractError(str(UnknownName(f"parent of entity '{entity.name}'", entity.parent, entity_names)))
        width = self.command_layout.width
        if self.safe_command is not None and len(self.safe_command) != width:
            raise ContractError(
                f"robot '{self.name}': safe_command has {len(self.safe_command)} values, commands have {width}"
            )
        if not self.state_layout.width:
            raise ContractError(f"robot '{self.name}': no channel has role 'state'")
        return self

    def _check_derivative(self, channel: Channel, parents: dict[str, Channel]) -> None:
        if channel.derivative_of not in parents:
            raise ContractError(
                str(UnknownName(f"derivative_of in channel '{channel.name}'", str(channel.derivative_of), parents))
            )
        parent = parents[str(channel.derivative_of)]
        if (parent.size, parent.entity) != (channel.size, channel.entity):
            raise ContractError(
                f"channel '{channel.name}' is the derivative of '{parent.name}', so both need equal size and entity; "
                f"given {channel.size}/{channel.entity} and {parent.size}/{parent.entity}"
            )

    def _check_addition(self, channel: Channel) -> None:
        commands = {c.name: c for c in self.by_role(Role.COMMAND)}
        if channel.adds_to not in commands:
            named = f"adds_to in channel '{channel.name}'"
            raise ContractError(str(UnknownName(named, str(channel.adds_to), commands)))
        command = commands[str(channel.adds_to)]
        if (command.size, command.unit) != (channel.size, channel.unit):
            raise ContractError(
                f"channel '{channel.name}' is added to '{command.name}', so both need equal size and unit; given "
                f"{channel.size} x {channel.unit} and {command.size} x {command.unit}"
            )

    def by_role(self, role: Role) -> tuple[Channel, ...]:
        return tuple(channel for channel in self.channels if channel.role == role)

    def channel(self, name: str) -> Channel:
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise UnknownName("channel", name, [c.name for c in self.channels])

    @cached_property
    def state_layout(self) -> Layout:
        return Layout(self.by_role(Role.STATE))

    @cached_property
    def command_layout(self) -> Layout:
        return Layout(self.by_role(Role.COMMAND))

    @cached_property
    def exogenous_layout(self) -> Layout:
        return Layout(self.by_role(Role.EXOGENOUS))

    @property
    def period_s(self) -> float:
        return 1.0 / self.control_rate_hz

    @cached_property
    def command_limits(self) -> np.ndarray:
        """[C, 2] low and high; infinite where the specification has none."""
        rows = [c.limits or (-np.inf, np.inf) for c in self.command_layout.channels for _ in range(c.width)]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def safe(self) -> np.ndarray:
        """[C] the safe command; zeros clamped to the limits where the specification has none."""
        if self.safe_command is not None:
            return np.array(self.safe_command, dtype=np.float64)
        return np.clip(np.zeros(self.command_layout.width), self.command_limits[:, 0], self.command_limits[:, 1])
