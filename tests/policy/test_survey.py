"""What random commands reach, on the point x' = x + a with |a| <= 1."""

import torch

from policy.config import PolicyConfig
from policy.survey import STEPS, survey
from policy.windows import LoggedStarts, first_window
from tests.policy.analytic import POINT, REACH_ONE, PointScene

CONFIG = PolicyConfig(history_steps=2)


def test_windows_carry_the_reward_of_their_last_state() -> None:
    found = survey([PointScene()], REACH_ONE, CONFIG, torch.device("cpu"), None)
    x = found.reached.windows.state[:, -1, 0]
    torch.testing.assert_close(found.reached.reward, -((x - 1) ** 2))
    assert len(found.reached) == 24 * min(STEPS, 10)
    assert found.spec is POINT


def test_commands_stay_in_their_range_and_are_held() -> None:
    found = survey([PointScene()], REACH_ONE, CONFIG, torch.device("cpu"), None)
    commands = found.reached.windows.command[:, -1, 0].view(-1, 24)
    assert commands.abs().max() <= 1.0
    held = (commands[1:] == commands[:-1]).float().mean(0)
    assert held.min() >= 0.4  # each world holds for two periods at least
    assert held.max() == 1.0  # and some for longer than the survey lasts


def test_half_of_the_worlds_begin_in_logged_states() -> None:
    far = LoggedStarts(first_window(POINT, torch.full((5, 1), 100.0), 2), torch.zeros(5))
    found = survey([PointScene()], REACH_ONE, CONFIG, torch.device("cpu"), far)
    first = found.reached.windows.state[:24, -1, 0]
    assert (first > 90).sum() == 12
