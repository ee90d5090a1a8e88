"""Words that people use for signals: what a column's name says of its unit, kind and role. No robot is named here."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fleet_ingest.known_messages import is_bookkeeping
from storage.contracts.units import ALIASES, UNITS

_SUFFIXES: dict[str, str] = {
    "rad_s": "rad/s", "rad_per_s": "rad/s", "radps": "rad/s", "rads": "rad/s", "deg_s": "deg/s", "deg_per_s": "deg/s",
    "degps": "deg/s", "dps": "deg/s", "rad_s2": "rad/s^2", "rpm": "rpm", "rad": "rad", "deg": "deg", "turns": "turn",
    "m_s2": "m/s^2", "mps2": "m/s^2", "m_s": "m/s", "m_per_s": "m/s", "mps": "m/s", "ms-1": "m/s", "mm_s": "mm/s",
    "cm_s": "cm/s", "kmh": "km/h", "km_h": "km/h", "mph": "mph", "mm": "mm", "cm": "cm", "km": "km", "m": "m",
    "nm": "N*m", "n_m": "N*m", "mnm": "mN*m", "newton": "N", "n": "N", "kn": "kN", "v": "V", "volt": "V",
    "volts": "V", "mv": "mV", "a": "A", "amp": "A", "amps": "A", "ma": "mA", "w": "W", "hz": "Hz", "degc": "degC",
    "celsius": "degC", "c": "degC", "k": "K", "pa": "Pa", "kpa": "kPa", "bar": "bar", "psi": "psi", "percent": "%",
    "pct": "%", "kg": "kg", "s": "s", "ms": "ms", "us": "us", "ns": "ns",
}  # fmt: skip
COMMAND = re.compile(
    r"(^|[_./\s])(cmd|command|action|act|control|ctrl|u\d*|desired|des|target|ref|setpoint|input|throttle|pwm)"
    r"([_./\s\d\[]|$)|^(motor_)?volt",
    re.I,
)
_EXOGENOUS = re.compile(r"disturb|external|wind|push|perturb", re.I)
MEASURED = re.compile(r"(^|[_./\s])(meas|measured|actual|act_|est|estimated|filtered|obs|state)", re.I)
_EFFORT = re.compile(r"(^|[_./\s])(tau|torque|force|effort|current|voltage|volt|thrust|pwm)", re.I)
_ANGLE = re.compile(
    r"(^|[_./\s])(q\d*|angle|theta\d*|phi\d*|psi\d*|alpha|beta|roll|pitch|yaw|heading|joint\d*|pos_joint)"
    r"([_./\s\d\[]|$)",
    re.I,
)
REWARD = re.compile(r"^(.*[_./])?rewards?$", re.I)
DONE = re.compile(r"^(.*[_./])?(done|terminated|terminal|is_terminal|next\.done)$", re.I)
_INDEX = re.compile(
    r"(^|[_./\s])(index|idx|seq|count|counter|frame|frame_index|episode|episode_index|task_index|row|id)$"
    r"|^unnamed|^column_1$",
    re.I,
)


@dataclass
class Guess:
    """One drafted channel: fields as in `ChannelMap`, the columns it uses, and what is in doubt."""

    fields: dict[str, Any]
    columns: tuple[str, ...]
    doubts: list[str] = field(default_factory=list)


def left_out(name: str, values: np.ndarray) -> bool:
    """Counters and columns without a single number are no signals."""
    if not np.isfinite(values.astype(np.float64)).any():
        return True
    if is_bookkeeping(name):
        return True
    whole = values.ndim == 1 and values.dtype.kind in "iu"
    return (
        whole and (_INDEX.search(name) is not None or bool(len(values) > 2 and np.all(np.diff(values) == 1)))
    ) or name.endswith(".t")


def unit_of_name(name: str) -> tuple[str | None, str]:
    """(unit, name without it): `q1_rad` -> ('rad', 'q1'), `speed [m/s]` -> ('m/s', 'speed'); (None, name) without
    one.
    """
    bracket = re.match(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$", name)
    if bracket is not None and not bracket.group(2).isdigit():
        text = bracket.group(2).strip()
        known = text in UNITS or text.lower() in ALIASES
        if known and text:
            return (text if text in UNITS else ALIASES[text.lower()]), bracket.group(1)
    lower = name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if lower.endswith(f"_{suffix}") and len(lower) > len(suffix) + 1:
            return _SUFFIXES[suffix], name[: -len(suffix) - 1]
    return None, name


def set_role(guess: Guess, name: str, values: np.ndarray) -> None:
    if _EXOGENOUS.search(name):
        guess.fields |= {"role": "exogenous", "optional": True, "default": 0.0}
    elif COMMAND.search(name) and not MEASURED.search(name):
        guess.fields["role"] = "command"
    elif guess.fields["kind"] == "effort" and not MEASURED.search(name):
        guess.fields["role"] = "command"
        guess.doubts.append(f"'{name}' was taken for what drives the robot: if it is measured, remove 'role: command'")
    if np.isnan(values.astype(np.float64)).mean() > 0.5:
        guess.doubts.append(f"more than half of '{name}' is missing")


def kind_of(name: str, dimension: str | None) -> str:
    if dimension == "angle":
        return "angle"
    if dimension in ("force", "torque", "voltage", "current"):
        return "effort"
    if dimension in ("length", "velocity", "acceleration", "angular velocity", "angular acceleration"):
        return "linear"
    if dimension is not None:
        return "scalar"
    if _EFFORT.search(name):
        return "effort"
    return "angle" if _ANGLE.search(name) else "linear"


def clean_name(name: str) -> str:
    """A channel name: letters, digits, _ and single dots between words."""
    text = re.sub(r"[^A-Za-z0-9_.]+", "_", name.strip().lstrip("/").replace("/", "."))
    words = [re.sub(r"_+", "_", word).strip("_") for word in text.split(".")]
    words = [word if re.match(r"[A-Za-z_]", word) else f"_{word}" for word in words if word]
    return ".".join(words)[:110].rstrip(".") or "channel"
