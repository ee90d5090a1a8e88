import numpy as np
import torch

from simulator import noise


def worlds(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n), torch.full((n,), 5)


def test_world_i_does_not_depend_on_how_many_worlds_there_are() -> None:
    assert torch.equal(noise.normal(7, 1, *worlds(3), 5), noise.normal(7, 1, *worlds(1000), 5)[:3])


def test_normals_have_the_moments_of_a_standard_normal_and_are_uncorrelated() -> None:
    draws = noise.normal(3, 0, *worlds(50_000), 4).double().numpy()
    bound = 4 / np.sqrt(50_000)
    assert np.abs(draws.mean(0)).max() < bound
    assert np.abs(draws.var(0) - 1).max() < 2 * bound
    assert np.abs((draws**4).mean(0) - 3).max() < 12 * bound
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < bound


def test_successive_steps_worlds_seeds_and_streams_are_uncorrelated() -> None:
    world, step = worlds(20_000)
    base = noise.normal(1, 0, world, step, 1)[:, 0].numpy()
    others = [
        noise.normal(1, 0, world, step + 1, 1), noise.normal(1, 0, world + 1, step, 1),
        noise.normal(2, 0, world, step, 1), noise.normal(1, 1, world, step, 1),
    ]  # fmt: skip
    for other in others:
        assert abs(np.corrcoef(base, other[:, 0].numpy())[0, 1]) < 4 / np.sqrt(20_000)


def test_uniforms_fill_their_interval_evenly() -> None:
    draws = noise.uniform(1, 2, *worlds(40_000), 1)[:, 0].numpy()
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert draws.min() > 0
    assert draws.max() <= 1
    # chi-squared with 19 degrees of freedom exceeds 43.8 once in a thousand
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8


def test_numbers_drawn_ahead_are_those_of_each_step() -> None:
    clock, world = noise.Clock(), torch.arange(5)
    streams = [noise.Stream(noise.normal, 3, 2, 4, clock), noise.Stream(noise.uniform, 3, 6, 1, clock)]
    counter = torch.tensor([0, 7, 7, 100, 2])
    kept = counter
    for step in range(40):
        torch.testing.assert_close(streams[0].at(world, counter), noise.normal(3, 2, world, counter, 4), rtol=0, atol=0)
        if step % 3 == 0:
            expected = noise.uniform(3, 6, world, counter, 1)
            torch.testing.assert_close(streams[1].at(world, counter), expected, rtol=0, atol=0)
        counter = clock.next(counter) if step != 20 else counter + 5  # nobody told the clock
    torch.testing.assert_close(streams[0].at(world, kept), noise.normal(3, 2, world, kept, 4), rtol=0, atol=0)
    other = world.flip(0).contiguous()
    torch.testing.assert_close(streams[0].at(other, kept), noise.normal(3, 2, other, kept, 4), rtol=0, atol=0)
