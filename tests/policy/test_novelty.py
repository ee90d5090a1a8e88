"""What is novel is far from the logs; policies that are paid for it go where random commands do not."""

import math

import pytest
import torch

from policy.config import PolicyConfig
from policy.network import PolicyNetwork
from policy.novelty import Novelty
from policy.ports import History
from policy.rollout import advance, begin
from policy.train import train_policy
from policy.windows import LoggedStarts, first_window
from storage.contracts.task import Task
from tests.policy.test_coverage import SWING, SwingScene

NOTHING = Task(name="nothing", reward="0 * cos", horizon_s=10.0, start={"cos": (-1.0, -1.0)})
CONFIG = PolicyConfig(
    updates=80, worlds=32, windows=4, horizon_steps=24, history_steps=2, evaluation_worlds=4, evaluation_steps=20,
    curiosity=1.0, actor_rate=5e-3, wide_share=0.5, good_share=0.0, start_share=0.3,
)  # fmt: skip


def hanging(count: int) -> LoggedStarts:
    """What random commands log of a pendulum: it swings by a third of a radian about the bottom."""
    generator = torch.Generator().manual_seed(0)
    angle = math.pi + 0.3 * (2 * torch.rand(count, generator=generator) - 1)
    state = torch.stack([angle.cos(), angle.sin(), 2 * torch.rand(count, generator=generator) - 1], dim=1)
    return LoggedStarts(first_window(SWING, state, 2), torch.zeros(count))


def test_novelty_is_the_distance_to_what_is_known_in_the_units_of_each_column() -> None:
    state = torch.stack([torch.linspace(-1, 1, 101), 10 * torch.linspace(-1, 1, 101)], dim=1)
    logged = LoggedStarts(History(state[:, None], torch.zeros(101, 1, 1)), torch.zeros(101))
    novelty = Novelty.of(logged, torch.Generator().manual_seed(0))
    at = novelty(torch.tensor([[0.5, 5.0], [1.9, 10.0], [1.0, 19.0], [100.0, 10.0]]))
    assert at[0] < 0.05  # known but for the spacing of the references
    one = 1.0 / math.sqrt(2.0)  # one unit in one of two columns
    assert at[1].item() == pytest.approx(one / (1 + one), abs=0.01)
    assert at[2].item() == pytest.approx(at[1].item(), abs=1e-4)
    assert 0.98 < at[3] < 1.0
    with pytest.raises(ValueError, match="there are none"):
        Novelty.of(LoggedStarts(History(state[:0, None], torch.zeros(0, 1, 1)), torch.zeros(0)), torch.Generator())


@torch.no_grad()
def highest(policy: PolicyNetwork | None) -> float:
    """The highest that the rod's tip gets in ten seconds from hanging, -1 to 1: of `policy`, or of random commands."""
    worlds = SwingScene().sample(8, 0)
    hung = torch.tensor([[-1.0, 0.0, 0.0]]).expand(8, -1)
    run, best = begin(worlds, first_window(SWING, hung, 2), 0), -1.0
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        random = 4 * torch.rand(8, 1, generator=generator) - 2
        advance(run, NOTHING, random if policy is None else policy(*run.window))
        best = max(best, float(run.window.state[:, -1, 0].max()))
    return best


def test_a_curious_policy_lifts_what_random_commands_leave_hanging() -> None:
    curious = train_policy([SwingScene()], NOTHING, CONFIG, starts=hanging(200)).last
    indifferent = train_policy(
        [SwingScene()], NOTHING, CONFIG.model_copy(update={"curiosity": 0.0}), starts=hanging(200)
    ).last
    assert highest(curious) > 0.5
    assert highest(indifferent) < 0.0
    assert highest(None) < 0.0
