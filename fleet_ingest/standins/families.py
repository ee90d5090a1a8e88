"""Families of stand-in robots, drawn from a seed: for pretraining, and for benchmarks on robots never seen.

A robot is a function of (split, family, seed, index), so training and test robots never coincide. `chain3` is held out
from training as a family: the drawn chains never hold three links in series. This module runs no physics.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from fleet_ingest.standins.bodies import GRAVITY, SUBSTEP_S, Body, Joint
from storage.contracts.errors import InputError, UnknownName

_DRAW_VERSION = "families-1"  # another string draws other robots
BENCHMARK = ("cartpole", "pendulum", "double_pendulum", "reacher2")
HELD_OUT = ("chain3",)
PRETRAINING = (*BENCHMARK, "cart_chain", "chain")
FAMILIES = (*PRETRAINING, *HELD_OUT)
BENCHMARK_RATE_HZ = 50.0
MAX_DELAY_S = 0.06
MAX_LAG_S = 0.03

_Parents = tuple[str | None, ...]
_PARENTS: dict[str, _Parents] = {
    "cartpole": (None, "cart"),
    "pendulum": (None,),
    "double_pendulum": (None, "link1"),
    "reacher2": (None, "link1"),
    "chain3": (None, "link1", "link2"),
}


class _Draw:
    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("/".join(map(str, (_DRAW_VERSION, *key))).encode()).digest()
        self.rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))

    def between(self, low: float, high: float) -> float:
        return float(low + (high - low) * self.rng.random())

    def about(self, center: float, factor: float) -> float:
        """Between center / factor and center * factor, evenly in the logarithm."""
        return float(center * math.exp(self.between(-math.log(factor), math.log(factor))))

    def pick(self, n: int) -> int:
        return int(self.rng.integers(n))


def population(n: int, seed: int, families: Sequence[str] = PRETRAINING, split: str = "train") -> list[Body]:
    """`n` robots, the families in turn; robot i does not depend on `n`. `split` is `train` or `test`.

    Raises UnknownName for a family or split that is not there, InputError for training on a held-out family.
    """
    for family in families:
        if family not in FAMILIES:
            raise UnknownName("family of stand-ins", family, FAMILIES)
        if family in HELD_OUT and split == "train":
            raise InputError(f"family '{family}' is held out; it has robots in the split 'test' only")
    if split not in ("train", "test"):
        raise UnknownName("split", split, ("train", "test"))
    return [draw(families[i % len(families)], seed, i, split) for i in range(n)]


def draw(family: str, seed: int, index: int, split: str) -> Body:
    """One robot: masses x/÷ 2, lengths x/÷ 1.5, friction x/÷ 4 about values that suit its size, delay 0 to 60 ms."""
    d = _Draw(split, family, seed, index)
    parents, driven, up, sign, rate_hz = _plan(family, d)
    cart = parents[0] is None and len(parents) > 1 and parents[1] == "cart"
    scale_m, scale_kg = (0.4, 0.25) if family in _PARENTS else (d.about(0.3, 1.8), d.about(0.2, 2.5))
    names = [("cart" if cart else "link1"), *(f"link{i + (0 if cart else 1)}" for i in range(1, len(parents)))]
    lengths = [0.0 if name == "cart" else d.about(scale_m, 1.5) for name in names]
    masses = [d.about(3 * scale_kg if name == "cart" else scale_kg, 2.0) for name in names]
    payload = d.between(0.0, 1.0) * masses[-1]
    joints = tuple(_joint(d, names, lengths, masses, parents, i, bool(driven[i]), up) for i in range(len(names)))
    delay_s = SUBSTEP_S * d.pick(round(MAX_DELAY_S / SUBSTEP_S) + 1)
    serial = f"{family}-{split}-{seed}-{index:04d}"
    return Body(family, serial, rate_hz, up, sign, joints, payload, delay_s, d.between(0.0, MAX_LAG_S))


def _plan(family: str, d: _Draw) -> tuple[_Parents, Sequence[bool], int, int, float]:
    """Parents, which joints are driven, `up`, `sign` and control rate."""
    if family in _PARENTS:
        parents = _PARENTS[family]
        up = {"cartpole": 1, "reacher2": 0}.get(family, -1)
        driven = [True, False] if family == "cartpole" else [True] * len(parents)
        return parents, driven, up, 1, BENCHMARK_RATE_HZ
    links = 1 + d.pick(3)
    cart = family == "cart_chain"
    first: _Parents = (None, "cart") if cart else (None,)
    # Two links in series, or two on the first one: three in series are the family held out.
    parents = (*first, *("link1" for _ in range(links - 1)))
    driven = [bool(bit) for bit in d.rng.integers(0, 2, len(parents))]
    if not any(driven):
        driven[d.pick(len(parents))] = True
    up = (-1, -1, 1)[d.pick(3)] if cart else (-1, -1, -1, 1, 0)[d.pick(5)]
    return parents, driven, up, (1, -1)[d.pick(2)], (50.0, 100.0)[d.pick(2)]


def _joint(
    d: _Draw, names: list[str], lengths: list[float], masses: list[float], parents: _Parents, i: int, driven: bool,
    up: int,
) -> Joint:  # fmt: skip
    name = names[i]
    if name == "cart":
        total = sum(masses)
        return Joint(
            name=name, prismatic=True, parent=None, length_m=0.0, mass_kg=masses[i],
            damping=d.about(0.4 * total, 4.0), friction=d.about(0.015 * total * GRAVITY, 4.0),
            armature=d.about(0.02 * total, 2.0), gear=d.between(0.85, 1.1),
            command_limit=_round(d.about(0.8 * total * GRAVITY, 1.5)) if driven else None,
            stop_m=_round(d.about(3.0 * max(lengths), 1.5)), noise=(d.about(4e-4, 2.2), d.about(6e-3, 2.2)),
        )  # fmt: skip
    # What hangs on this joint, stretched out: its static torque and inertia set the scale of everything else.
    carried = [j for j in range(len(names)) if j == i or _ancestor(names, parents, j, i)]
    far = [sum(lengths[k] for k in carried if k == j or _ancestor(names, parents, j, k)) for j in carried]
    torque = sum(masses[j] * GRAVITY * (reach - lengths[j] / 2) for j, reach in zip(carried, far, strict=True))
    inertia = sum(masses[j] * (reach - lengths[j] / 2) ** 2 for j, reach in zip(carried, far, strict=True))
    natural = math.sqrt(torque / inertia)
    strength = 0.35 if up == 0 else 0.8
    return Joint(
        name=name, prismatic=False, parent=parents[i], length_m=_round(lengths[i]), mass_kg=masses[i],
        damping=d.about((0.05 if driven else 0.012) * torque / natural, 4.0), friction=d.about(0.01 * torque, 4.0),
        armature=d.about(0.02 * inertia, 2.0), gear=d.between(0.85, 1.1),
        command_limit=_round(d.about(strength * torque, 1.8)) if driven else None,
        stop_m=None, noise=(d.about(8e-4, 2.5), d.about(4e-3 * natural, 2.5)),
    )  # fmt: skip


def _ancestor(names: list[str], parents: _Parents, j: int, i: int) -> bool:
    """Whether joint `i` stands between joint `j` and the ground."""
    parent = parents[j]
    while parent is not None:
        at = names.index(parent)
        if at == i:
            return True
        parent = parents[at]
    return False


def _round(value: float) -> float:
    """To three digits, as on a data sheet."""
    return float(f"{value:.3g}")
