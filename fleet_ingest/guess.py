"""Guesses what the columns of a table are: kind, role, unit, which is the derivative of which, cosine and sine pairs.

Names give the first guess, numbers confirm or doubt it. This module knows words that people use for signals, no robot.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fleet_ingest.formats.arrow import parse_numbers
from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.quality import derivative_fit
from fleet_ingest.resample import Track
from storage.contracts.units import ALIASES, UNITS, unit

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
_COMMAND = re.compile(
    r"(^|[_./\s])(cmd|command|action|act|control|ctrl|u\d*|desired|des|target|ref|setpoint|input|throttle|pwm)"
    r"([_./\s\d\[]|$)|^(motor_)?volt",
    re.I,
)
_EXOGENOUS = re.compile(r"disturb|external|wind|push|perturb", re.I)
_MEASURED = re.compile(r"(^|[_./\s])(meas|measured|actual|act_|est|estimated|filtered|obs|state)", re.I)
_EFFORT = re.compile(r"(^|[_./\s])(tau|torque|force|effort|current|voltage|volt|thrust|pwm)", re.I)
_ANGLE = re.compile(
    r"(^|[_./\s])(q\d*|angle|theta\d*|phi\d*|psi\d*|alpha|beta|roll|pitch|yaw|heading|joint\d*|pos_joint)"
    r"([_./\s\d\[]|$)",
    re.I,
)
_REWARD = re.compile(r"^(.*[_./])?rewards?$", re.I)
_DONE = re.compile(r"^(.*[_./])?(done|terminated|terminal|is_terminal|next\.done)$", re.I)
_INDEX = re.compile(
    r"(^|[_./\s])(index|idx|seq|count|counter|frame|frame_index|episode|episode_index|task_index|row|id)$"
    r"|^unnamed|^column_1$",
    re.I,
)
_RATE_DIMENSION = {"angle": "rad/s", "length": "m/s", "velocity": "m/s^2", "angular velocity": "rad/s^2"}
_MAX_CHANNELS = 256


@dataclass
class Guess:
    """One drafted channel: fields as in `ChannelMap`, the columns it uses, and what is in doubt."""

    fields: dict[str, Any]
    columns: tuple[str, ...]
    doubts: list[str] = field(default_factory=list)


def guess_channels(raw: RawLog, time_ns: np.ndarray, *, skip: tuple[str, ...]) -> list[Guess]:
    """A draft of the channels of `raw`; `time_ns` are the times of its rows (for topics each has its own)."""
    columns = {name: values for name, values in _numeric(raw) if name not in skip}
    guesses: list[Guess] = []
    used: set[str] = set()
    for cosine, sine in _direction_pairs(columns):
        used |= {cosine, sine}
        guess = Guess(
            {"column": [cosine, sine], "name": _clean(re.sub(r"(?i)cos", "direction", cosine)), "kind": "direction"},
            (cosine, sine),
        )
        guesses.append(guess)
    for name, values in columns.items():
        if name not in used and not _left_out(name, values):
            guesses.append(_one(raw, name, values))
    guesses = guesses[:_MAX_CHANNELS]
    _unique_names(guesses)
    _derivatives(raw, columns, guesses, time_ns)
    _entities(guesses)
    return guesses


def _numeric(raw: RawLog) -> list[tuple[str, np.ndarray]]:
    found = []
    for name, series in raw.series.items():
        values = series.values
        if values.dtype == object:
            numbers, bad = parse_numbers(values)
            if bad.mean() > 0.1 or not np.isfinite(numbers).any():
                continue
            values = numbers
        if values.dtype.kind in "fiu" and not name.endswith((".log_time", ".publish_time")):
            found.append((name, values))
    return found


def _left_out(name: str, values: np.ndarray) -> bool:
    """Counters and columns without a single number are no signals."""
    if not np.isfinite(values.astype(np.float64)).any():
        return True
    whole = values.ndim == 1 and values.dtype.kind in "iu"
    return (
        whole and (_INDEX.search(name) is not None or bool(len(values) > 2 and np.all(np.diff(values) == 1)))
    ) or name.endswith(".t")


def _direction_pairs(columns: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Pairs named cos and sin whose squares add up to 1."""
    pairs = []
    for name, values in columns.items():
        partner = re.sub(
            r"(?i)cos",
            lambda m: (
                "Sin"
                if m.group(0)[0].isupper() and m.group(0)[1:].islower()
                else "SIN"
                if m.group(0).isupper()
                else "sin"
            ),
            name,
        )
        if partner == name or partner not in columns or values.ndim != 1:
            continue
        length = np.hypot(values.astype(np.float64), columns[partner].astype(np.float64))
        if np.nanmedian(np.abs(length - 1)) < 0.02:
            pairs.append((name, partner))
    return pairs


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


def _one(raw: RawLog, name: str, values: np.ndarray) -> Guess:
    source, stem = unit_of_name(name)
    noted = raw.metadata.get(f"unit:{name}", "")
    if source is None and noted and (noted in UNITS or noted.lower() in ALIASES):
        source = noted if noted in UNITS else ALIASES[noted.lower()]
    guess = Guess({"column": name, "name": _clean(stem)}, (name,))
    if _REWARD.match(name) and values.ndim == 1:
        guess.fields |= {"kind": "scalar", "role": "reward"}
        return guess
    if _DONE.match(name) and values.ndim == 1:
        guess.fields |= {"kind": "event", "role": "termination"}
        return guess
    dimension = unit(source).dimension if source is not None else None
    guess.fields["kind"] = _kind(name, dimension)
    if source is not None:
        guess.fields["unit"] = source
    elif guess.fields["kind"] == "angle":
        largest = float(np.nanmax(np.abs(values)))
        guess.fields["unit"] = "deg" if largest > 30 else "rad"
        guess.doubts.append(f"'{name}' has no unit; its values reach {largest:.3g}: taken for {guess.fields['unit']}")
    elif guess.fields["kind"] == "effort":
        guess.fields["unit"] = (
            "N" if re.search("force|thrust", name, re.I) else "V" if re.search("volt", name, re.I) else "N*m"
        )
        guess.doubts.append(f"'{name}' has no unit; {guess.fields['unit']} by its name")
    else:
        guess.doubts.append(f"'{name}' has no unit: kept as a plain number")
    if values.ndim == 2:
        guess.fields["size"] = int(values.shape[1])
    _role(guess, name, values)
    return guess


def _role(guess: Guess, name: str, values: np.ndarray) -> None:
    if _EXOGENOUS.search(name):
        guess.fields |= {"role": "exogenous", "optional": True, "default": 0.0}
    elif _COMMAND.search(name) and not _MEASURED.search(name):
        guess.fields["role"] = "command"
    elif guess.fields["kind"] == "effort" and not _MEASURED.search(name):
        guess.fields["role"] = "command"
        guess.doubts.append(f"'{name}' was taken for what drives the robot: if it is measured, remove 'role: command'")
    if np.isnan(values.astype(np.float64)).mean() > 0.5:
        guess.doubts.append(f"more than half of '{name}' is missing")


def _kind(name: str, dimension: str | None) -> str:
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


def _clean(name: str) -> str:
    """A channel name: letters, digits, _ and single dots between words."""
    text = re.sub(r"[^A-Za-z0-9_.]+", "_", name.strip().lstrip("/").replace("/", "."))
    words = [re.sub(r"_+", "_", word).strip("_") for word in text.split(".")]
    words = [word if re.match(r"[A-Za-z_]", word) else f"_{word}" for word in words if word]
    return ".".join(words)[:110].rstrip(".") or "channel"


def _unique_names(guesses: list[Guess]) -> None:
    taken: set[str] = set()
    for guess in guesses:
        base, name, copy = guess.fields["name"], guess.fields["name"], 1
        while name in taken:
            copy += 1
            name = f"{base}_{copy}"
        guess.fields["name"] = name
        taken.add(name)


def _derivatives(raw: RawLog, columns: dict[str, np.ndarray], guesses: list[Guess], time_ns: np.ndarray) -> None:
    """Marks a channel as the derivative of the one whose slope it follows, and corrects a missing unit by the ratio."""
    states = [
        g for g in guesses if g.fields.get("role", "state") == "state" and g.fields["kind"] in ("linear", "angle")
    ]
    tracks = {g.columns[0]: _track(raw, g.columns[0], columns[g.columns[0]], time_ns) for g in states}
    fits = []
    for child in states:
        for parent in states:
            if child is parent or not _may_derive(parent, child):
                continue
            p, c = tracks[parent.columns[0]], tracks[child.columns[0]]
            if len(p.time_ns) != len(c.time_ns):
                continue
            slope, correlation = derivative_fit(
                p, c, angle=parent.fields.get("unit") == "rad" and parent.fields["kind"] == "angle"
            )
            ratio = slope * _si(child) / _si(parent)
            plausible = 0.5 < ratio < 2.0 or (not _has_units(parent, child) and (0.5 < abs(slope) < 2.0))
            if correlation > 0.8 and plausible:
                fits.append((correlation, parent, child))
    done: set[int] = set()
    for correlation, parent, child in sorted(fits, key=lambda fit: -fit[0]):
        if id(child) in done or _descends(parent, child, guesses):
            continue
        done.add(id(child))
        child.fields["derivative_of"] = parent.fields["name"]
        _as_rate(parent, child, correlation)


def _as_rate(parent: Guess, child: Guess, correlation: float) -> None:
    child.fields["kind"] = "linear"
    if child.fields.get("unit") in (None, "rad", "deg") and "unit" in parent.fields:
        rate = _RATE_DIMENSION.get(unit(parent.fields["unit"]).dimension)
        if rate is not None:
            per_second = f"{parent.fields['unit']}/s"
            child.fields["unit"] = per_second if per_second in UNITS else rate
    child.doubts = [d for d in child.doubts if "has no unit" not in d]
    child.doubts.append(
        f"derivative of '{parent.fields['name']}': correlation {correlation:.3f} with its slope"
    ) if correlation < 0.97 else None


def _may_derive(parent: Guess, child: Guess) -> bool:
    """Do the units allow it, as far as they are known."""
    given, of = child.fields.get("unit"), parent.fields.get("unit")
    if parent.fields.get("size", 1) != child.fields.get("size", 1):
        return False
    if given is None or of is None:
        return given is None or unit(given).dimension in (
            "angular velocity",
            "velocity",
            "acceleration",
            "angular acceleration",
        )
    wanted = _RATE_DIMENSION.get(unit(of).dimension)
    guessed = any("has no unit" in doubt for doubt in child.doubts)
    return wanted is not None and (unit(wanted).dimension == unit(given).dimension or guessed)


def _has_units(parent: Guess, child: Guess) -> bool:
    return (
        "unit" in parent.fields
        and "unit" in child.fields
        and not any("has no unit" in d for d in parent.doubts + child.doubts)
    )


def _si(guess: Guess) -> float:
    return unit(guess.fields.get("unit", "1")).scale


def _descends(guess: Guess, of: Guess, guesses: list[Guess]) -> bool:
    """Is `guess` already a derivative of `of`, directly or not."""
    by_name = {g.fields["name"]: g for g in guesses}
    while (name := guess.fields.get("derivative_of")) is not None:
        guess = by_name[name]
        if guess is of:
            return True
    return False


def _track(raw: RawLog, name: str, values: np.ndarray, time_ns: np.ndarray) -> Track:
    own = raw.series[name].time_ns
    times = time_ns if own is None else own
    values = values.astype(np.float64).reshape(len(values), -1)
    keep = np.concatenate([[True], np.diff(times) > 0]) if len(times) else np.zeros(0, bool)
    return Track(times[keep][:50_000], values[keep][:50_000])


def _entities(guesses: list[Guess]) -> None:
    """A channel and its derivatives belong to one entity, called like the channel they descend from."""
    by_name = {g.fields["name"]: g for g in guesses}
    children = {g.fields["derivative_of"] for g in guesses if "derivative_of" in g.fields}
    for guess in guesses:
        root = guess
        while "derivative_of" in root.fields:
            root = by_name[root.fields["derivative_of"]]
        if guess is not root or guess.fields["name"] in children:
            guess.fields["entity"] = root.fields["name"].replace(".", "_")
