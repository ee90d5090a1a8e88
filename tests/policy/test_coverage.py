"""Points that lie far apart, and an analytic pendulum of unnamed numbers that random commands alone leave hanging."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from policy import survey as module
from policy.config import PolicyConfig
from policy.coverage import spread_out
from policy.survey import survey
from policy.train import train_policy
from policy.windows import LoggedStarts, first_window
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task
from tests.policy.analytic import Outcome

SWING = RobotSpec(
    name="swing",
    control_rate_hz=20.0,
    channels=(
        *(Channel(name=name, kind=Kind.SCALAR) for name in ("cos", "sin", "rate")),
        Channel(name="u", kind=Kind.SCALAR, role=Role.COMMAND, limits=(-2.0, 2.0)),
    ),
)
HANG = Task(name="hang", reward="cos", horizon_s=10.0, start={"cos": (-1.0, -1.0)})
CONFIG = PolicyConfig(history_steps=2)


@dataclass(frozen=True)
class SwingScene:
    """A rod of 1 kg and 1 m that 2 N m cannot lift at once (Gymnasium's Pendulum-v1, semi-implicit Euler)."""

    def sample(self, n: int, seed: int, device: Any = "cpu") -> "SwingWorlds":
        return SwingWorlds(n)


class SwingWorlds:
    spec = SWING

    def __init__(self, n: int) -> None:
        self.n, self.robot = n, torch.zeros(n, dtype=torch.int64)

    def reset(self, history: Any = None, task_start: Any = None, seed: int | None = None) -> Tensor:
        if history is None:
            return torch.tensor([[math.pi, 0.0]]).expand(self.n, -1)
        cos, sin, rate = history.state[:, -1].unbind(1)
        return torch.stack([torch.atan2(sin, cos), rate], dim=1)

    def step(self, state: Tensor, command: Tensor) -> tuple[Tensor, Outcome, None]:
        angle, rate = state.unbind(1)
        rate = (rate + 0.05 * (15.0 * angle.sin() + 3.0 * command[:, 0])).clamp(-8.0, 8.0)
        return torch.stack([angle + 0.05 * rate, rate], dim=1), Outcome(), None

    def observe(self, state: Tensor) -> Tensor:
        return torch.stack([state[:, 0].cos(), state[:, 0].sin(), state[:, 1]], dim=1)


def cells(reached: LoggedStarts) -> set[tuple[int, int]]:
    """Which of 8 x 6 cells of angle and rate were reached."""
    cos, sin, rate = reached.windows.state[:, -1].unbind(1)
    angle = ((torch.atan2(sin, cos) + math.pi) / (2 * math.pi) * 8).long().clamp(max=7)
    return set(zip(angle.tolist(), ((rate + 6.0) / 2.0).floor().long().clamp(0, 5).tolist(), strict=True))


def test_each_pick_is_the_farthest_from_those_before() -> None:
    points = torch.tensor([[0.0], [1.0], [4.0], [9.0], [10.0]])
    for seed in range(8):
        picks = spread_out(points, 3, torch.Generator().manual_seed(seed)).tolist()
        first = points[picks[0], 0].item()
        assert points[picks[1], 0].item() == (10.0 if first < 5.0 else 0.0)
        left = [p for p in range(5) if p not in picks[:2]]
        gap = {p: min(abs(points[p, 0].item() - points[q, 0].item()) for q in picks[:2]) for p in left}
        assert gap[picks[2]] == max(gap.values())


def test_no_more_picks_than_points() -> None:
    generator = torch.Generator().manual_seed(0)
    assert sorted(spread_out(torch.arange(4.0)[:, None], 9, generator).tolist()) == [0, 1, 2, 3]
    assert len(spread_out(torch.zeros(0, 2), 9, generator)) == 0


def test_a_pendulum_is_known_everywhere_though_random_commands_leave_it_hanging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = survey([SwingScene()], HANG, CONFIG, torch.device("cpu"), None).reached
    assert len(found) == module.KEPT
    assert len(cells(found)) == 48
    torch.testing.assert_close(found.reward, found.windows.state[:, -1, 0])  # each still has its own reward
    share = (found.windows.state[:, -1, 0] > 0).float().mean()
    assert 0.4 < share < 0.6, "above and below the pivot are known alike"
    monkeypatch.setattr(module, "ROUNDS", 0)
    hanging = survey([SwingScene()], HANG, CONFIG, torch.device("cpu"), None).reached
    assert (hanging.windows.state[:, -1, 0] > 0).float().mean() < 0.2


def test_logged_states_are_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "STEPS", 1)
    top = LoggedStarts(first_window(SWING, torch.tensor([[1.0, 0.0, 0.0]]), 2), torch.tensor([math.nan]))
    with_top, without = (survey([SwingScene()], HANG, CONFIG, torch.device("cpu"), s).reached for s in (top, None))
    assert (with_top.windows.state[:, -1, 0] > 0.9).sum() > 10
    assert with_top.windows.state[:, -1, 0].max() == 1.0
    assert without.windows.state[:, -1, 0].max() < 0.0


def test_the_states_are_the_same_for_every_seed() -> None:
    first, second = (
        survey([SwingScene()], HANG, CONFIG.model_copy(update={"seed": seed}), torch.device("cpu"), None).reached
        for seed in (0, 1)
    )
    assert torch.equal(first.windows.state, second.windows.state)


class BrokenWorlds(SwingWorlds):
    """Half of the worlds are lost at once; of the others nothing is wrong."""

    def observe(self, state: Tensor) -> Tensor:
        seen = super().observe(state)
        seen[::2] = torch.nan
        return seen


class BrokenScene(SwingScene):
    def sample(self, n: int, seed: int, device: Any = "cpu") -> SwingWorlds:
        return BrokenWorlds(n)


def test_worlds_that_give_no_numbers_count_for_nothing() -> None:
    found = survey([BrokenScene(), SwingScene()], HANG, CONFIG, torch.device("cpu"), None).reached
    assert found.windows.state.isfinite().all()
    assert len(cells(found)) == 48


def test_where_every_run_ends_at_once_the_logs_remain() -> None:
    task = HANG.model_copy(update={"terminated": "cos < 2"})
    top = LoggedStarts(first_window(SWING, torch.tensor([[1.0, 0.0, 0.0]] * 5), 2), torch.zeros(5))
    assert len(survey([SwingScene()], task, CONFIG, torch.device("cpu"), top).reached) == 5
    assert len(survey([SwingScene()], task, CONFIG, torch.device("cpu"), None).reached) == 0


def test_policies_are_judged_where_no_episode_began() -> None:
    # At rest below, each of 20 periods pays -1; a policy that does next to nothing earns that and no more from there.
    task = Task(name="hang", reward="cos", horizon_s=1.0)
    config = CONFIG.model_copy(
        update={"updates": 1, "worlds": 8, "horizon_steps": 2, "evaluation_worlds": 64, "actor_rate": 1e-6}
    )
    hanging = first_window(SWING, torch.tensor([[-1.0, 0.0, 0.0]] * 9), 2)
    trained = train_policy([SwingScene()], task, config, starts=LoggedStarts(hanging, torch.full((9,), -1.0)))
    assert trained.simulated.mean < -19.5
    assert trained.curve[0]["mean"] > -16.0, "half of the judging worlds begin anywhere"
