"""Quantities in operators' sentences: "700 g", "0.6 to 0.8 kg", "half a kilo", "x1.5", in SI units by kind.

A sentence becomes opinions: the words, with the quantities taken out and named by their unit, and the values. So "0.7
kg" and "700 g" are the same opinion. Numbers within a word (a joint's name) are not quantities. What the words mean is
left to `encoders.notes`.
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# kind -> (name that stands for its quantities among the words, smallest value that matters, its units in SI)
_DEGREE = math.pi / 180
KINDS: dict[str, tuple[str, float, dict[str, float]]] = {
    "mass": ("kilograms", 0.01, {
        "kg": 1, "g": 1e-3, "mg": 1e-6, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.028349523, "kilo": 1, "kilos": 1,
        "kilogram": 1, "kilograms": 1, "gram": 1e-3, "grams": 1e-3,
    }),
    "length": ("metres", 0.01, {
        "m": 1, "cm": 1e-2, "mm": 1e-3, "metre": 1, "metres": 1, "meter": 1, "meters": 1, "inch": 0.0254,
        "inches": 0.0254,
    }),
    "force": ("newtons", 0.1, {"N": 1, "newton": 1, "newtons": 1}),
    "torque": ("newton metres", 0.01, {"Nm": 1, "N*m": 1, "N·m": 1, "mNm": 1e-3}),
    "time": ("seconds", 0.001, {
        "s": 1, "ms": 1e-3, "us": 1e-6, "sec": 1, "second": 1, "seconds": 1, "millisecond": 1e-3, "milliseconds": 1e-3,
    }),
    "angle": ("degrees", 0.01, {"deg": _DEGREE, "degree": _DEGREE, "degrees": _DEGREE, "°": _DEGREE, "rad": 1}),
    "share": ("percent", 0.01, {"%": 0.01, "percent": 0.01}),
    "factor": ("times", 0.01, {"times": 1, "x": 1, "×": 1}),
    "rate": ("hertz", 0.1, {"Hz": 1}),
    "speed": ("metres per second", 0.01, {"m/s": 1}),
    "voltage": ("volts", 0.1, {"V": 1}),
    "other": ("number", 0.01, {}),
}  # fmt: skip
_KIND_NAMES = tuple(KINDS)
_PER_KIND = 4
WIDTH = _PER_KIND * len(KINDS)
_UNITS = {unit.lower(): (kind, size) for kind, (_, _, units) in KINDS.items() for unit, size in units.items()}
_SPOKEN = {"half a": 0.5, "half an": 0.5, "a quarter": 0.25, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}
_MOST = 1e9


def _either(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_NUMBER = r"[-−]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+(?:,\d+)?)(?:\.\d+)?(?:e[-+]?\d+)?"
_UNIT = _either(_UNITS)
_END = r"(?![\w/*·])"
_QUANTITY = re.compile(
    rf"(?<![\w.,:/-])(?:"
    rf"between\s+(?P<from>{_NUMBER})\s*(?:{_UNIT})?\s+and\s+(?P<till>{_NUMBER})\s*(?P<between_unit>{_UNIT}){_END}"
    rf"|(?P<low>{_NUMBER})\s*(?:{_UNIT})?\s*(?:-|–|to)\s*(?P<high>{_NUMBER})\s*(?P<range_unit>{_UNIT}){_END}"
    rf"|(?P<mean>{_NUMBER})\s*(?:±|\+/?-)\s*(?P<spread>{_NUMBER})\s*(?P<spread_unit>{_UNIT}){_END}"
    rf"|(?P<number>{_NUMBER})\s*(?P<unit>{_UNIT}){_END}"
    rf"|(?:[x×]|factor(?:\s+of)?)\s*(?P<factor>{_NUMBER})(?!\w)"
    rf"|(?P<spoken>{_either(_SPOKEN)})\s+(?P<spoken_unit>{_either(u for u in _UNITS if len(u) > 3)}){_END}"
    rf"|(?P<plain>{_NUMBER})(?![\w:/]|[.,]\d))",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"[^\S\n]+")
_SENTENCES = re.compile(r"(?:(?<=[^\d])[.]|[.](?=\s|$)|[;!?\n])+")
_PARTS = re.compile(r",(?=\s)|\s(?:and|but|while)\s", re.IGNORECASE)


class Opinion(NamedTuple):
    """`words` without values; `numbers` float32 [WIDTH]: per kind whether one is there, its size twice, its range;
    `said`: the part of the notes as written."""

    words: str
    numbers: np.ndarray
    said: str


class _Value(NamedTuple):
    """SI."""

    kind: str
    low: float
    high: float

    @classmethod
    def of(cls, unit: str, low: float, high: float) -> "_Value":
        kind, size = _UNITS[unit.lower()]
        # to nine digits, so that 700 g is 0.7 kg
        return cls(kind, float(f"{min(low, high) * size:.9g}"), float(f"{max(low, high) * size:.9g}"))


def opinions(notes: str) -> tuple[Opinion, ...]:
    """What `notes` say, each thing once, in order: one opinion per sentence, or per part of a sentence of several
    quantities."""
    found: dict[tuple[str, bytes], Opinion] = {}
    # lines end sentences; any other run of blanks is one, since matching takes time quadratic in its length
    for sentence in _SENTENCES.split(_BLANKS.sub(" ", notes)):
        parts = [sentence]
        if len(_QUANTITY.findall(sentence)) > 1:
            parts = _with_values(sentence)
        for part in parts:
            opinion = _opinion(part)
            if opinion.words:
                found.setdefault((opinion.words.lower(), opinion.numbers.tobytes()), opinion)
    return tuple(found.values())


def _with_values(sentence: str) -> list[str]:
    """Cut at commas and conjunctions outside quantities; a part without a quantity goes with the one before."""
    inside = [match.span() for match in _QUANTITY.finditer(sentence)]
    cuts = [m.span() for m in _PARTS.finditer(sentence) if not any(a < m.end() and m.start() < b for a, b in inside)]
    edges = [0, *(edge for cut in cuts for edge in cut), len(sentence)]
    found: list[str] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        part = sentence[start:end]
        if found and (_QUANTITY.search(part) is None or _QUANTITY.search(found[-1]) is None):
            found[-1] += ", " + part.strip()
        else:
            found.append(part)
    return found


def _opinion(part: str) -> Opinion:
    numbers = np.zeros((len(KINDS), _PER_KIND), dtype=np.float32)

    def taken(match: re.Match[str]) -> str:
        value = _value({name: text for name, text in match.groupdict().items() if text is not None})
        name, unit, _ = KINDS[value.kind]
        low, high = (_compressed(end, unit) for end in (value.low, value.high))
        center = (value.low + value.high) / 2
        row = (1.0, _compressed(center, unit), _compressed(center, 50 * unit), high - low)
        numbers[_KIND_NAMES.index(value.kind)] = row
        return f" {name} "

    words = " ".join(_QUANTITY.sub(taken, part).split()).replace(" ,", ",").strip(" ,:-")
    return Opinion(words, numbers.reshape(-1), part)


def _value(found: dict[str, str]) -> _Value:
    """Of the named groups of a match."""
    if "from" in found:
        return _Value.of(found["between_unit"], _parsed(found["from"]), _parsed(found["till"]))
    if "low" in found:
        return _Value.of(found["range_unit"], _parsed(found["low"]), _parsed(found["high"]))
    if "mean" in found:
        mean, spread = _parsed(found["mean"]), _parsed(found["spread"])
        return _Value.of(found["spread_unit"], mean - spread, mean + spread)
    if "spoken" in found:
        value = _SPOKEN[" ".join(found["spoken"].lower().split())]
        return _Value.of(found["spoken_unit"], value, value)
    if "number" in found:
        return _Value.of(found["unit"], _parsed(found["number"]), _parsed(found["number"]))
    value = _parsed(found.get("factor") or found["plain"])
    return _Value("factor" if "factor" in found else "other", value, value)


def _parsed(text: str) -> float:
    """A comma before three digits separates thousands, unless nothing else is before it but a zero; any other is a
    decimal one."""
    text = text.replace("−", "-")
    if re.match(r"-?[1-9]\d{0,2}(?:,\d{3})+(?!\d)", text):
        text = text.replace(",", "")
    value = float(text.replace(",", "."))
    return min(max(value, -_MOST), _MOST)


def _compressed(value: float, unit: float) -> float:
    """Logarithmic well above `unit`, linear below it."""
    return math.copysign(math.log1p(abs(value) / unit) / 3.0, value)
