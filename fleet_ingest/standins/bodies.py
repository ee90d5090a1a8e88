"""One stand-in robot of a family: a tree of links in a plane, on a cart or not, and what its maker would say of it.

Its physics is compiled to MJCF here; nothing is drawn and nothing runs in this module. Angles are relative joint
angles. A link is a thin uniform rod; a payload is a small ball at the end of the last link.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import Entity, RobotSpec

SUBSTEP_S = 0.002
GRAVITY = 9.81
PAYLOAD_RADIUS_M = 0.02
STOP_MARGIN_M = 0.03
_FIELDS = {"mass": "mass_kg", "damping": "damping", "friction": "friction", "gear": "gear", "length": "length_m"}


@dataclass(frozen=True)
class Joint:
    """A joint and the body that it moves. SI units.

    `damping` is viscous, `friction` Coulomb (N or Nm); `gear` is the ratio of the acting to the commanded effort;
    `command_limit` is None where nothing drives; `stop_m` half the travel of a cart; `noise` the standard deviations
    of its position and velocity sensors.
    """

    name: str
    prismatic: bool
    parent: str | None
    length_m: float
    mass_kg: float
    damping: float
    friction: float
    armature: float
    gear: float
    command_limit: float | None
    stop_m: float | None
    noise: tuple[float, float]

    @property
    def inertia(self) -> tuple[float, float, float]:
        """About the centre of mass, kg m²: of a rod along its third axis, or of a cart that never turns."""
        if self.prismatic:
            return (1e-3 * self.mass_kg,) * 3
        across = self.mass_kg * self.length_m**2 / 12
        return across, across, 1e-3 * across


@dataclass(frozen=True)
class Body:
    """A robot. `up` is the height of a link's end over its joint per length at angle 0: 1 upright, -1 hanging, 0 in a
    horizontal plane, where gravity does nothing. `sign` is the sense of positive angles."""

    family: str
    serial: str
    rate_hz: float
    up: int
    sign: int
    joints: tuple[Joint, ...]
    payload_kg: float
    delay_s: float
    lag_s: float

    @property
    def substeps(self) -> int:
        return round(1.0 / (self.rate_hz * SUBSTEP_S))

    @property
    def delay_substeps(self) -> int:
        return round(self.delay_s / SUBSTEP_S)

    @property
    def queue_rows(self) -> int:
        """Past commands that may still be under way at the start of a period."""
        return -(-self.delay_substeps // self.substeps)

    @property
    def driven(self) -> tuple[Joint, ...]:
        return tuple(joint for joint in self.joints if joint.command_limit is not None)

    @property
    def axis(self) -> tuple[float, float, float]:
        """Of the links' hinges. Positive angles turn a hanging or upright link's end towards +x when `sign` is 1."""
        return (0.0, 0.0, float(self.sign)) if self.up == 0 else (0.0, float(self.sign * self.up), 0.0)

    @cached_property
    def spec(self) -> RobotSpec:
        """What the maker says: channels, command limits, the tree, lengths. Everything else is unknown."""
        return self._spec(known=False)

    @cached_property
    def true_spec(self) -> RobotSpec:
        """The same channels with every physical quantity filled in, for an oracle."""
        return self._spec(known=True)

    def edited(self, name: str, value: float) -> "Body":
        """The robot with one quantity set: `<joint>.<mass|damping|friction|gear|length>`, `payload.mass`,
        `command.delay` or `motor.lag`, as scenes name them. Raises UnknownName."""
        whole = {"payload.mass": "payload_kg", "command.delay": "delay_s", "motor.lag": "lag_s"}
        if not value >= 0:
            raise InputError(f"'{name}' cannot be {value}; it must be 0 or more")
        if name in whole:
            return replace(self, **{whole[name]: value})  # type: ignore[arg-type]
        owner, _, short = name.rpartition(".")
        names = [f"{joint.name}.{field}" for joint in self.joints for field in _FIELDS]
        if name not in names:
            raise UnknownName("quantity of a stand-in", name, [*names, *whole])
        changed = [replace(j, **{_FIELDS[short]: value}) if j.name == owner else j for j in self.joints]  # type: ignore[arg-type]
        return replace(self, joints=tuple(changed))

    def quantity(self, name: str) -> float:
        """The true value of what `edited` can set."""
        whole = {"payload.mass": self.payload_kg, "command.delay": self.delay_s, "motor.lag": self.lag_s}
        if name in whole:
            return whole[name]
        owner, _, short = name.rpartition(".")
        for joint in self.joints:
            if joint.name == owner and short in _FIELDS:
                return float(getattr(joint, _FIELDS[short]))
        raise UnknownName("quantity of a stand-in", name, [*whole, *(j.name for j in self.joints)])

    def mjcf(self) -> str:
        """The robot as MJCF text."""
        roots = "".join(self._element(joint) for joint in self.joints if joint.parent is None)
        lag = f'dyntype="filterexact" dynprm="{self.lag_s!r}" actearly="true"'
        motors = "".join(f'<general joint="{j.name}" gear="{j.gear!r}" {lag}/>' for j in self.driven)
        gravity = GRAVITY if self.up else 0.0
        # Without warm starts the next state is a function of the state alone, so that a twin can start anywhere.
        return f"""<mujoco model="{self.family}">
<option timestep="{SUBSTEP_S}" integrator="implicitfast" iterations="20" tolerance="1e-10" gravity="0 0 {-gravity!r}">
<flag contact="disable" warmstart="disable"/></option>
<worldbody>{roots}</worldbody><actuator>{motors}</actuator></mujoco>"""

    def _element(self, joint: Joint) -> str:
        losses = f'damping="{joint.damping!r}" frictionloss="{joint.friction!r}" armature="{joint.armature!r}"'
        children = "".join(self._element(child) for child in self.joints if child.parent == joint.name)
        inertia = _text(joint.inertia if self.up or joint.prismatic else joint.inertia[::-1])
        if joint.prismatic:
            reach = (joint.stop_m or 1.0) - STOP_MARGIN_M
            return (
                f'<body><joint name="{joint.name}" type="slide" axis="1 0 0" limited="true" '
                f'range="{-reach!r} {reach!r}" solreflimit="0.008 1" {losses}/>'
                f'<inertial pos="0 0 0" mass="{joint.mass_kg!r}" diaginertia="{inertia}"/>{children}</body>'
            )
        parent = next((p for p in self.joints if p.name == joint.parent), None)
        at = self._along(0.0 if parent is None or parent.prismatic else parent.length_m)
        ball = ""
        if joint is self.joints[-1] and self.payload_kg > 0:
            own = 0.4 * self.payload_kg * PAYLOAD_RADIUS_M**2
            ball = (
                f'<body pos="{self._along(joint.length_m)}"><inertial pos="0 0 0" mass="{self.payload_kg!r}" '
                f'diaginertia="{_text((own, own, own))}"/></body>'
            )
        return (
            f'<body pos="{at}"><joint name="{joint.name}" type="hinge" axis="{_text(self.axis)}" {losses}/>'
            f'<inertial pos="{self._along(joint.length_m / 2)}" mass="{joint.mass_kg!r}" '
            f'diaginertia="{inertia}"/>{ball}{children}</body>'
        )

    def _along(self, distance: float) -> str:
        return _text((0.0, 0.0, self.up * distance) if self.up else (distance, 0.0, 0.0))

    def _spec(self, *, known: bool) -> RobotSpec:
        zero = {1: "Angle 0 is upright", -1: "Angle 0 is hanging", 0: "Links turn in a horizontal plane"}[self.up]
        text = f"Stand-in of the family {self.family}: {len(self.joints)} joints. {zero}; angles are relative."
        return RobotSpec(
            name=f"standin.{self.family}",
            control_rate_hz=self.rate_hz,
            channels=(
                *(channel for joint in self.joints for channel in _sensors(joint)),
                *(_motor(joint) for joint in self.driven),
            ),
            entities=tuple(self._entity(joint, known) for joint in self.joints),
            safe_command=(0.0,) * len(self.driven),
            source_text=text,
        )

    def _entity(self, joint: Joint, known: bool) -> Entity:
        features = {} if joint.prismatic else {"zero.height": float(self.up)}
        truth: dict[str, object] = {}
        if known:
            names = ("mass_kg", "damping", "friction", "gear")
            truth = {name: getattr(joint, name) for name in names} | {"inertia_kgm2": joint.inertia}
            features["armature"] = joint.armature
            if joint is self.joints[-1]:
                features["payload.mass"] = self.payload_kg
            if joint.command_limit is not None:
                features |= {"command.delay": self.delay_s, "motor.lag": self.lag_s}
            else:
                truth.pop("gear")
        return Entity(
            name=joint.name,
            type="joint",
            joint_type="prismatic" if joint.prismatic else "revolute",
            parent=joint.parent,
            axis=(1.0, 0.0, 0.0) if joint.prismatic else self.axis,
            length_m=None if joint.prismatic else joint.length_m,
            limits=None if joint.stop_m is None else (-joint.stop_m, joint.stop_m),
            features=features,
            **truth,  # type: ignore[arg-type]
        )


def _sensors(joint: Joint) -> tuple[Channel, Channel]:
    if joint.prismatic:
        at = f"{joint.name}.position"
        limits = None if joint.stop_m is None else (-joint.stop_m, joint.stop_m)
        return (
            Channel(name=at, kind=Kind.LINEAR, unit="m", entity=joint.name, limits=limits),
            Channel(name=f"{joint.name}.velocity", kind=Kind.LINEAR, unit="m/s", entity=joint.name, derivative_of=at),
        )
    at = f"{joint.name}.angle"
    return (
        Channel(name=at, kind=Kind.ANGLE, unit="rad", entity=joint.name),
        Channel(name=f"{joint.name}.rate", kind=Kind.LINEAR, unit="rad/s", entity=joint.name, derivative_of=at),
    )


def _motor(joint: Joint) -> Channel:
    name, unit = ("force", "N") if joint.prismatic else ("torque", "N*m")
    limit = float(joint.command_limit or 0.0)
    return Channel(
        name=f"{joint.name}.{name}", kind=Kind.EFFORT, role=Role.COMMAND, unit=unit, entity=joint.name,
        limits=(-limit, limit),
    )  # fmt: skip


def _text(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(value)) for value in values)
