"""The builders' rigid-body model of the double pendulum, and the same model identified anew: what a learned simulator
has to beat.

Parameters and equations are those of `data/README.md` of the logs (model 2.0 of build C.1). All worlds in one numpy
batch, RK4. Not a part of the engine: nothing there knows this robot.
"""

from dataclasses import astuple, dataclass, fields

import numpy as np
from scipy.optimize import least_squares

Array = np.ndarray


@dataclass(frozen=True)
class Parameters:
    """SI units. `friction` is Coulomb's, `damping` viscous; `rotor` is the motors' inertia before the gear."""

    inertia1: float = 0.0421116
    inertia2: float = 0.0510353
    rotor: float = 6.287e-5
    damping1: float = 0.0036909
    damping2: float = 0.000645
    friction1: float = 0.174672
    friction2: float = 0.11
    mass1: float = 0.758644
    mass2: float = 0.336937
    centre1: float = 0.2
    centre2: float = 0.468438
    length1: float = 0.2
    gear: float = 6.0
    gravity: float = 9.81


BUILDERS = Parameters()
FITTED = (
    "inertia1",
    "inertia2",
    "damping1",
    "damping2",
    "friction1",
    "friction2",
    "mass1",
    "mass2",
    "centre1",
    "centre2",
)


def acceleration(p: Parameters, state: Array, torque: Array) -> Array:
    """ddq [N, 2] of `state` [N, 4] (q1, q2, dq1, dq2) under `torque` [N, 2]: M ddq = tau - c + g - friction."""
    q1, q2, v1, v2 = state.T
    h = p.mass2 * p.length1 * p.centre2
    sin2, cos2 = np.sin(q2), np.cos(q2)
    m11 = p.inertia1 + p.inertia2 + p.mass2 * p.length1**2 + 2 * h * cos2 + p.rotor * (p.gear**2 + 1)
    m12 = p.inertia2 + h * cos2 - p.gear * p.rotor
    m22 = p.inertia2 + p.gear**2 * p.rotor
    second = p.mass2 * p.centre2 * np.sin(q1 + q2)
    gravity1 = -p.gravity * (p.mass1 * p.centre1 * np.sin(q1) + p.mass2 * p.length1 * np.sin(q1) + second)
    drag1 = p.damping1 * v1 + p.friction1 * np.arctan(100 * v1)
    drag2 = p.damping2 * v2 + p.friction2 * np.arctan(100 * v2)
    f1 = torque[:, 0] + 2 * h * sin2 * v1 * v2 + h * sin2 * v2**2 + gravity1 - drag1
    f2 = torque[:, 1] - h * sin2 * v1**2 - p.gravity * second - drag2
    det = m11 * m22 - m12**2
    return np.stack([(m22 * f1 - m12 * f2) / det, (m11 * f2 - m12 * f1) / det], axis=1)


def rollout(p: Parameters, start: Array, torque: Array, dt: float) -> Array:
    """States [N, T + 1, 4] from `start` [N, 4] under held `torque` [N, T, 2], RK4 at `dt` seconds."""

    def slope(state: Array, u: Array) -> Array:
        return np.concatenate([state[:, 2:], acceleration(p, state, u)], axis=1)

    states = [start]
    for t in range(torque.shape[1]):
        x, u = states[-1], torque[:, t]
        k1 = slope(x, u)
        k2 = slope(x + 0.5 * dt * k1, u)
        k3 = slope(x + 0.5 * dt * k2, u)
        k4 = slope(x + dt * k3, u)
        states.append(x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.stack(states, axis=1)


def identify(start: Array, torque: Array, measured: Array, dt: float) -> Parameters:
    """The parameters that best predict `measured` angles [N, T + 1, 2] from `start`: least squares over whole rollouts
    with a robust loss, begun at the builders' values."""
    names = [f.name for f in fields(Parameters)]
    base = np.array(astuple(BUILDERS))
    index = [names.index(name) for name in FITTED]

    def parameters(scale: Array) -> Parameters:
        values = base.copy()
        values[index] *= np.exp(scale)
        return Parameters(*values)

    def residual(scale: Array) -> Array:
        error = rollout(parameters(scale), start, torque, dt)[:, 1:, :2] - measured[:, 1:]
        wrapped = (error + np.pi) % (2 * np.pi) - np.pi
        return np.concatenate([np.nan_to_num(wrapped, nan=np.pi).ravel(), 0.01 * scale])

    found = least_squares(residual, np.zeros(len(FITTED)), loss="soft_l1", f_scale=0.02, max_nfev=40)
    return parameters(found.x)
