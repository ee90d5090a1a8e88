"""Scales, features and networks: what goes in is physical, what comes out is within the limits."""

import numpy as np
import pytest
import torch

from policy.adam import Adam
from policy.features import Features, scales_of
from policy.network import PolicyNetwork
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import ContractError
from storage.contracts.robot import RobotSpec
from tests.policy.analytic import CartPoleWorlds

CARTPOLE = CartPoleWorlds.spec
FREE = RobotSpec(
    name="free",
    control_rate_hz=10.0,
    channels=(
        Channel(name="s", kind=Kind.SCALAR),
        Channel(name="still", kind=Kind.SCALAR),
        Channel(name="u", kind=Kind.SCALAR, role=Role.COMMAND),
        Channel(name="v", kind=Kind.SCALAR, role=Role.COMMAND, limits=(2.0, 6.0)),
    ),
)
NO_COMMANDS = np.zeros((0, 2))


def test_scales_come_from_limits_else_from_what_was_seen() -> None:
    states = np.stack([np.linspace(90, 110, 101), np.full(101, 3.0)], axis=1)
    scales = scales_of(FREE, states, np.array([[-4.0, 0.0], [1.0, 0.0]]))
    assert scales.state_centre.tolist() == pytest.approx([100.0, 0.0])  # a column that never moved is left as it is
    assert scales.state_scale.tolist() == pytest.approx([9.0, 1.0])  # half of the 5..95 % range of 90..110
    assert scales.command_centre.tolist() == [0.0, 4.0]
    assert scales.command_scale.tolist() == [4.0, 2.0]
    cart = scales_of(CARTPOLE, np.zeros((0, 4)), np.zeros((0, 1)))
    assert cart.state_scale.tolist() == [1.5, 1.0, 1.0, 1.0]
    assert cart.angle.tolist() == [False, False, True, False]
    assert cart.command_scale.tolist() == [10.0]


def test_without_limits_and_without_logs_the_command_has_range_one() -> None:
    scales = scales_of(FREE, np.zeros((0, 2)), NO_COMMANDS)
    assert (scales.command_centre[0], scales.command_scale[0]) == (0.0, 1.0)


def test_widths_are_checked() -> None:
    with pytest.raises(ContractError, match="2 state and 2 command columns"):
        scales_of(FREE, np.zeros((5, 3)), NO_COMMANDS)


def test_features_do_not_know_how_often_an_angle_turned() -> None:
    features = Features(scales_of(CARTPOLE, np.zeros((0, 4)), np.zeros((0, 1))), 2)
    state = torch.randn(3, 2, 4)
    turned = state + torch.tensor([0.0, 0.0, 4 * torch.pi, 0.0])
    command = torch.zeros(3, 2, 1)
    torch.testing.assert_close(features(state, command), features(turned, command), atol=1e-5, rtol=0)
    assert features(state, command).shape == (3, features.width) == (3, 2 * (2 + 3 + 1))


def test_command_is_within_the_limits_whatever_the_weights_and_inputs() -> None:
    network = PolicyNetwork(scales_of(FREE, np.zeros((0, 2)), NO_COMMANDS), 3, 16, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1000.0)
    command = network(1e6 * torch.randn(64, 3, 2), 1e6 * torch.randn(64, 3, 2))
    assert command[:, 0].abs().max() <= 1.0
    assert command[:, 1].min() >= 2.0
    assert command[:, 1].max() <= 6.0


def test_adam_by_hand() -> None:
    # Step 1 moves by rate * g / |g| = 0.1. Step 2, gradient -1 after 1, betas (.5, .75):
    # m = .5 * .5 - .5 = -.25, m / (1 - .25) = -1/3;  v = .75 * .25 + .25 = .4375, v / (1 - .5625) = 1.
    weight = torch.tensor([1.0], requires_grad=True)
    adam = Adam([weight], 0.1, (0.5, 0.75))
    weight.grad = torch.tensor([1.0])
    adam.step()
    assert weight.item() == pytest.approx(0.9, abs=1e-6)
    weight.grad = torch.tensor([-1.0])
    adam.step()
    assert weight.item() == pytest.approx(0.9 + 0.1 / 3, abs=1e-6)


def test_adam_clips_the_joint_norm() -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert Adam([a, b], 0.1, (0.9, 0.9)).clip(1.0) == pytest.approx(5.0)
    assert (a.grad.item(), b.grad.item()) == pytest.approx((0.6, 0.8))
