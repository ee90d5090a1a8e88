"""Training against closed forms: x' = x + a, reward -(x' - 1)^2, where the best command is clip(1 - x, -1, 1)."""

import math
from pathlib import Path

import pytest
import torch

from policy.config import PolicyConfig
from policy.learner import Learner, make_learner
from policy.network import PolicyNetwork
from policy.rollout import Shaping, Transitions, begin, bound_outliers, collect, episode_returns, survival_of
from policy.shac import _agreement, tail_weights, update, value_targets
from policy.train import TrainedPolicy, _Training, train_policy
from policy.weights import pack_network
from policy.windows import first_window
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import DataError, InputError
from tests.policy.analytic import POINT, REACH_ONE, SWINGUP, CartPoleScene, PointScene, PointWorlds

SMALL = PolicyConfig(
    updates=80, worlds=32, horizon_steps=5, windows=2, history_steps=1, width=16, evaluation_worlds=16, smoothness=0.0
)
LOGGED = REACH_ONE.model_copy(update={"reward": None, "reward_channel": "r"})


def learner_of(config: PolicyConfig) -> Learner:
    return make_learner([PointScene()], REACH_ONE, config, None, None, torch.device("cpu"))[1]


def test_the_policy_reaches_the_closed_form_optimum() -> None:
    config = SMALL.model_copy(update={"updates": 150})
    trained = train_policy([PointScene()], REACH_ONE, config)
    assert regret(trained.network) < 0.05


def test_a_predicted_reward_serves_as_well_as_an_expression() -> None:
    spec = POINT.model_copy(
        update={"channels": (*POINT.channels, Channel(name="r", kind=Kind.SCALAR, role=Role.REWARD))}
    )
    config = SMALL.model_copy(update={"updates": 150})
    trained = train_policy([PointScene(spec, logged=True)], LOGGED, config)
    assert regret(trained.network) < 0.05


def regret(network: PolicyNetwork) -> float:
    """Mean return lost on x0 = -0.5..2.5. The best command is clip(1 - x, -1, 1): from |x0 - 1| <= 1 it loses
    nothing, from further out the first step leaves |x0 - 1| - 1, once."""
    x = torch.linspace(-0.5, 2.5, 61)[:, None]
    best = -((x[:, 0] - 1).abs() - 1).clamp(min=0).square()
    found = episode_returns(network, PointWorlds(61), REACH_ONE, first_window(POINT, x, 1), 0)
    assert (found <= best + 1e-6).all()
    return float((best - found).mean())


def test_gradient_through_the_worlds_by_hand() -> None:
    # The last layer's weights are 0, so every command is a = tanh(b). From x0 = 0 and b = 0, three steps:
    # J = -sum_t (t a - 1)^2, dJ/da = 2 * (1 + 2 + 3) = 12 and da/db = 1.
    learner = learner_of(SMALL)
    last = learner.policy.body[-1]
    with torch.no_grad():
        last.weight.zero_()  # type: ignore[operator, union-attr]
    run = begin(PointWorlds(4), first_window(POINT, torch.zeros(4, 1), 1), 0)
    seen = collect(run, learner.policy, REACH_ONE, torch.zeros(3, 4, 1), 1e9, Shaping())
    assert seen.reward.tolist() == [[-1.0] * 4] * 3
    seen.reward.sum(dim=0).mean().backward()
    assert last.bias.grad.item() == pytest.approx(12.0)  # type: ignore[union-attr]


@pytest.mark.parametrize("bias", [0.0, 1.0, -3.0])
def test_entropy_is_that_of_the_squashed_command(bias: float) -> None:
    # H = log(std) + log(1 - tanh(b)^2) less a constant, where the noise is 0; the gradient is -2 tanh(b).
    learner = learner_of(SMALL)
    last = learner.policy.body[-1]
    with torch.no_grad():
        last.weight.zero_()  # type: ignore[operator, union-attr]
        last.bias.fill_(bias)  # type: ignore[operator, union-attr]
    rewards = []
    for entropy in (0.0, 0.5):
        run = begin(PointWorlds(4), first_window(POINT, torch.zeros(4, 1), 1), 0)
        rewards.append(
            collect(run, learner.policy, REACH_ONE, torch.zeros(1, 4, 1), 1e9, Shaping(entropy=entropy)).reward
        )
    bonus = (rewards[1] - rewards[0]).mean()
    expected = 0.5 * (learner.policy.log_std.item() + math.log(1.0 - math.tanh(bias) ** 2))
    assert bonus.item() == pytest.approx(expected, rel=1e-4)
    (gradient,) = torch.autograd.grad(bonus, last.bias)  # type: ignore[arg-type]
    assert gradient.item() == pytest.approx(-math.tanh(bias), abs=1e-4)


def test_a_world_with_an_exploding_gradient_is_held_to_the_others() -> None:
    bounded = bound_outliers(torch.tensor([[1.0], [-1.0], [1.0], [500.0]]), largest=3.0)
    assert bounded.flatten().tolist() == [1.0, -1.0, 1.0, 3.0]


def constant_value(learner: Learner, value: float) -> None:
    for parameter in learner.target.parameters():
        parameter.zero_()
    learner.target.body[-1].bias.fill_(value)  # type: ignore[operator, union-attr]


def test_a_terminated_run_bootstraps_nothing_and_a_cut_one_does() -> None:
    config = SMALL.model_copy(update={"trace": 0.0})
    learner = learner_of(config)
    constant_value(learner, 7.0)
    worlds = PointWorlds(2, ends_at=1.5)
    task = REACH_ONE.model_copy(update={"terminated": "x > 1.5"})
    run = begin(worlds, first_window(POINT, torch.tensor([[1.0], [-3.0]]), 1), 0)
    noise = torch.full((3, 2, 1), 100.0)  # commands are at their upper limit, 1
    with torch.no_grad():
        seen: Transitions = collect(run, learner.policy, task, noise, 3.0, Shaping())
    # World 0: x = 2, reward -1, ends at once. World 1: x = -2, -1, 0, rewards -9, -4, -1, is cut after three steps.
    assert seen.terminated.tolist() == [[True, False], [False, False], [False, False]]
    assert seen.alive.tolist() == [[True, True], [False, True], [False, True]]
    _, target = value_targets(learner, seen, config)
    scale, discount = learner.reward_scale, learner.discount
    expected = [-1 * scale, -9 * scale + discount * 7, -4 * scale + discount * 7, -1 * scale + discount * 7]
    assert target.tolist() == pytest.approx(expected, rel=1e-3)


def test_return_counts_until_the_run_ends() -> None:
    task = REACH_ONE.model_copy(update={"terminated": "x > 1.5"})
    full = lambda state, command: torch.ones(state.shape[0], 1)
    windows = first_window(POINT, torch.tensor([[0.0], [-20.0]]), 1)
    found = episode_returns(full, PointWorlds(2), task, windows, 0)
    # World 0: x = 1, 2 and the end: 0 - 1. World 1: ten steps, x = -19 .. -10: -(20^2 + 19^2 + ... + 11^2) = -2485.
    assert found.tolist() == [-1.0, -2485.0]


def test_the_worse_tail_counts_more() -> None:
    weights = tail_weights(torch.tensor([5.0, 1.0, 3.0, 4.0]), fraction=0.25, extra=0.5)
    assert weights.tolist() == [1.0, 1.5, 1.0, 1.0]


def test_discount_follows_the_control_rate() -> None:
    assert PolicyConfig(discount_time_s=2.0).discount(50.0, 99.0) == pytest.approx(0.99)
    assert PolicyConfig().discount(50.0, 5.0) == pytest.approx(0.98)  # a fifth of 5 s
    assert PolicyConfig().discount(50.0, 1000.0) == pytest.approx(0.995)  # at most 200 periods


def same(a: TrainedPolicy, b: TrainedPolicy) -> bool:
    return (pack_network(a.network), a.curve, a.simulated) == (pack_network(b.network), b.curve, b.simulated)


class Stopped(Exception):
    """Stands for a kill: raised from the progress callback."""


@pytest.mark.parametrize("stop_at", [0.2, 0.9])
def test_a_killed_training_goes_on_to_the_identical_policy(tmp_path: Path, stop_at: float) -> None:
    config = PolicyConfig(
        updates=24, worlds=12, windows=3, horizon_steps=4, evaluate_every=6, evaluation_worlds=4, width=8
    )
    whole = train_policy([CartPoleScene()], SWINGUP, config)

    def stop(share: float, text: str) -> None:
        if share > stop_at:
            raise Stopped

    path = tmp_path / "policy.safetensors"
    with pytest.raises(Stopped):
        train_policy([CartPoleScene()], SWINGUP, config, checkpoint=path, progress=stop)
    seen: list[float] = []
    resumed = train_policy(
        [CartPoleScene()], SWINGUP, config, checkpoint=path, progress=lambda share, _: seen.append(share)
    )
    assert same(whole, resumed)
    assert not seen or seen[0] > 0.25 * stop_at  # it went on, it did not begin again
    assert same(whole, train_policy([CartPoleScene()], SWINGUP, config, checkpoint=path))
    other = config.model_copy(update={"seed": 1})
    assert not same(whole, train_policy([CartPoleScene()], SWINGUP, other))
    with pytest.raises(InputError, match="other settings"):
        train_policy([CartPoleScene()], SWINGUP, other, checkpoint=path)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="not a policy checkpoint"):
        train_policy([PointScene()], REACH_ONE, SMALL, checkpoint=path)


def test_warm_start_is_never_worse_and_keeps_its_shape() -> None:
    first = train_policy([PointScene()], REACH_ONE, SMALL)
    further = train_policy([PointScene()], REACH_ONE, SMALL.model_copy(update={"updates": 1}), warm_start=first.network)
    assert further.value.pessimistic >= first.value.pessimistic - 1e-6
    with pytest.raises(InputError, match="another shape"):
        train_policy([PointScene()], REACH_ONE, SMALL.model_copy(update={"width": 8}), warm_start=first.network)


def test_the_choice_is_the_highest_pessimistic_value_not_the_last() -> None:
    good = train_policy([PointScene()], REACH_ONE, SMALL)
    ruinous = SMALL.model_copy(update={"updates": 30, "actor_rate": 5.0, "evaluate_every": 1})
    trained = train_policy([PointScene()], REACH_ONE, ruinous, warm_start=good.network)
    values = [row["pessimistic"] for row in trained.curve]
    assert values[-1] < max(values)
    assert trained.value.pessimistic == max(values)
    assert trained.value.pessimistic == pytest.approx(trained.value.mean - 0.5 * trained.value.spread)
    assert trained.simulated.mean > 2 * values[-1]  # rewards are negative: the network is the chosen one, too


def test_training_stops_by_itself() -> None:
    config = SMALL.model_copy(update={"updates": 1000, "patience": 2, "actor_rate": 1e-9, "evaluate_every": 1})
    assert len(train_policy([PointScene()], REACH_ONE, config).curve) <= 6


def test_scenes_of_two_robots_and_no_scene_are_refused() -> None:
    with pytest.raises(InputError, match="at least one scene"):
        train_policy([], REACH_ONE, SMALL)
    with pytest.raises(InputError, match=r"one kind of robot.*'point'.*cartpole"):
        train_policy([PointScene(), CartPoleScene()], REACH_ONE.model_copy(update={"start": {}}), SMALL)


@pytest.mark.slow
def test_swing_up_of_an_uncertain_cart_pole_is_learned() -> None:
    # Hanging still is worth about 10, spinning about 90, swinging up and standing 160 to 190 (LOG.md, section policy).
    trained = train_policy([CartPoleScene()], SWINGUP, PolicyConfig(updates=400))
    assert trained.simulated.mean > 130
    assert math.isfinite(trained.value.spread)


def test_what_is_earned_later_teaches_to_survive() -> None:
    # The gradient of log(1 - h) at h = 0.2 is -1 / 0.8; the value itself stays what it was.
    hazard = torch.tensor([0.2, 1.0], requires_grad=True)
    survival = survival_of(hazard, torch.zeros(2))
    assert survival.tolist() == [1.0, 1.0]
    (gradient,) = torch.autograd.grad(survival[0], hazard)
    torch.testing.assert_close(gradient, torch.tensor([-1.25, 0.0]))
    assert survival_of(None, torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_runs_that_have_ended_begin_anew_and_the_others_go_on() -> None:
    training = _Training([PointScene(ends_at=1.5)], [PointScene()], REACH_ONE, SMALL, None, None, torch.device("cpu"))
    run = training._begin(0)
    before = run.window.state[:, -1, 0].clone()
    run.alive = torch.arange(run.worlds.n) % 2 == 0
    training._begin_again(0, run)
    assert run.alive.all()
    same = run.window.state[:, -1, 0] == before
    assert same[::2].all()
    assert not same[1::2].any()
    assert torch.equal(run.state.x, run.window.state[:, -1, 0])


def test_agreement_is_the_cosine_between_the_gradients_of_two_halves() -> None:
    one = torch.tensor([1.0, 0.0])
    for other, expected in ((one, 1.0), (torch.tensor([0.0, 3.0]), 0.0), (-2.0 * one, -1.0)):
        whole = (one + other) / 2
        found = _agreement([whole[:1], whole[1:]], [[one[:1], one[1:]]])
        assert found == pytest.approx(expected, abs=1e-6)
    run = begin(PointWorlds(32), first_window(POINT, torch.zeros(32, 1), 1), 0)
    draw = torch.Generator().manual_seed(0)
    found = update(learner_of(SMALL), [run], REACH_ONE, SMALL, 1, draw, compare=True)
    assert found["agreement"] > 0.99  # from 0 all want up


def test_the_horizon_follows_the_agreement_within_its_bounds() -> None:
    config = SMALL.model_copy(update={"horizon_steps": 4})
    training = _Training([PointScene()], [PointScene()], REACH_ONE, config, None, None, torch.device("cpu"))
    for agreement, expected in ((0.0, 1), (1.0, 8)):
        for _ in range(20):
            training.last = {"agreement": agreement}
            training._adapt()
        assert training.steps == expected
    assert training._windows() == 1  # twice the horizon in a task of ten periods
