"""Windows with data that say where they come from: state 100 t, command t at interval t."""

import numpy as np
import torch

from policy.ports import History
from policy.windows import (
    LoggedStarts,
    StartPool,
    first_window,
    logged_windows,
    push,
    rewarding,
    rewards_of,
    task_windows,
    wide_windows,
)
from storage.contracts.episode import Episode, Provenance
from storage.contracts.task import Task
from tests.policy.analytic import POINT, REACH_ONE, SWINGUP, CartPoleWorlds

CARTPOLE = CartPoleWorlds.spec


def episode(steps: int, **changes: object) -> Episode:
    time_ns = np.arange(steps + 1, dtype=np.int64) * 100_000_000
    state = 100.0 * np.arange(steps + 1)[:, None]
    command = np.arange(steps, dtype=float)[:, None]
    return Episode("p", POINT, time_ns, state, command, Provenance(raw_sha256="0" * 64), **changes)  # type: ignore[arg-type]


def test_first_window_repeats_the_state_and_holds_the_safe_command() -> None:
    window = first_window(POINT, torch.tensor([[7.0]]), 3)
    assert window.state.tolist() == [[[7.0], [7.0], [7.0]]]
    assert window.command.tolist() == [[[0.0], [0.0], [0.0]]]


def test_push_keeps_command_k_just_before_state_k() -> None:
    window = first_window(POINT, torch.tensor([[0.0]]), 2)
    for step in (1.0, 2.0, 3.0):
        window = push(window, torch.tensor([[step]]), torch.tensor([[100 * step]]))
    assert window.state.flatten().tolist() == [200.0, 300.0]
    assert window.command.flatten().tolist() == [2.0, 3.0]


def test_logged_windows_are_aligned_as_pushed_ones_are() -> None:
    # In a log command t acts from sample t to t + 1: before sample t + 1 stands command t.
    found = logged_windows([episode(7)], 3, every=2)
    assert found.windows.state[:, :, 0].tolist() == [[100, 200, 300], [300, 400, 500], [500, 600, 700]]
    assert found.windows.command[:, :, 0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_logged_windows_leave_out_what_is_invalid_or_touched_by_an_operator() -> None:
    valid = np.ones((8, 1), dtype=bool)
    valid[1] = False  # touches the window of samples 1..3 only
    found = logged_windows([episode(7, state_valid=valid, resets=(3,))], 3, every=1)
    # Windows end at 3..7; sample 1 spoils the first, interval 3 is within the commands of those that end at 4, 5, 6.
    assert found.windows.state[:, -1, 0].tolist() == [700]
    assert len(logged_windows([episode(2)], 3)) == 0


def test_task_windows_lie_in_the_start_ranges() -> None:
    window = task_windows(CARTPOLE, SWINGUP, 200, 2, torch.Generator().manual_seed(0))
    position, velocity, angle, rate = window.state[:, -1].unbind(1)
    assert position.abs().max() <= 0.2
    assert position.std() > 0.05
    assert (angle - torch.pi).abs().max() <= 0.1 + 1e-6
    assert velocity.abs().max() == rate.abs().max() == 0


def test_wide_windows_go_back_along_the_derivatives() -> None:
    draw = torch.Generator().manual_seed(0)
    window = wide_windows(CARTPOLE, torch.zeros(4), torch.tensor([1.5, 2.0, 1.0, 8.0]), 500, 4, draw)
    position, velocity, angle, rate = window.state.unbind(2)
    torch.testing.assert_close(position[:, 0], position[:, -1] - 3 * 0.02 * velocity[:, -1])
    torch.testing.assert_close(angle[:, 2], angle[:, -1] - 0.02 * rate[:, -1])
    assert position[:, -1].abs().max() <= 1.5
    assert 3.0 < angle[:, -1].max() <= torch.pi
    assert 7.5 < rate.max() <= 8.0


def test_rewarding_takes_the_states_nearest_the_goal() -> None:
    state = torch.tensor([[-3.0], [0.9], [5.0], [1.2]])
    starts = LoggedStarts(first_window(POINT, state, 2), torch.tensor([4.0, 1.0, torch.nan, 3.0]))
    found = rewarding(starts.windows, rewards_of(POINT, REACH_ONE, starts), 2)  # the reward is -(x - 1)^2
    torch.testing.assert_close(found.state[:, -1, 0], torch.tensor([0.9, 1.2]))
    logged = Task(name="logged", reward_channel="reward", horizon_s=1.0)
    found = rewarding(starts.windows, rewards_of(POINT, logged, starts), 2)
    torch.testing.assert_close(found.state[:, -1, 0], torch.tensor([-3.0, 1.2]))


def windows_of(values: range) -> History:
    return first_window(POINT, torch.tensor([[float(v)] for v in values]), 2)


def test_pool_is_bounded_and_draws_from_logged_and_visited_alike() -> None:
    draw = torch.Generator().manual_seed(0)
    pool = StartPool(windows_of(range(10)), capacity=20)
    assert pool.draw(4, draw).state.max() < 10  # type: ignore[union-attr]
    pool.add(windows_of(range(100, 115)), draw)
    pool.add(windows_of(range(200, 215)), draw)
    assert pool.visited is not None
    kept = pool.visited.state[:, -1, 0].tolist()
    assert len(kept) == len(set(kept)) == 20
    assert min(kept) < 200 <= max(kept)
    drawn = pool.draw(10, draw).state[:, -1, 0]  # type: ignore[union-attr]
    assert (drawn < 10).sum() == 5
    assert StartPool(None).draw(3, draw) is None
