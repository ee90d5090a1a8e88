"""Runs a stand-in of a family: as an exact twin set to any physical state, and as a robot behind the driver port.

Lockstep on a virtual clock: equal state and commands give equal bits. A delay is kept to the physics substep: the
command that acts changes within a control period where the delay ends there.
"""

import hashlib
import math
from dataclasses import dataclass

import mujoco
import numpy as np

from fleet_ingest.robot.driver import Outcome
from fleet_ingest.standins.bodies import Body
from storage.contracts.channel import Kind
from storage.contracts.errors import ContractError, InputError, UnknownName
from storage.contracts.robot import RobotSpec


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that the next state depends on. `state` [S] true, angles not wrapped; `queue` [Q, C] the last
    commands, oldest first; `motor` [C] the lagged commands."""

    state: np.ndarray
    queue: np.ndarray
    motor: np.ndarray


class Twin:
    """The physics of `body`. States [S] are true ones in the spec's order; angles are not wrapped."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._model = mujoco.MjModel.from_xml_string(body.mjcf())
        self._data = mujoco.MjData(self._model)
        self._limits = body.spec.command_limits
        periods, self._early = divmod(body.delay_substeps, body.substeps)
        self._behind = periods
        self._late = body.substeps - self._early
        self.set(np.zeros(2 * len(body.joints)))

    def set(self, state: np.ndarray, queue: np.ndarray | None = None, motor: np.ndarray | None = None) -> "Twin":
        """Puts the robot into `state` [S] with `queue` [Q', C] under way (oldest first, at least as long as the
        delay; default: nothing was commanded) and `motor` [C] (default 0)."""
        body, width = self.body, len(self.body.driven)
        state = np.asarray(state, dtype=np.float64)
        if state.shape != (2 * len(body.joints),) or not np.isfinite(state).all():
            raise ContractError(f"state {state} of '{body.serial}' should be {2 * len(body.joints)} finite values")
        rows = np.zeros((body.queue_rows, width)) if queue is None else np.asarray(queue, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != width or len(rows) < body.queue_rows:
            raise ContractError(
                f"queue of shape {rows.shape} should be [{body.queue_rows} or more, {width}] for '{body.serial}'"
            )
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = state[0::2]
        self._data.qvel[:] = state[1::2]
        self._data.act[:] = 0.0 if motor is None else motor
        self._queue: list[list[float]] = rows[len(rows) - body.queue_rows :].tolist()
        return self

    def restore(self, snapshot: Snapshot) -> "Twin":
        return self.set(snapshot.state, snapshot.queue, snapshot.motor)

    def snapshot(self) -> Snapshot:
        queue = np.array(self._queue, dtype=np.float64).reshape(-1, len(self.body.driven))
        return Snapshot(self.state(), queue, self._data.act.copy())

    def state(self) -> np.ndarray:
        """[S]."""
        found = np.empty(2 * len(self.body.joints))
        found[0::2] = self._data.qpos
        found[1::2] = self._data.qvel
        return found

    def motor(self) -> np.ndarray:
        """[C] the lagged commands."""
        return np.array(self._data.act)

    def advance(self, command: list[float]) -> None:
        """One control period under `command` [C], which is within its limits."""
        queue, data = self._queue, self._data
        queue.append(command)
        if self._early:
            data.ctrl[:] = queue[-self._behind - 2]
            mujoco.mj_step(self._model, data, self._early)
        data.ctrl[:] = queue[-self._behind - 1]
        mujoco.mj_step(self._model, data, self._late)
        queue.pop(0)

    def step(self, commands: np.ndarray) -> np.ndarray:
        """States [T, S] after each row of `commands` [T, C], which are clamped as robots do."""
        rows = np.clip(np.asarray(commands, dtype=np.float64), self._limits[:, 0], self._limits[:, 1])
        found = np.empty((len(rows), 2 * len(self.body.joints)))
        for t, row in enumerate(rows.tolist()):
            self.advance(row)
            found[t] = self.state()
        return found

    def energy(self) -> float:
        """Joules, kinetic and potential, of the state now."""
        mujoco.mj_forward(self._model, self._data)
        mujoco.mj_energyPos(self._model, self._data)
        mujoco.mj_energyVel(self._model, self._data)
        return float(self._data.energy.sum())


def twin(body: Body) -> Twin:
    """A twin of `body` at rest in its zero position."""
    return Twin(body)


class FamilyStandIn:
    """RobotDriver of a stand-in of a family, on a virtual clock that starts at 0 with each reset."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.twin = Twin(body)
        spec = body.spec
        self._key = int.from_bytes(hashlib.sha256(body.serial.encode()).digest()[:8], "little")
        self._deviation = np.array([value for joint in body.joints for value in joint.noise])
        self._angles = np.flatnonzero(spec.state_layout.mask([Kind.ANGLE]))
        self.reset({}, 0)

    @property
    def spec(self) -> RobotSpec:
        return self.body.spec

    def reset(self, start: dict[str, float], seed: int) -> None:
        """Places the robot at `start` (others at 0), with nothing under way."""
        names = self.spec.state_layout.columns
        for name, value in start.items():
            if name not in names:
                raise UnknownName("state channel in start", name, names)
            if not math.isfinite(value):
                raise InputError(f"start of '{name}' is {value}; it must be finite")
        self.place(np.array([start.get(name, 0.0) for name in names]), seed)

    def place(self, state: np.ndarray, seed: int) -> None:
        """`reset` with a state [S]."""
        self.twin.set(state)
        self._noise = np.random.Generator(np.random.Philox(key=[self._key, seed % 2**64]))
        self._step = 0
        self._measure()

    def read(self) -> tuple[int, np.ndarray]:
        return round(self._step * 1e9 / self.body.rate_hz), self._measured.copy()

    def apply(self, command: np.ndarray) -> None:
        """Advances one control period under `command` [C]."""
        self.twin.advance(command.tolist())
        self._step += 1
        self._measure()

    def exogenous(self) -> np.ndarray:
        return np.zeros(0)

    def outcome(self) -> Outcome:
        return Outcome()

    def stop(self) -> None:
        """A stand-in at rest between calls needs no stopping: its clock stands still."""

    def _measure(self) -> None:
        measured = self.twin.state()
        measured += self._noise.standard_normal(len(measured)) * self._deviation
        at = self._angles
        measured[at] = (measured[at] + math.pi) % (2 * math.pi) - math.pi
        self._measured = measured
