"""Guesses what the columns of a table are: kind, role, unit, which is the derivative of which, cosine and sine pairs.

Names give the first guess, numbers confirm or doubt it. This module knows words that people use for signals, no robot.
"""

import re

import numpy as np

from fleet_ingest.formats.arrow import parse_numbers
from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.guess_definitions import MANY, brief_topics, by_definition, named_parts, topic_of
from fleet_ingest.guess_words import DONE, REWARD, Guess, clean_name, kind_of, left_out, set_role, unit_of_name
from fleet_ingest.quality import derivative_fit
from fleet_ingest.resample import Track
from storage.contracts.units import ALIASES, UNITS, unit

_RATE_DIMENSION = {"angle": "rad/s", "length": "m/s", "velocity": "m/s^2", "angular velocity": "rad/s^2"}
_MAX_CHANNELS = 256
_ENOUGH = 4


def guess_channels(raw: RawLog, time_ns: np.ndarray, *, skip: tuple[str, ...]) -> list[Guess]:
    """A draft of the channels of `raw`; `time_ns` are the times of its rows (for topics each has its own)."""
    columns = {name: values for name, values in _numeric(raw) if name not in skip}
    guesses: list[Guess] = []
    used: set[str] = set()
    for guess in by_definition(raw, columns):
        used |= set(guess.columns)
        guesses.append(guess)
    if len(guesses) >= _ENOUGH or (guesses and len(columns) > MANY):
        columns = {name: values for name, values in columns.items() if name in used}
    for cosine, sine in _direction_pairs({n: v for n, v in columns.items() if n not in used}):
        used |= {cosine, sine}
        guess = Guess(
            {
                "column": [cosine, sine],
                "name": clean_name(re.sub(r"(?i)cos", "direction", cosine)),
                "kind": "direction",
            },
            (cosine, sine),
        )
        guesses.append(guess)
    for name, values in columns.items():
        if name not in used and not left_out(name, values):
            guesses += named_parts(raw, name, values) or [_one(raw, name, values)]
    brief = brief_topics(raw)
    guesses = [g for g in guesses if g.fields.get("role", "state") != "state" or topic_of(raw, g) not in brief]
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


def _one(raw: RawLog, name: str, values: np.ndarray) -> Guess:
    source, stem = unit_of_name(name)
    noted = raw.metadata.get(f"unit:{name}", "")
    if source is None and noted and (noted in UNITS or noted.lower() in ALIASES):
        source = noted if noted in UNITS else ALIASES[noted.lower()]
    guess = Guess({"column": name, "name": clean_name(stem)}, (name,))
    if REWARD.match(name) and values.ndim == 1:
        guess.fields |= {"kind": "scalar", "role": "reward"}
        return guess
    if DONE.match(name) and values.ndim == 1:
        guess.fields |= {"kind": "event", "role": "termination"}
        return guess
    dimension = unit(source).dimension if source is not None else None
    guess.fields["kind"] = kind_of(name, dimension)
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
    set_role(guess, name, values)
    return guess


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
        g
        for g in guesses
        if g.fields.get("role", "state") == "state"
        and g.fields["kind"] in ("linear", "angle")
        and g.columns[0] in columns
    ]
    tracks = {g.columns[0]: _track(raw, g.columns[0], columns[g.columns[0]], time_ns) for g in states}
    fits = []
    for child in states:
        for parent in states:
            if child is parent or "derivative_of" in child.fields or not _may_derive(parent, child):
                continue
            p, c = tracks[parent.columns[0]], tracks[child.columns[0]]
            if (
                len(p.time_ns) != len(c.time_ns)
                or raw.series[parent.columns[0]].group != raw.series[child.columns[0]].group
            ):
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
