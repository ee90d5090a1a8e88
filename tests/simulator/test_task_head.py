"""The head of rewards and ends: balanced draws, weights that undo them, units that change without changing anything."""

import numpy as np
import torch

from simulator import task_head
from simulator.config import SimulatorConfig
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode, Provenance
from storage.contracts.robot import RobotSpec

SPEC = RobotSpec(
    name="point",
    control_rate_hz=20.0,
    channels=(
        Channel(name="x", kind=Kind.LINEAR, unit="m"),
        Channel(name="a", kind=Kind.SCALAR, role=Role.COMMAND, limits=(-1.0, 1.0)),
        Channel(name="reward", kind=Kind.SCALAR, role=Role.REWARD),
    ),
)
TINY = SimulatorConfig(updates=250, warm_updates=1, members=2, width=32, history_s=0.05, delay_s=0.0)


def episode(seed: int, gain: float = 1.0) -> Episode:
    """x' = x + 0.1 a, rewarded `gain` where x' > 0.5, ended beyond 1: a reward that is nearly always 0."""
    rng = np.random.default_rng(seed)
    a = np.repeat(rng.uniform(-1, 1, 40), 5)[:200, None]
    x = np.clip(np.concatenate([[0.0], np.cumsum(0.1 * a[:, 0])]), -1.0, 1.0)[:, None]
    time_ns = np.arange(201, dtype=np.int64) * 50_000_000
    reward = gain * (x[1:, 0] > 0.5).astype(float)
    return Episode("p", SPEC, time_ns, x, a, Provenance(raw_sha256="0" * 64), reward=reward, truncated=True)


def test_rare_rows_are_drawn_as_often_as_common_ones_and_weighed_less() -> None:
    rows = np.arange(1000, 2000)
    reward = np.zeros(1000)
    reward[:10] = 1.0
    bins = task_head.bins_of(reward, np.zeros(1000, dtype=bool))
    drawn, weight = task_head.draw(np.random.default_rng(0), rows, bins, 40_000)
    rare = drawn < 1010
    # Half evenly (1 %) and half by bins (50 %): 25.5 % of the draws.
    assert abs(rare.mean() - 0.255) < 0.01
    assert abs((weight * rare).mean() - 0.01) < 0.001  # weights bring back the true share
    assert abs(weight.mean() - 1.0) < 0.01


def test_bins_keep_ends_and_missing_rewards_apart() -> None:
    bins = task_head.bins_of(np.array([0.0, 1.0, 1.0, np.nan]), np.array([False, False, True, False]))
    assert len(set(bins.tolist())) == 4


def test_predictions_stay_near_the_rewards_that_were_logged() -> None:
    found = task_head.bounded(torch.tensor([-9.0, 0.5, 9.0]), torch.tensor(0.0), torch.tensor(1.0))
    torch.testing.assert_close(found, torch.tensor([-0.2, 0.5, 1.2]))


def test_a_step_reward_is_learned_and_other_units_change_nothing_else() -> None:
    trained = train_simulator([episode(i) for i in range(6)], TINY)
    grid = torch.tensor([-0.5, 0.2, 0.4, 0.6, 0.8])
    first = predicted(trained, grid)
    assert (first[:3] < 0.3).all()
    assert (first[3:] > 0.7).all()
    # New logs pay tenfold: the median and deviation of rewards change; one update of rate 0 changes no prediction.
    still = TINY.model_copy(update={"warm_learning_rate": 1e-12})
    more = train_simulator([episode(i) for i in range(6)] + [episode(9, gain=10.0)], still, parent=trained)
    assert more.model.traits.reward_scale > 2 * trained.model.traits.reward_scale
    # Predictions stay within a fifth beyond the logged rewards, and those are more now.
    torch.testing.assert_close(predicted(more, grid).clamp(-0.2, 1.2), first, atol=2e-3, rtol=2e-3)
    assert more.model.traits.reward_high == 10.0


def predicted(simulator: Simulator, x: torch.Tensor) -> torch.Tensor:
    """Mean predicted reward of standing still at x."""
    worlds = simulator.ground(Prompt(SPEC)).sample(2, 0)
    found = []
    for value in x:
        state = worlds.reset(None, {"x": (float(value), float(value))})
        _, outcome, _ = worlds.step(state, torch.zeros(2, 1))
        found.append(outcome.reward.mean())
    return torch.stack(found)
