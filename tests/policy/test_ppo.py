"""The clipped surrogate by hand, and the closed-form optimum of x' = x + a reached without gradients of the worlds."""

import math

import pytest
import torch

from policy.config import PolicyConfig
from policy.ppo import log_prob, surrogate
from policy.rollout import episode_returns
from policy.train import train_policy
from policy.windows import first_window
from tests.policy.analytic import POINT, REACH_ONE, PointScene, PointWorlds


def test_log_prob_by_hand() -> None:
    # Two commands, mean (0, 1), deviation (1, 2), at (1, 5): -.5 * 1 - 0 - .5 * (4 / 2)^2 - ln 2 = -2.5 - ln 2.
    found = log_prob(torch.tensor([[0.0, 1.0]]), torch.tensor([0.0, math.log(2.0)]), torch.tensor([[1.0, 5.0]]))
    assert found.item() == pytest.approx(-2.5 - math.log(2.0))


def test_surrogate_by_hand() -> None:
    # min(r A, clip(r, .8, 1.2) A):  r 2, A 1: 1.2;  r 2, A -1: -2;  r .5, A 1: .5;  r .5, A -1: -.8.  Mean -.275.
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5]).log().requires_grad_()
    loss = surrogate(ratio, torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert loss.item() == pytest.approx(0.275)
    loss.backward()
    # Where the clip holds there is no pull; elsewhere the slope in log r is -r A / 4.
    assert ratio.grad is not None
    assert ratio.grad.tolist() == pytest.approx([0.0, 0.5, -0.125, 0.0])


def test_the_policy_comes_near_the_closed_form_optimum() -> None:
    config = PolicyConfig(
        algorithm="ppo", updates=150, worlds=64, horizon_steps=5, windows=2, history_steps=1, width=16, smoothness=0.0
    )
    trained = train_policy([PointScene()], REACH_ONE, config)
    x = torch.linspace(-0.5, 2.5, 61)[:, None]
    best = -((x[:, 0] - 1).abs() - 1).clamp(min=0).square()
    found = episode_returns(trained.network, PointWorlds(61), REACH_ONE, first_window(POINT, x, 1), 0)
    # Doing nothing loses 10 (x - 1)^2, 7.7 on average. Learned under noise, commands stay a little short of the limits.
    assert float((best - found).mean()) < 0.1


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"worlds \* horizon_steps >= 64, given 4 \* 8"):
        PolicyConfig(algorithm="ppo", worlds=4, horizon_steps=8)
