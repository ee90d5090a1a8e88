from collections.abc import Callable

import numpy as np
import pytest
import torch

from simulator.history import History
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.worlds import Worlds
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError, UnknownName

Make = Callable[..., Episode]
START = {"mass.position": (-0.5, 0.5), "mass.velocity": (-0.5, 0.5)}


def worlds_of(sim: Simulator, n: int, seed: int = 3) -> Worlds:
    return sim.ground(Prompt(sim.specs[0])).sample(n, seed)


def rollout(worlds: Worlds, steps: int = 20) -> torch.Tensor:
    """[steps, N, S] under a wave of commands."""
    state, seen = worlds.reset(task_start=START), []
    with torch.no_grad():
        for t in range(steps):
            state, _, _ = worlds.step(state, torch.full((worlds.n, 1), float(np.sin(0.3 * t))))
            seen.append(worlds.observe(state))
    return torch.stack(seen)


def test_world_i_does_not_depend_on_how_many_worlds_there_are(trained: Simulator) -> None:
    few, many = rollout(worlds_of(trained, 5)), rollout(worlds_of(trained, 64))
    assert torch.allclose(few, many[:, :5], atol=1e-5)
    assert not torch.allclose(many[:, 0], many[:, 2], atol=1e-3)


def test_same_seed_same_bits(trained: Simulator) -> None:
    assert torch.equal(rollout(worlds_of(trained, 7)), rollout(worlds_of(trained, 7)))
    assert not torch.equal(rollout(worlds_of(trained, 7)), rollout(worlds_of(trained, 7, seed=4)))


def test_a_clone_goes_its_own_way_with_the_same_noise(trained: Simulator) -> None:
    worlds = worlds_of(trained, 4)
    state = worlds.reset(task_start=START)
    copy = worlds.clone(state)
    push = torch.ones(4, 1)
    there, _, _ = worlds.step(copy, push)
    again, _, _ = worlds.step(state, push)
    assert torch.equal(worlds.observe(there), worlds.observe(again))
    moved = state.set("channels", state.channels + 1.0)
    assert torch.equal(state.channels, copy.channels)
    assert torch.allclose(moved.get("channels") - state.channels, torch.tensor(1.0))
    with pytest.raises(UnknownName, match="channels"):
        state.get("chanels")
    with pytest.raises(ContractError, match="has shape"):
        state.set("channels", torch.zeros(1))


def test_a_block_of_commands_is_its_rows_one_after_the_other(trained: Simulator) -> None:
    worlds = worlds_of(trained, 6)
    commands = torch.linspace(-1, 1, 18).view(6, 3, 1)
    state = worlds.reset(task_start=START)
    block, _, _ = worlds.step(state, commands)
    for t in range(3):
        state, _, _ = worlds.step(state, commands[:, t])
    assert torch.equal(block.channels, state.channels)
    assert torch.allclose(block.time_s, torch.tensor(0.06, dtype=torch.float64))


def test_commands_are_clamped_to_the_limits_as_robots_do(trained: Simulator) -> None:
    worlds = worlds_of(trained, 4)
    state = worlds.reset(task_start=START)
    limit, _, _ = worlds.step(state, torch.full((4, 1), 2.0))
    beyond, _, _ = worlds.step(state, torch.full((4, 1), 50.0))
    assert torch.equal(limit.channels, beyond.channels)


def test_the_gradient_of_the_final_position_matches_finite_differences(trained: Simulator) -> None:
    worlds = worlds_of(trained, 2)
    state = worlds.reset(task_start=START)

    def final(commands: torch.Tensor) -> torch.Tensor:
        end, _, _ = worlds.step(state, commands.expand(2, -1)[..., None])
        return worlds.observe(end, noisy=False)[:, 0].sum()

    commands = torch.linspace(-0.5, 0.5, 10).requires_grad_()
    (gradient,) = torch.autograd.grad(final(commands), commands)
    step = 0.02
    for t in (0, 4, 8):
        bump = torch.zeros(10)
        bump[t] = step
        with torch.no_grad():
            finite = (final(commands + bump) - final(commands - bump)) / (2 * step)
        assert float(gradient[t]) == pytest.approx(float(finite), rel=0.05, abs=2e-4)


def test_gradients_through_64_steps_are_finite(trained: Simulator) -> None:
    worlds = worlds_of(trained, 8)
    commands = torch.zeros(8, 64, 1, requires_grad=True)
    end, _, _ = worlds.step(worlds.reset(task_start=START), commands)
    (gradient,) = torch.autograd.grad(worlds.observe(end).square().sum(), commands)
    assert gradient.isfinite().all()
    assert (gradient[:, 0] != 0).all()


def test_long_rollouts_stay_finite_and_near_the_data(trained: Simulator) -> None:
    worlds = worlds_of(trained, 256)
    state = worlds.reset(task_start=START)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for t in range(1000):
            if t % 5 == 0:
                push = torch.rand(256, 1, generator=generator) * 4 - 2
            state, _, _ = worlds.step(state, push)
    seen = worlds.observe(state)
    assert seen.isfinite().all()
    assert seen.abs().max() < 10  # the true system stays within 2


def test_a_history_tells_of_commands_under_way(oscillator: Make, small: object) -> None:
    """With 40 ms of delay two robots in the same state move apart when their last commands differed."""
    from simulator.config import SimulatorConfig
    from simulator.train import train_simulator

    assert isinstance(small, SimulatorConfig)
    sim = train_simulator([oscillator(s, delay=2) for s in range(6)], small)
    worlds = sim.ground(Prompt(sim.specs[0])).sample(2, 0)
    pushed = torch.zeros(2, 8, 1)
    pushed[:, -2:] = torch.tensor([2.0, -2.0])[:, None, None]
    state = worlds.reset(History(torch.zeros(2, 9, 2), pushed))
    with torch.no_grad():
        state, _, _ = worlds.step(state, torch.zeros(2, 2, 1))
    velocity = worlds.observe(state, noisy=False)[:, 1]
    # 2 N for 40 ms on 1 kg give 0.08 m/s each way
    assert float(velocity[0] - velocity[1]) == pytest.approx(0.16, abs=0.06)


def test_starts_come_from_the_task_or_from_the_training_data(trained: Simulator, oscillator: Make) -> None:
    worlds = worlds_of(trained, 200)
    drawn = worlds.observe(worlds.reset(task_start={"mass.position": (0.2, 0.4)}), noisy=False)
    assert (drawn[:, 0] > 0.1).all()
    assert (drawn[:, 0] < 0.5).all()
    assert drawn[:, 1].abs().max() < 0.2
    firsts = torch.tensor([[e.state[0, 0] for e in (oscillator(s) for s in range(8))]])
    learned = worlds.observe(worlds.reset(), noisy=False)[:, :1]
    assert ((learned - firsts).abs().min(1).values < 0.05).all()


def test_wrong_shapes_and_names_are_refused_with_the_right_ones(trained: Simulator) -> None:
    worlds = worlds_of(trained, 3)
    state = worlds.reset()
    with pytest.raises(ContractError, match=r"expected \[3, 1\]"):
        worlds.step(state, torch.zeros(3, 2))
    with pytest.raises(UnknownName, match=r"mass\.position"):
        worlds.reset(task_start={"mass.positon": (0, 1)})
    with pytest.raises(InputError, match="control period"):
        worlds.step(state, torch.zeros(3, 1), dt_s=-0.1)
    with pytest.raises(InputError, match="reserved"):
        worlds.observe(state, modality="image")
    with pytest.raises(ContractError, match="history"):
        worlds.reset(History(torch.zeros(2, 3, 2), torch.zeros(2, 2, 1)))
    scene = trained.ground(Prompt(trained.specs[0]))
    with pytest.raises(UnknownName, match="mass"):
        scene.edit({"cart.mass": "x2"})
