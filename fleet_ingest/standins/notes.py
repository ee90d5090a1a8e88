"""What operators would write about a stand-in: sentences on what its sensors do not show, exact, vague or beside it.

Sentences are a function of (robot, seed, episode, split). Phrasings of the split `test` never occur in `train`. Exact
values are as read from a scale or a tape: to two digits. Every sentence is true of its robot.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fleet_ingest.standins.bodies import GRAVITY, Body, Joint
from storage.contracts.episode import Episode
from storage.contracts.errors import UnknownName

SPLITS = ("train", "test")
_Phrases = dict[str, tuple[str, ...]]

EXACT: dict[str, _Phrases] = {
    "payload.mass": {
        "train": (
            "payload {kg} kg", "payload {g} g", "it carries a load of {g} grams", "weight at the tip: {kg} kg",
            "loaded with {kg} kilograms today", "{g} g screwed to the end of the last link",
        ),
        "test": ("cargo of {kg} kg", "there is a {g} g mass on the end", "tip load weighed at {kg} kg"),
    },
    "mass": {
        "train": (
            "{name} weighs {kg} kg", "mass of {name} is {g} g", "put {name} on the scale: {kg} kg",
            "{name}: {g} grams without payload",
        ),
        "test": ("{name} came to {kg} kg on the balance", "we measured {g} g for {name}"),
    },
    "length": {
        "train": ("{name} is {cm} cm long", "length of {name}: {m} m", "{name} measures {mm} mm from joint to end"),
        "test": ("{name} reaches {cm} cm", "from axis to tip {name} has {m} m"),
    },
    "command.delay": {
        "train": ("commands arrive {ms} ms late", "delay of about {ms} ms", "latency {s} s on the command bus"),
        "test": ("it reacts {ms} ms after the command", "dead time is {s} s"),
    },
    "friction": {
        "train": ("friction of {name} is {n} {unit}", "{name} starts to move at {n} {unit}"),
        "test": ("it takes {n} {unit} to get {name} moving",),
    },
}  # fmt: skip

VAGUE: dict[tuple[str, str], _Phrases] = {
    ("payload.mass", "high"): {
        "train": ("heavy payload", "carries a lot", "the load at the tip is really heavy"),
        "test": ("it hauls a massive object", "loaded to the brim"),
    },
    ("payload.mass", "low"): {
        "train": ("hardly any payload", "running almost empty", "only a light thing at the tip"),
        "test": ("next to nothing mounted", "it carries a feather"),
    },
    ("friction", "high"): {
        "train": ("{name} is stiff", "{name} is hard to turn, needs grease", "worn bearing in {name}"),
        "test": ("{name} feels sticky", "dry bearing at {name}"),
    },
    ("friction", "low"): {
        "train": ("{name} runs freely", "{name} was greased this morning", "new bearing in {name}"),
        "test": ("{name} turns very smoothly",),
    },
    ("command.delay", "high"): {
        "train": ("slow to respond", "the bus is overloaded, commands come late"),
        "test": ("it lags behind the joystick",),
    },
    ("command.delay", "low"): {
        "train": ("responds at once", "direct cable, no noticeable delay"),
        "test": ("reacts instantly",),
    },
}

UNKNOWN: _Phrases = {
    "train": (
        "opaque bottle, contents unknown", "did not weigh the load", "somebody put a box on it, no idea what is inside",
    ),
    "test": ("the container is sealed, nobody knows what it holds", "payload was not measured"),
}  # fmt: skip

BESIDE: _Phrases = {
    "train": (
        "it rained all day", "Ana was on shift", "battery changed before the run", "third run of the morning",
        "the lab was 23 degrees warm", "camera 2 was off",
    ),
    "test": ("Jonas stood in for Mia", "sunny, windows open", "we stopped for lunch after 40 minutes"),
}  # fmt: skip


def notes_of(body: Body, seed: int, episode: int = 0, split: str = "train") -> tuple[str, ...]:
    """One to four sentences that an operator wrote about `body`, about half of them with a value. Raises UnknownName
    for another split."""
    if split not in SPLITS:
        raise UnknownName("split of phrasings", split, SPLITS)
    digest = hashlib.sha256(f"notes-1/{split}/{body.serial}/{seed}/{episode}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    kinds = (_exact, _exact, _exact, _vague, _unknown, _beside)
    return tuple(dict.fromkeys(kinds[rng.integers(len(kinds))](rng, body, split) for _ in range(rng.integers(1, 5))))


def with_notes(body: Body, episodes: Sequence[Episode], seed: int, split: str = "train") -> list[Episode]:
    """The episodes of `body`, each with what was written about it."""
    return [replace(episode, notes=notes_of(body, seed, i, split)) for i, episode in enumerate(episodes)]


def exact_note(body: Body, quantity: str, phrase: str) -> str:
    """`phrase` with the true value of `payload.mass`, `command.delay` or `<joint>.<mass|length|friction>`."""
    value = body.quantity(quantity)
    owner = quantity.rpartition(".")[0]
    unit = "N" if any(joint.name == owner and joint.prismatic for joint in body.joints) else "Nm"
    return phrase.format(
        name=owner, unit=unit, n=f"{value:.2g}", kg=f"{value:.2g}", g=f"{_rounded(1e3 * value):g}",
        m=f"{value:.2g}", cm=f"{_rounded(1e2 * value):g}", mm=f"{_rounded(1e3 * value):g}",
        s=f"{value:.2g}", ms=f"{_rounded(1e3 * value):g}",
    )  # fmt: skip


def _exact(rng: np.random.Generator, body: Body, split: str) -> str:
    links = [joint.name for joint in body.joints if not joint.prismatic]
    places = {
        "payload.mass": "payload.mass", "command.delay": "command.delay", "length": f"{_one(rng, links)}.length",
        "mass": f"{_one(rng, [joint.name for joint in body.joints])}.mass",
        "friction": f"{_one(rng, [joint.name for joint in body.joints])}.friction",
    }  # fmt: skip
    kind = _one(rng, ("payload.mass", *EXACT))  # what a robot carries is what people write about most
    return exact_note(body, places[kind], _one(rng, EXACT[kind][split]))


def _vague(rng: np.random.Generator, body: Body, split: str) -> str:
    joint = body.joints[rng.integers(len(body.joints))]
    ratios = {
        "payload.mass": (body.payload_kg / body.joints[-1].mass_kg, 0.2, 0.6),
        "friction": (joint.friction / usual_friction(body, joint), 0.6, 1.7),
        "command.delay": (body.delay_s, 0.01, 0.04),
    }
    fitting = [(name, "high") for name, (ratio, _, high) in ratios.items() if ratio > high]
    fitting += [(name, "low") for name, (ratio, low, _) in ratios.items() if ratio < low]
    if not fitting:
        return _unknown(rng, body, split)
    return _one(rng, VAGUE[fitting[rng.integers(len(fitting))]][split]).format(name=joint.name)


def _unknown(rng: np.random.Generator, body: Body, split: str) -> str:
    del body
    return _one(rng, UNKNOWN[split])


def _beside(rng: np.random.Generator, body: Body, split: str) -> str:
    del body
    return _one(rng, BESIDE[split])


def usual_friction(body: Body, joint: Joint) -> float:
    """Coulomb friction (N or Nm) that is neither high nor low: a hundredth of what the joint holds up, or pushes."""
    if joint.prismatic:
        return 0.015 * GRAVITY * sum(other.mass_kg for other in body.joints)
    torque, todo = 0.0, [(joint, 0.0)]
    while todo:
        at, reach = todo.pop()
        torque += at.mass_kg * GRAVITY * (reach + at.length_m / 2)
        todo += [(child, reach + at.length_m) for child in body.joints if child.parent == at.name]
    return 0.01 * torque


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
