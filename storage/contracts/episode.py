"""An episode: one log made canonical, as arrays over a robot's channels.

Row t of `command` acts from `time_ns[t]` to `time_ns[t + 1]`. Signals slower than the log are held between their
samples and `state_valid` is True only where a sample was measured: that is how many rates live in one table. An
entity that appears, vanishes, splits or merges does so in `alive`. This module reads no files; codecs and formats do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec

_UNSET: Any = None  # filled in by Episode.__post_init__


class MediaRef(Contract):
    """A clip of a media channel, kept as an object of its own."""

    channel: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: str
    start_ns: int
    end_ns: int


class QualityFlag(Contract):
    """Something a validator saw. `code` is stable, e.g. `gap`, `stuck`, `out_of_limits`, `salvaged`."""

    code: str
    channel: str | None = None
    count: int = 1
    detail: str = ""


class Provenance(Contract):
    """What made an episode: equal provenance means an equal episode."""

    raw_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mapping_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    converter: str = "unknown"
    part: int = 0
    """Index of the episode within the raw file."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One run of one robot. Shapes: T intervals, S state, C command, X exogenous columns, E entities. SI units.

    Attributes:
        robot: serial name of the individual robot, e.g. `cartpole-0003`.
        time_ns: int64 [T+1], strictly increasing, from the robot's clock.
        state: float64 [T+1, S]; state_valid: bool [T+1, S], True where measured.
        command: float64 [T, C], as applied after clamping; command_requested: what the policy asked for.
        exogenous: float64 [T, X], known inputs such as injected disturbances.
        alive: bool [T+1, E]; reward: float64 [T], NaN where none was logged.
        terminated, truncated: how the last interval ended; both False for a log that simply stops.
        resets: intervals in which an operator intervened, so that no dynamics is learned across them.
        media, notes, policy: media clips, operators' words, digest of the policy that ran (None: not ours).
        tags: small facts for queries, e.g. {"purpose": "evaluation", "start": "3"}.
    """

    robot: str
    spec: RobotSpec
    time_ns: np.ndarray
    state: np.ndarray
    command: np.ndarray
    provenance: Provenance
    state_valid: np.ndarray = _UNSET
    command_valid: np.ndarray = _UNSET
    command_requested: np.ndarray = _UNSET
    exogenous: np.ndarray = _UNSET
    alive: np.ndarray = _UNSET
    reward: np.ndarray = _UNSET
    terminated: bool = False
    truncated: bool = False
    resets: tuple[int, ...] = ()
    media: tuple[MediaRef, ...] = ()
    notes: tuple[str, ...] = ()
    policy: str | None = None
    quality: tuple[QualityFlag, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = len(self.time_ns) - 1
        widths = (self.spec.state_layout.width, self.spec.command_layout.width, self.spec.exogenous_layout.width)
        defaults: dict[str, Callable[[], np.ndarray]] = {
            "state_valid": lambda: np.isfinite(self.state),
            "command_valid": lambda: np.isfinite(self.command),
            "command_requested": lambda: self.command,
            "exogenous": lambda: np.zeros((steps, widths[2])),
            "alive": lambda: np.ones((steps + 1, len(self.spec.entities)), dtype=bool),
            "reward": lambda: np.full(steps, np.nan),
        }
        for name, make in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, make())
        shapes = {
            "time_ns": (np.int64, (steps + 1,)), "state": (np.float64, (steps + 1, widths[0])),
            "state_valid": (np.bool_, (steps + 1, widths[0])), "command": (np.float64, (steps, widths[1])),
            "command_requested": (np.float64, (steps, widths[1])), "command_valid": (np.bool_, (steps, widths[1])),
            "exogenous": (np.float64, (steps, widths[2])), "alive": (np.bool_, (steps + 1, len(self.spec.entities))),
            "reward": (np.float64, (steps,)),
        }  # fmt: skip
        if steps < 1:
            raise ContractError(f"an episode needs at least two samples, given {steps + 1}")
        for name, (dtype, shape) in shapes.items():
            array: np.ndarray = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if array.shape != shape:
                raise ContractError(f"episode of '{self.robot}': {name} has shape {array.shape}, expected {shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        increases = self.time_ns[1:] > self.time_ns[:-1]
        if not increases.all():
            at = int(np.argmin(increases))
            raise ContractError(f"episode of '{self.robot}': time_ns does not increase at row {at + 1}")
        if (
            not np.isfinite(self.state[self.state_valid]).all()
            or not np.isfinite(self.command[self.command_valid]).all()
        ):
            raise ContractError(f"episode of '{self.robot}': a value marked valid is not finite")

    @property
    def steps(self) -> int:
        return len(self.time_ns) - 1

    @property
    def duration_s(self) -> float:
        return float(self.time_ns[-1] - self.time_ns[0]) * 1e-9

    @cached_property
    def time_s(self) -> np.ndarray:
        """float64 [T+1], seconds since the first sample."""
        seconds: np.ndarray = (self.time_ns - self.time_ns[0]) * 1e-9
        return seconds

    def column(self, name: str) -> np.ndarray:
        """[T+1] or [T+1, size]: one state channel."""
        values = self.state[:, self.spec.state_layout[name]]
        return values[:, 0] if values.shape[1] == 1 else values

    def window(self, start: int, stop: int) -> "Episode":
        """Intervals `start` to `stop`: samples start..stop inclusive.

        Ends inside the episode are neither terminated nor truncated.
        """
        if not 0 <= start < stop <= self.steps:
            raise ContractError(f"window {start}:{stop} is not within 0:{self.steps}")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("time_ns", "state", "state_valid", "alive"):
            values[name] = values[name][start : stop + 1]
        for name in ("command", "command_valid", "command_requested", "exogenous", "reward"):
            values[name] = values[name][start:stop]
        values["resets"] = tuple(r - start for r in self.resets if start <= r < stop)
        if stop < self.steps:
            values["terminated"] = values["truncated"] = False
        return Episode(**values)
