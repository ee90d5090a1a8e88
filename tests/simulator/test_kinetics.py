"""Inertia against equations of motion written by hand: a double pendulum, a cart with a pole, a rotary pendulum."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from simulator.kinetics import Inertia, Ties, accelerations, solved
from simulator.mechanism import Mechanism
from simulator.structure import Shape, Structure
from storage.contracts.channel import Channel, Kind
from storage.contracts.robot import Entity, RobotSpec

GRAVITY = 9.81


def robot(*joints: Entity, kinds: tuple[Kind, ...]) -> RobotSpec:
    channels = []
    for joint, kind in zip(joints, kinds, strict=True):
        position, unit = f"{joint.name}.q", "rad" if kind == Kind.ANGLE else "m"
        channels.append(Channel(name=position, kind=kind, unit=unit, entity=joint.name))
        rate = Channel(name=f"{joint.name}.v", kind=Kind.LINEAR, unit=f"{unit}/s", entity=joint.name)
        channels.append(rate.model_copy(update={"derivative_of": position}))
    return RobotSpec(name="r", control_rate_hz=100, channels=tuple(channels), entities=joints)


def joint(name: str, parent: str | None = None, axis: tuple[float, float, float] | None = (0, 1, 0)) -> Entity:
    return Entity(name=name, type="joint", joint_type="revolute", parent=parent, axis=axis)


def mechanism(spec: RobotSpec) -> Mechanism:
    found = Structure(spec, Shape.of([spec], history_s=0.1, delay_s=0.0)).mechanism
    assert found is not None
    return found


DOUBLE = robot(joint("a"), joint("b", "a"), kinds=(Kind.ANGLE, Kind.ANGLE))
CART = robot(joint("cart"), joint("pole", "cart"), kinds=(Kind.LINEAR, Kind.ANGLE))
FURUTA = robot(joint("arm", axis=(0, 0, 1)), joint("pole", "arm", (1, 0, 0)), kinds=(Kind.ANGLE, Kind.ANGLE))


def moved(spec: RobotSpec, terms: dict[tuple[int, int], tuple[float, ...]], q: Tensor, v: Tensor, f: Tensor) -> Tensor:
    """Accelerations [B, n] with `terms`: (row of y, term) -> coefficient of sine and of cosine; row -1 is energy."""
    found = mechanism(spec)
    bodies, count = found.carried.shape
    sine, cosine = torch.zeros(2, 3 * bodies + 1, count, 1, len(q))
    for (row, term), (s, c) in terms.items():
        sine[row, term], cosine[row, term] = s, c
    inertia = Inertia(sine, cosine, torch.full((q.shape[1], 1, len(q)), 1e-9))

    def internal(x: Tensor) -> Tensor:
        return x.T[None, :, :, None]

    unit = torch.ones(1, q.shape[1], 1, 1)
    out = accelerations(inertia, Ties.of(found), internal(q), internal(v), internal(f), unit, None)
    return out[0, :, :, 0].T


@pytest.fixture
def states() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, v, f = (torch.randn(64, 2, generator=generator) * s for s in (2.0, 3.0, 1.0))
    return q, v, f


def test_a_double_pendulum_of_point_masses(states: tuple[Tensor, Tensor, Tensor]) -> None:
    """M(q) a = f - c(q, v) - g(q) by hand, with relative angles; at speeds that nothing was fitted to."""
    q, v, f = states
    m1, m2, l1, l2 = 0.7, 0.4, 0.5, 0.3
    first, second = math.sqrt(m1), math.sqrt(m2)
    terms = {
        (0, 0): (first * l1, 0.0), (1, 0): (0.0, -first * l1),  # bob 1, terms: angle of a, angle of a and b
        (3, 0): (second * l1, 0.0), (4, 0): (0.0, -second * l1),
        (3, 1): (second * l2, 0.0), (4, 1): (0.0, -second * l2),
        (-1, 0): (0.0, -(m1 + m2) * GRAVITY * l1), (-1, 1): (0.0, -m2 * GRAVITY * l2),
    }  # fmt: skip
    h = m2 * l1 * l2
    sin2, cos2 = torch.sin(q[:, 1]), torch.cos(q[:, 1])
    m12 = m2 * l2**2 + h * cos2
    m11, m22 = (m1 + m2) * l1**2 + m12 + h * cos2, torch.full_like(m12, m2 * l2**2)
    low = m2 * GRAVITY * l2 * torch.sin(q[:, 0] + q[:, 1])
    r1 = f[:, 0] + h * sin2 * (2 * v[:, 0] * v[:, 1] + v[:, 1] ** 2)
    r1 = r1 - (m1 + m2) * GRAVITY * l1 * torch.sin(q[:, 0]) - low
    r2 = f[:, 1] - h * sin2 * v[:, 0] ** 2 - low
    det = m11 * m22 - m12**2
    by_hand = torch.stack([(m22 * r1 - m12 * r2) / det, (m11 * r2 - m12 * r1) / det], 1)
    usual = by_hand.abs().amax(1) < 30  # far above, accelerations are bent
    assert usual.sum() > 20
    straight = by_hand * torch.rsqrt(1.0 + (by_hand / 80.0) ** 2)
    torch.testing.assert_close(moved(DOUBLE, terms, q, v, f)[usual], straight[usual], rtol=1e-3, atol=1e-3)


def test_a_cart_carries_its_pole(states: tuple[Tensor, Tensor, Tensor]) -> None:
    q, v, f = states
    big, small, length = 1.5, 0.4, 0.5
    pole, cart = mechanism(CART).turns.tolist().index(True), mechanism(CART).turns.tolist().index(False)
    root = math.sqrt(small)
    terms = {
        (0, cart): (math.sqrt(big), 0.0), (3, cart): (root, 0.0), (3, pole): (root * length, 0.0),
        (4, pole): (0.0, -root * length), (-1, pole): (0.0, -small * GRAVITY * length),
    }  # fmt: skip
    sin, cos = torch.sin(q[:, 1]), torch.cos(q[:, 1])
    m11, m12, m22 = big + small, small * length * cos, small * length**2
    r1 = f[:, 0] + small * length * sin * v[:, 1] ** 2
    r2 = f[:, 1] - small * GRAVITY * length * sin
    det = m11 * m22 - m12**2
    by_hand = torch.stack([(m22 * r1 - m12 * r2) / det, (m11 * r2 - m12 * r1) / det], 1)
    straight = by_hand * torch.rsqrt(1.0 + (by_hand / 80.0) ** 2)
    torch.testing.assert_close(moved(CART, terms, q, v, f), straight, rtol=1e-3, atol=1e-3)


def test_axes_that_are_not_parallel_have_sums_and_differences_of_angles() -> None:
    found = mechanism(FURUTA)
    rows = {tuple(row) for row in found.combination.tolist()}
    assert rows == {(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, -1.0)}
    assert {tuple(row) for row in mechanism(DOUBLE).combination.tolist()} == {(1.0, 0.0), (1.0, 1.0)}


def test_a_body_is_moved_by_the_joints_that_carry_it_only() -> None:
    assert mechanism(DOUBLE).carried.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    apart = robot(joint("a"), joint("b"), kinds=(Kind.ANGLE, Kind.ANGLE))
    assert mechanism(apart).carried.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_what_does_not_turn_has_no_mechanism() -> None:
    spec = robot(joint("x"), joint("y", "x"), kinds=(Kind.LINEAR, Kind.LINEAR))
    assert Structure(spec, Shape.of([spec], history_s=0.1, delay_s=0.0)).mechanism is None


def test_elimination_solves_what_lapack_solves() -> None:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(7, 5, 5, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(5, dtype=torch.float64)
    right = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    found = solved(matrix.permute(1, 2, 0), right.T)
    np.testing.assert_allclose(found.T, torch.linalg.solve(matrix, right), rtol=1e-8)


def test_what_is_gone_neither_moves_nor_weighs(states: tuple[Tensor, Tensor, Tensor]) -> None:
    """Without its second link a double pendulum swings as one."""
    q, v, f = (x[:, :1] for x in states)
    spec, both = robot(joint("a"), kinds=(Kind.ANGLE,)), DOUBLE
    one = mechanism(spec)
    sine = torch.zeros(4, len(one.turns), 1, len(q))
    sine[0, 0], sine[-1, 0] = 0.6, 0.0
    alone = accelerations(
        Inertia(sine, 0.5 * sine, torch.ones(1, 1, len(q))), Ties.of(one), q.T[None, :, :, None],
        v.T[None, :, :, None], f.T[None, :, :, None], torch.ones(1, 1, 1, 1), None,
    )  # fmt: skip
    wide = torch.zeros(7, 2, 1, len(q))
    wide[0, 0], wide[3] = 0.6, 2.0
    pair = [torch.cat([x.T[None, :, :, None]] * 2, 1) for x in (q, v, f)]
    alive = torch.ones(1, 2, len(q), 1)
    alive[:, 1] = 0.0
    inertia = Inertia(wide, 0.5 * wide, torch.ones(2, 1, len(q)))
    found = accelerations(inertia, Ties.of(mechanism(both)), *pair, torch.ones(1, 2, 1, 1), alive)
    torch.testing.assert_close(found[:, :1], alone)
