"""Units and kinds that message definitions fix: ROS's common interfaces (REP 103: SI, radians) and PX4's topics.

One row a rule, the first that fits counts. This module guesses nothing from values.
Sources: https://www.ros.org/reps/rep-0103.html, https://github.com/ros2/common_interfaces,
https://github.com/PX4/PX4-Autopilot/tree/main/msg.
"""

import re
from typing import NamedTuple


class Known(NamedTuple):
    """What a field is: a channel's kind, unit and role (None: by its topic's name)."""

    kind: str
    unit: str
    role: str | None = None
    derivative: str | None = None
    """Field of the same message whose derivative it is; `\\1` stands for the rule's first group."""


_P, _V, _W, _A = Known("linear", "m"), Known("linear", "m/s"), Known("linear", "rad/s"), Known("linear", "m/s^2")
_Q = Known("orientation", "1")

_RULES: tuple[tuple[str, str, Known], ...] = (
    (r"sensor_msgs/.*Imu", r"angular_velocity\.[xyz]", _W),
    (r"sensor_msgs/.*Imu", r"linear_acceleration\.[xyz]", _A),
    (r"sensor_msgs/.*JointState", r"position", Known("angle", "rad")),
    (r"sensor_msgs/.*JointState", r"velocity", Known("linear", "rad/s", None, "position")),
    (r"sensor_msgs/.*JointState", r"effort", Known("effort", "N*m", "state")),
    (r"sensor_msgs/.*BatteryState", r"voltage", Known("scalar", "V")),
    (r"sensor_msgs/.*BatteryState", r"current", Known("scalar", "A")),
    (r"sensor_msgs/.*Temperature", r"temperature", Known("scalar", "degC")),
    (r"sensor_msgs/.*FluidPressure", r"fluid_pressure", Known("scalar", "Pa")),
    (r"sensor_msgs/.*MagneticField", r"magnetic_field\.[xyz]", Known("linear", "T")),
    (r"sensor_msgs/.*Range", r"range", _P),
    (r"sensor_msgs/.*NavSatFix", r"latitude|longitude", Known("angle", "deg")),
    (r"sensor_msgs/.*NavSatFix", r"altitude", _P),
    (r"trajectory_msgs/.*", r"(?:.*\.)?positions", Known("angle", "rad", "command")),
    (r"(geometry|nav)_msgs/.*", r"(?:.*\.)?(?:linear)\.[xyz]", _V),
    (r"(geometry|nav)_msgs/.*", r"(?:.*\.)?(?:angular)\.[xyz]", _W),
    (r"(geometry|nav)_msgs/.*", r"(?:.*\.)?(?:position|translation|point)\.[xyz]", _P),
    (r"geometry_msgs/.*Wrench.*", r"(?:.*\.)?force\.[xyz]", Known("effort", "N", "state")),
    (r"geometry_msgs/.*Wrench.*", r"(?:.*\.)?torque\.[xyz]", Known("effort", "N*m", "state")),
    (r"turtlesim/.*Pose", r"[xy]", _P),
    (r"turtlesim/.*Pose", r"theta", Known("angle", "rad")),
    (r"turtlesim/.*Pose", r"linear_velocity", _V),
    (r"turtlesim/.*Pose", r"angular_velocity", Known("linear", "rad/s", None, "theta")),
    (r"sensor_combined", r"gyro_rad", _W),
    (r"sensor_combined", r"accelerometer_m_s2", _A),
    (r"vehicle_angular_velocity", r"xyz", _W),
    (r"vehicle_attitude", r"q", _Q),
    (r"vehicle_attitude", r"(?:roll|pitch|yaw)speed", _W),
    (r"vehicle_local_position", r"[xyz]", _P),
    (r"vehicle_local_position", r"v([xyz])", Known("linear", "m/s", None, r"\1")),
    (r"vehicle_local_position", r"a[xyz]", _A),
    (r"vehicle_local_position", r"heading", Known("angle", "rad")),
    (r"vehicle_rates_setpoint", r"roll|pitch|yaw", Known("linear", "rad/s", "command")),
    (r"vehicle_attitude_setpoint", r"q_d", Known("orientation", "1", "command")),
    (r"vehicle_attitude_setpoint", r"(?:roll|pitch|yaw)_body", Known("angle", "rad", "command")),
    (r"vehicle_(?:torque|thrust)_setpoint", r"xyz", Known("scalar", "1", "command")),
    (r"actuator_controls.*|actuator_motors|actuator_servos", r"control", Known("scalar", "1", "command")),
    (r"actuator_outputs", r"output", Known("scalar", "1", "command")),
    (r"battery_status", r"voltage_v", Known("scalar", "V")),
    (r"battery_status", r"current_a", Known("scalar", "A")),
    (r"vehicle_air_data", r"baro_alt_meter", _P),
    (r"vehicle_air_data", r"baro_temp_celcius", Known("scalar", "degC")),
    (r"vehicle_air_data", r"baro_pressure_pa", Known("scalar", "Pa")),
)
_COMPILED = tuple((re.compile(kind), re.compile(name), known) for kind, name, known in _RULES)
_QUATERNION = re.compile(r"^(?:.*\.)?(?:orientation|rotation)\.w$|^w$")
_NOISE = re.compile(
    r"covariance|(^|\.)header\.|(^|\.)stamp$|timestamp_sample|device_id|(^|_)(error_)?count(er)?$|(^|\.)seq$|_padding"
    r"|\.(log|publish)_time$",
    re.I,
)


def known_field(type_name: str, field: str) -> Known | None:
    """What `field` of a message of `type_name` is, where its definition fixes it."""
    for kind, name, known in _COMPILED:
        if kind.fullmatch(type_name) and (found := name.fullmatch(field)):
            return known._replace(derivative=found.expand(known.derivative)) if known.derivative else known
    return None


def is_bookkeeping(field: str) -> bool:
    """Covariances, headers, counters: never a signal of the robot."""
    return _NOISE.search(field) is not None


def quaternion_of(field: str) -> tuple[str, str, str, str] | None:
    """The wxyz fields of the quaternion whose `w` is `field`; ROS lists them xyzw."""
    if not _QUATERNION.match(field) or not field.endswith("w"):
        return None
    stem = field[:-1]
    return field, f"{stem}x", f"{stem}y", f"{stem}z"
