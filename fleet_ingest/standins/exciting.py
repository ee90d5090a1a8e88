"""Commands that excite a stand-in of a family, as people and programs do: noise, held values, chirps, controllers.

An episode is a row of segments of one to four seconds, each with a way of its own. Everything is drawn from the
episode's generator; feedback uses what the sensors show. Works on plain floats: robots have few joints.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fleet_ingest.standins.bodies import GRAVITY, Body, Joint
from storage.contracts.errors import InputError

Rule = Callable[[int, Sequence[float]], list[float]]
"""(step within the segment, measured state [S]) -> command [C]."""

WAYS = ("noise", "held", "chirp", "reach", "pump", "coast")
_WEIGHTS = (0.25, 0.2, 0.15, 0.2, 0.15, 0.05)


class Exciting:
    """The commands of one episode of `body`, in some of the `WAYS`."""

    def __init__(self, body: Body, rng: np.random.Generator, ways: Sequence[str] = WAYS) -> None:
        if not ways or not set(ways) <= set(WAYS):
            raise InputError(f"ways to excite {list(ways)} must be some of {list(WAYS)}")
        weights = np.array([_WEIGHTS[WAYS.index(way)] for way in ways])
        self._body, self._rng, self._ways, self._weights = body, rng, ways, weights / weights.sum()
        self._dt = 1.0 / body.rate_hz
        self._index = [body.joints.index(joint) for joint in body.driven]
        self._limits = [float(joint.command_limit or 0.0) for joint in body.driven]
        # Makers brake a joint that overspeeds; without it, links wind up until the log aliases.
        self._guards = [
            (c, 2 * i + 1, float(rng.uniform(2.0, 4.0)) * _natural(joint))
            for c, (i, joint) in enumerate(zip(self._index, body.driven, strict=True))
            if not joint.prismatic
        ]
        self._left = 0
        self._rule: Rule = self._coast(0)
        self._k = 0

    def next(self, measured: Sequence[float]) -> list[float]:
        """[C] what is asked for in the state `measured` [S]; may lie outside the limits."""
        if not self._left:
            self._begin()
        command = self._rule(self._k, measured)
        self._k += 1
        self._left -= 1
        for c, at, fast in self._guards:
            if abs(measured[at]) > fast:
                command[c] = -math.copysign(self._limits[c], measured[at])
        return command

    def start(self) -> np.ndarray:
        """[S] at rest anywhere, near the zero position, or anywhere and moving."""
        rng, kind = self._rng, self._rng.integers(3)
        state = []
        for joint in self._body.joints:
            if joint.prismatic:
                state += [(joint.stop_m or 1.0) * rng.uniform(-0.7, 0.7), (kind == 2) * rng.normal()]
            else:
                angle = rng.uniform(-math.pi, math.pi) if kind else rng.normal() * 0.1
                state += [angle, (kind == 2) * 1.5 * _natural(joint) * rng.normal()]
        return np.array(state)

    def _begin(self) -> None:
        rng = self._rng
        self._left = max(1, round(rng.uniform(1.0, 4.0) / self._dt))
        self._k = 0
        way = self._ways[int(rng.choice(len(self._ways), p=self._weights))]
        self._rule = getattr(self, f"_{way}")(self._left)

    def _scale(self) -> float:
        """Share of the limits: small, large and saturating all occur."""
        return float(math.exp(self._rng.uniform(math.log(0.08), math.log(1.3))))

    def _wander(self, steps: int, scale: float, time_constant_s: float) -> list[list[float]]:
        """Ornstein-Uhlenbeck noise [steps][C] with standard deviation `scale` times the limits."""
        keep = math.exp(-self._dt / time_constant_s)
        fresh = self._rng.standard_normal((steps + 1, len(self._limits)))
        value, rows = fresh[0], []
        for t in range(steps):
            rows.append((value * scale * self._limits).tolist())
            value = keep * value + math.sqrt(1 - keep**2) * fresh[t + 1]
        return rows

    def _noise(self, steps: int) -> Rule:
        rows = self._wander(steps, self._scale(), math.exp(self._rng.uniform(math.log(0.03), math.log(0.6))))
        return self._centred(rows)

    def _held(self, steps: int) -> Rule:
        every = max(1, round(self._rng.uniform(0.04, 0.6) / self._dt))
        scale = min(1.0, self._scale())
        values = self._rng.uniform(-1, 1, (steps // every + 1, len(self._limits))) * self._limits * scale
        return self._centred(np.repeat(values, every, 0)[:steps].tolist())

    def _chirp(self, steps: int) -> Rule:
        rng, count = self._rng, len(self._limits)
        first, last = np.exp(rng.uniform(math.log(0.1), math.log(5.0), (2, count)))
        t = np.arange(steps)[:, None] * self._dt
        phase = 2 * np.pi * (first * t + 0.5 * (last - first) * t**2 / (steps * self._dt)) + rng.uniform(0, 6.3, count)
        return self._centred((np.sin(phase) * self._limits * self._scale()).tolist())

    def _coast(self, steps: int) -> Rule:
        still = [0.0] * len(self._limits)
        return lambda k, s: list(still)

    def _reach(self, steps: int) -> Rule:
        """Proportional and differential control to random targets, with noise on top."""
        rng = self._rng
        every = max(1, round(rng.uniform(0.4, 2.0) / self._dt))
        targets = rng.uniform(-1, 1, (steps // every + 1, len(self._limits))).tolist()
        kp, kd = float(rng.uniform(0.4, 3.0)), float(rng.uniform(0.05, 0.6))
        noise = self._wander(steps, 0.15 * float(rng.random()), 0.1)
        joints = list(enumerate(self._body.driven))

        def rule(k: int, s: Sequence[float]) -> list[float]:
            command = noise[k]
            for c, joint in joints:
                at, speed = s[2 * self._index[c]], s[2 * self._index[c] + 1]
                target = targets[k // every][c]
                if joint.prismatic:
                    reach = joint.stop_m or 1.0
                    u = kp * (0.8 * target - at / reach) - kd * speed / reach
                else:
                    u = kp * math.remainder(math.pi * target - at, 2 * math.pi) - kd * speed / _natural(joint)
                command[c] += self._limits[c] * u
            return command

        return rule

    def _pump(self, steps: int) -> Rule:
        """Pushes with the motion, so that links swing up and over; a cart pushes so that its first link gains."""
        body, rng = self._body, self._rng
        scale = float(rng.uniform(0.3, 1.0))
        noise = self._wander(steps, 0.15 * float(rng.random()), 0.1)
        swinging = next((i for i, joint in enumerate(body.joints) if not joint.prismatic), 0)
        joints = list(enumerate(body.driven))

        def rule(k: int, s: Sequence[float]) -> list[float]:
            command = noise[k]
            for c, joint in joints:
                if joint.prismatic:
                    reach = joint.stop_m or 1.0
                    lean = body.sign * s[2 * swinging + 1] * math.cos(s[2 * swinging])
                    u = -math.copysign(scale, lean) - 0.8 * s[2 * self._index[c]] / reach
                else:
                    u = math.copysign(scale, s[2 * self._index[c] + 1])
                command[c] += self._limits[c] * u
            return command

        return rule

    def _centred(self, rows: list[list[float]]) -> Rule:
        """Open loop, but for a weak spring that mostly keeps carts off their stops."""
        springs = [
            (c, 2 * self._index[c], 0.6 * self._limits[c] / (joint.stop_m or 1.0))
            for c, joint in enumerate(self._body.driven)
            if joint.prismatic
        ]
        if not springs or self._rng.random() < 0.2:
            return lambda k, s: rows[k]

        def rule(k: int, s: Sequence[float]) -> list[float]:
            command = rows[k]
            for c, at, stiffness in springs:
                command[c] -= stiffness * s[at]
            return command

        return rule


def _natural(joint: Joint) -> float:
    """rad/s of a rod of that length that hangs: the scale of its rates."""
    return math.sqrt(1.5 * GRAVITY / joint.length_m)
