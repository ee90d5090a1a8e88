"""The optimiser: equal bits after going on, members apart, and a path that does not depend on the axes."""

import torch
from torch import Tensor

from simulator.config import SimulatorConfig
from simulator.optimiser import Optimiser

LAYOUT = {"w": (6, 4), "b": (3,)}
CONFIG = SimulatorConfig(weight_decay=0.0)


def gradient_of(theta: Tensor, seed: int) -> Tensor:
    """Of a quadratic bowl a thousand times steeper in some directions, none of which is an axis."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(99)))[0]
    bowl = turn @ torch.diag(torch.logspace(0, -3, 6)) @ turn.T
    own = theta[:, :24].unflatten(1, (6, 4))
    noise = 1e-4 * torch.randn(theta.shape, generator=generator)
    return torch.cat([(bowl @ (own - 1.0)).flatten(1), theta[:, 24:]], 1) + noise


def run(state: Optimiser, updates: range, rate: float = 0.02) -> Optimiser:
    for update in updates:
        state.update(gradient_of(state.theta, update), update, rate, CONFIG)
    return state


def begun(members: int, layout: dict[str, tuple[int, ...]] = LAYOUT) -> Optimiser:
    return Optimiser.of(torch.zeros(members, 29), layout)


def test_an_optimiser_that_goes_on_from_its_tensors_ends_with_the_same_bits() -> None:
    whole, half = run(begun(2), range(25)), run(begun(2), range(12))
    copied = begun(2)
    copied.restore(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in half.tensors().items()}
    )
    run(copied, range(12, 25))
    assert all(torch.equal(tensor, copied.tensors()[name]) for name, tensor in whole.tensors().items())


def test_members_do_not_see_each_other() -> None:
    """Two members whose gradients differ, and each alone."""
    pair, alone = begun(2), [begun(1), begun(1)]
    for update in range(25):
        gradient = torch.cat([gradient_of(pair.theta[:1], update), -0.3 * gradient_of(pair.theta[1:], update)])
        for member, state in enumerate(alone):
            state.update(gradient[member : member + 1].clone(), update, 0.02, CONFIG)
        pair.update(gradient, update, 0.02, CONFIG)
    for member, state in enumerate(alone):
        assert torch.allclose(pair.theta[member], state.theta[0], atol=1e-5)


def test_the_bases_are_those_of_the_gradients_products() -> None:
    """Steep directions come first, and after some updates the basis hardly mixes them."""
    state = run(begun(1), range(60))
    (basis,) = state.bases
    products = basis.turn_left.mT @ basis.left @ basis.turn_left
    diagonal = torch.diagonal(products, dim1=1, dim2=2)
    assert (diagonal[:, :-1] >= 0.99 * diagonal[:, 1:]).all()
    mixed = products - torch.diag_embed(diagonal)
    assert float(mixed.norm() / products.norm()) < 0.1


def test_turning_the_problem_turns_the_path() -> None:
    """A bowl whose steep directions are axes, and the same bowl turned, are searched alike; Adam depends on axes."""
    generator = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    target, bowl = torch.randn(4, 4, generator=generator), torch.diag(torch.tensor([1.0, 0.3, 0.1, 0.03]))
    noise = 0.1 * torch.randn(30, 4, 4, generator=generator)

    def searched(by: Tensor) -> Tensor:
        state = Optimiser.of(torch.zeros(1, 16), {"w": (4, 4)})
        for update in range(30):
            gradient = by @ (bowl @ (by.T @ state.theta.view(4, 4) - target) + noise[update])
            state.update(gradient.view(1, 16), update, 0.02, CONFIG)
        return state.theta.view(4, 4)

    straight = searched(torch.eye(4))
    assert straight.norm() > 0.5
    assert torch.allclose(turn @ straight, searched(turn), atol=1e-3)


def test_a_gradient_that_is_not_finite_changes_no_member_but_its_own() -> None:
    state = run(begun(2), range(5))
    before = state.theta.clone()
    gradient = gradient_of(state.theta, 5)
    gradient[0, 3] = torch.nan
    state.update(gradient, 5, 0.02, CONFIG)
    assert state.theta.isfinite().all()
    assert not torch.equal(state.theta[1], before[1])


def test_gradients_that_vanish_leave_bases_that_are_bases() -> None:
    """Such as those of weights that a batch does not use: exactly nothing, or the remains of a softmax."""
    for size in (0.0, 1e-18, 1e-24):
        state = begun(1)
        for update in range(25):
            state.update(size * gradient_of(state.theta, update), update, 0.02, CONFIG)
        (basis,) = state.bases
        for turn in (basis.turn_left, basis.turn_right):
            assert torch.allclose(turn @ turn.mT, torch.eye(turn.shape[1]), atol=1e-5)
        assert state.theta.isfinite().all()
        assert size > 0 or not state.theta.any()
