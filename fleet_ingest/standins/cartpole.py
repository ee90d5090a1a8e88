"""A cart-pole in MuJoCo as a stand-in for reality: each serial number hides its own physics.

The draw below is what the engine must find out from logs; nothing outside this package may read it. The stand-in runs
in lockstep on a virtual clock: equal serial, seed, start and commands give equal bits, whatever else the machine does.
It is no model of a particular product.
"""

import hashlib
import math
from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

from fleet_ingest.robot.driver import Outcome
from fleet_ingest.standins.tasks import CARTPOLE
from storage.contracts.channel import wrap_angle
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import RobotSpec

STEP_S = 0.002
SUBSTEPS = round(1.0 / (CARTPOLE.control_rate_hz * STEP_S))
_DRAW_VERSION = "cartpole-1"  # another string draws another fleet


@dataclass(frozen=True)
class Physics:
    """What one serial number hides. SI units; `noise` is the standard deviation per state column."""

    cart_mass: float
    pole_mass: float
    pole_length: float
    cart_damping: float
    cart_friction: float
    pole_damping: float
    pole_friction: float
    motor_gain: float
    delay_steps: int
    deadband: float
    backlash: float
    sag: float
    angle_offset: float
    noise: tuple[float, float, float, float]


def draw(serial: str) -> Physics:
    """The physics of `serial`: a function of the name alone."""
    digest = hashlib.sha256(f"{_DRAW_VERSION}/{serial}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))

    def between(low: float, high: float) -> float:
        return float(low + (high - low) * rng.random())

    def ratio(low: float, high: float) -> float:
        return float(math.exp(between(math.log(low), math.log(high))))

    return Physics(
        cart_mass=1.0 * ratio(0.75, 1.35),
        pole_mass=0.2 * ratio(0.6, 1.7),
        pole_length=0.6 * ratio(0.75, 1.3),
        cart_damping=between(0.1, 1.0),
        cart_friction=between(0.05, 0.5),
        pole_damping=ratio(0.001, 0.006),
        pole_friction=ratio(0.0005, 0.004),
        motor_gain=between(0.85, 1.1),
        delay_steps=int(rng.integers(0, round(0.040 / STEP_S) + 1)),
        deadband=between(0.0, 0.3),
        backlash=between(0.0, 0.3),
        sag=between(0.0, 0.12),
        angle_offset=between(-0.01, 0.01),
        noise=(ratio(2e-4, 1e-3), ratio(3e-3, 1.5e-2), ratio(5e-4, 3e-3), ratio(1e-2, 4e-2)),
    )


def mjcf(physics: Physics) -> str:
    """The robot as MJCF text. The hinge turns about +y, so that a positive angle leans towards +x."""
    p = physics
    return f"""<mujoco model="cartpole">
  <option timestep="{STEP_S}" integrator="implicitfast" iterations="20" tolerance="1e-10">
    <flag contact="disable"/>
  </option>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" limited="true" range="-1.47 1.47" solreflimit="0.008 1"
             damping="{p.cart_damping!r}" frictionloss="{p.cart_friction!r}"/>
      <geom type="box" size="0.1 0.06 0.05" mass="{p.cart_mass!r}"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="{p.pole_damping!r}" frictionloss="{p.pole_friction!r}"/>
        <geom type="capsule" fromto="0 0 0 0 0 {p.pole_length!r}" size="0.01" mass="{p.pole_mass!r}"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="1"/></actuator>
</mujoco>"""


class Drive:
    """From the commanded to the acting force: delay, backlash, deadband, a battery that sags with the impulse drawn."""

    IMPULSE_NS = 25.0

    def __init__(self, physics: Physics) -> None:
        self._physics = physics
        self._queue: deque[float] = deque([0.0] * physics.delay_steps)
        self._play = 0.0
        self._drawn = 0.0

    def force(self, command: float) -> float:
        """Newtons that act during one physics step in which `command` is asked for."""
        p = self._physics
        self._queue.append(command)
        wanted = self._queue.popleft()
        # Play operator: the output follows only once the input has crossed the slack.
        self._play = min(max(self._play, wanted - p.backlash), wanted + p.backlash)
        push = math.copysign(max(abs(self._play) - p.deadband, 0.0), self._play)
        self._drawn += abs(push) * STEP_S
        charge = 1.0 - p.sag * (1.0 - math.exp(-self._drawn / self.IMPULSE_NS))
        return p.motor_gain * charge * push


class CartPoleStandIn:
    """RobotDriver of a MuJoCo cart-pole on a virtual clock that starts at 0 with each reset."""

    def __init__(self, serial: str) -> None:
        self._physics = draw(serial)
        self._serial_key = int.from_bytes(hashlib.sha256(serial.encode()).digest()[:8], "little")
        self._model = mujoco.MjModel.from_xml_string(mjcf(self._physics))
        self._data = mujoco.MjData(self._model)
        self.reset({}, 0)

    @property
    def spec(self) -> RobotSpec:
        return CARTPOLE

    def reset(self, start: dict[str, float], seed: int) -> None:
        """Places cart and pole at `start` (others at 0) with an empty command queue and a full battery."""
        names = [c.name for c in CARTPOLE.state_layout.channels]
        for name, value in start.items():
            if name not in names:
                raise UnknownName("state channel in start", name, names)
            if not math.isfinite(value):
                raise InputError(f"start of '{name}' is {value}; it must be finite")
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = (start.get(names[0], 0.0), start.get(names[2], 0.0))
        self._data.qvel[:] = (start.get(names[1], 0.0), start.get(names[3], 0.0))
        self._noise = np.random.Generator(np.random.Philox(key=[self._serial_key, seed % 2**64]))
        self._drive = Drive(self._physics)
        self._step = 0
        self._measure()

    def read(self) -> tuple[int, np.ndarray]:
        return round(self._step * 1e9 / CARTPOLE.control_rate_hz), self._measured.copy()

    def apply(self, command: np.ndarray) -> None:
        """Advances one control period under `command` [1] in newtons."""
        value = float(command[0])
        data, model, drive = self._data, self._model, self._drive
        for _ in range(SUBSTEPS):
            data.ctrl[0] = drive.force(value)
            mujoco.mj_step(model, data)
        self._step += 1
        self._measure()

    def exogenous(self) -> np.ndarray:
        return np.zeros(0)

    def outcome(self) -> Outcome:
        return Outcome()

    def stop(self) -> None:
        self._data.ctrl[0] = 0.0

    def _measure(self) -> None:
        (x, angle), (v, rate) = self._data.qpos, self._data.qvel
        true = np.array([x, v, angle + self._physics.angle_offset, rate])
        measured = true + self._noise.standard_normal(4) * self._physics.noise
        measured[2] = wrap_angle(measured[2])
        self._measured = measured
