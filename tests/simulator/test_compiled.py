"""Compiled worlds against plain ones: the same numbers and gradients up to rounding, and plain torch where compiling
fails."""

import logging
import shutil

import pytest
import torch
from torch import Tensor

from simulator import compiled
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.state import WorldState
from simulator.worlds import Worlds

START = {"mass.position": (-0.5, 0.5), "mass.velocity": (-0.5, 0.5)}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no C++ compiler")


def rolled(worlds: Worlds, commands: Tensor) -> tuple[WorldState, Tensor]:
    state, shown = worlds.reset(task_start=START), []
    for t in range(commands.shape[0]):
        state, _, _ = worlds.step(state, commands[t])
        shown.append(worlds.observe(state))
    return state, torch.stack(shown)


@needs_compiler
def test_compiled_worlds_say_the_same_and_have_the_same_gradients(trained: Simulator) -> None:
    scene = trained.ground(Prompt(trained.specs[0]))
    found = []
    for fast in (False, True):
        commands = torch.linspace(-1, 1, 24).view(4, 6, 1).requires_grad_()
        state, shown = rolled(scene.sample(6, 3, compiled=fast), commands)
        (gradient,) = torch.autograd.grad(shown.square().sum(), commands)
        found.append((state.channels.detach(), state.memory.detach(), shown.detach(), gradient))
    for plain, fast_one in zip(*found, strict=True):
        torch.testing.assert_close(fast_one, plain, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_a_first_step_that_needs_no_gradient_for_its_state_gives_none_to_it(trained: Simulator) -> None:
    worlds = trained.ground(Prompt(trained.specs[0])).sample(6, 3, compiled=True)
    state = worlds.reset(task_start=START)
    worlds.step(state, torch.zeros(6, 1, requires_grad=True))
    assert not state.channels.requires_grad


def test_without_a_compiler_it_runs_as_plain_torch_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wave(x: Tensor) -> Tensor:
        return (3.217 * x.sin()).cumsum(0)

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nowhere/g++",))
    fast, x = compiled.compiled(wave), torch.linspace(0, 1, 300)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fast(x), wave(x))
        assert torch.equal(fast(x), wave(x))
    assert [record.message.count("/nowhere/g++") for record in caplog.records] == [1]
