"""Targets against numbers worked out by hand. Two runs side by side: one ends, the window cuts the other."""

import pytest
import torch

from policy.targets import advantages, td_lambda

REWARD = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
NEXT_VALUE = torch.tensor([[10.0, 10.0], [20.0, 20.0], [30.0, 30.0]])
NEVER = torch.zeros(3, 2, dtype=torch.bool)
LAST_OF_FIRST = torch.tensor([[False, False], [False, False], [True, False]])


def test_td_lambda_by_hand() -> None:
    found = td_lambda(REWARD, NEXT_VALUE, LAST_OF_FIRST, LAST_OF_FIRST, discount=0.5, trace=0.5)
    # Run 0 terminated in step 2, nothing follows: G2 = 3.
    #   G1 = 2 + .5 (.5 * 20 + .5 * 3) = 7.75;        G0 = 1 + .5 (.5 * 10 + .5 * 7.75) = 5.4375
    # Run 1 goes on beyond the window:                G2 = 3 + .5 * 30 = 18
    #   G1 = 2 + .5 (.5 * 20 + .5 * 18) = 11.5;       G0 = 1 + .5 (.5 * 10 + .5 * 11.5) = 6.375
    assert found.tolist() == [[5.4375, 6.375], [7.75, 11.5], [3.0, 18.0]]


def test_td_lambda_between_its_two_ends() -> None:
    # trace 0 is the one-step target r + .5 V'; trace 1 the discounted sum, then V: 1 + .5 (2 + .5 (3 + .5 * 30)).
    one_step = td_lambda(REWARD, NEXT_VALUE, NEVER, NEVER, discount=0.5, trace=0.0)
    assert one_step[:, 0].tolist() == [6.0, 12.0, 18.0]
    whole = td_lambda(REWARD, NEXT_VALUE, NEVER, NEVER, discount=0.5, trace=1.0)
    assert whole[0, 0].item() == pytest.approx(1 + 0.5 * (2 + 0.5 * (3 + 0.5 * 30)))


def test_no_sum_crosses_the_end_of_a_run_and_a_time_limit_bootstraps() -> None:
    ended = torch.tensor([[False, False], [True, True], [False, False]])
    terminated = torch.tensor([[False, False], [True, False], [False, False]])
    found = td_lambda(REWARD, NEXT_VALUE, terminated, ended, discount=0.5, trace=0.5)
    # Terminated in step 1: G1 = 2.  Cut by time in step 1: G1 = 2 + .5 * 20 = 12, whatever the next run is worth.
    assert found[1].tolist() == [2.0, 12.0]


def test_advantages_by_hand() -> None:
    value = torch.tensor([[4.0, 4.0], [10.0, 10.0], [20.0, 20.0]])
    found = advantages(REWARD, value, NEXT_VALUE, LAST_OF_FIRST, LAST_OF_FIRST, discount=0.5, trace=0.5)
    # Run 0: d2 = 3 - 20 = -17;  d1 = 2 + 10 - 10 = 2, A1 = 2 - .25 * 17 = -2.25;  d0 = 1 + 5 - 4 = 2, A0 = 2 - .5625
    # Run 1: d2 = 3 + 15 - 20 = -2;  A1 = 2 - .25 * 2 = 1.5;  A0 = 2 + .25 * 1.5 = 2.375
    assert found.tolist() == [[1.4375, 2.375], [-2.25, 1.5], [-17.0, -2.0]]


def test_advantage_is_lambda_return_less_value() -> None:
    # A^GAE(lambda) = G^lambda - V when V(s_t+1) is the next state's value: a known identity, here without an end.
    value = torch.tensor([[4.0, 1.0], [10.0, 10.0], [20.0, 20.0]])
    returns = td_lambda(REWARD, NEXT_VALUE, NEVER, NEVER, discount=0.9, trace=0.7)
    found = advantages(REWARD, value, NEXT_VALUE, NEVER, NEVER, discount=0.9, trace=0.7)
    torch.testing.assert_close(found, returns - value)
