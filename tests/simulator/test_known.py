"""What training believes about each robot: one posterior per serial, and a fleet that spreads as the prior says."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.features import physical_columns
from simulator.fleet import Group, draw, make_groups
from simulator.known import KnownRobots
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import read_known, train_simulator
from storage.contracts.episode import Episode
from storage.contracts.robot import RobotSpec

Make = Callable[..., Episode]


def heavier(episode: Episode) -> Episode:
    """The same robot under a specification that says another mass."""
    rows = [{**e.model_dump(), "mass_kg": 9.0} for e in episode.spec.entities]
    return replace(episode, spec=RobotSpec.model_validate({**episode.spec.model_dump(), "entities": rows}))


@pytest.fixture
def groups(oscillator: Make, small: SimulatorConfig) -> list[Group]:
    own = [oscillator(i, robot=f"r{i}") for i in range(3)]
    episodes = [*own, heavier(own[0])]
    model = train_simulator(episodes, small.model_copy(update={"updates": 1})).model
    return make_groups(episodes, model, 4)


def test_a_robot_under_two_specifications_has_one_posterior(groups: list[Group], small: SimulatorConfig) -> None:
    known, names = KnownRobots.of(groups, small), groups[0].recording.robots
    assert known.width == 3 * small.scene * 2
    columns = torch.randn(2, known.width, generator=torch.Generator().manual_seed(0))
    mean, deviation = known.posterior(columns, 0, 1, torch.arange(4).expand(2, 4))
    twins = [i for i, name in enumerate(names) if name.startswith("r0@")]
    others = [i for i in range(4) if i not in twins]
    assert len(twins) == 2
    assert torch.equal(mean[:, :, twins[0]], mean[:, :, twins[1]])
    assert not torch.equal(mean[:, :, others[0]], mean[:, :, others[1]])
    assert (deviation > 0).all()


def test_what_a_batch_withholds_is_what_the_latent_has_to_say(groups: list[Group], small: SimulatorConfig) -> None:
    """Quantities that somebody changed between logs of a robot included."""
    group, columns = groups[0], physical_columns(groups[0].frame.structure.shape)
    withheld = set()
    for update in range(40):
        batch = draw(group, small, update, range(1), 4)
        for place, robot in enumerate(batch.robot[0]):
            said, hidden = batch.static[0, :, place, columns], batch.hidden[0, :, place]
            assert torch.equal(said + hidden, group.static[robot][:, columns])
            assert not (said * hidden).any()
            withheld |= {int(robot)} if hidden.any() else set()
    told = {robot for robot, static in enumerate(group.static) if static[:, columns].any()}
    assert withheld == told != set()


def test_the_mismatch_is_nothing_for_a_fleet_spread_like_the_prior(groups: list[Group], small: SimulatorConfig) -> None:
    known = KnownRobots.of(groups, small)
    table = torch.zeros(1, 3, 1, small.scene, 2)
    table[..., 0] = torch.tensor([-1.0, 0.0, 1.0])[None, :, None, None] * (0.99 * 1.5) ** 0.5
    table[..., 1] = torch.log(torch.tensor(0.1))
    assert float(known.mismatch(table.flatten(1), 0, 1)) < 1e-8
    crowded = table.clone()
    crowded[..., 0] *= 0.5
    assert float(known.mismatch(crowded.flatten(1), 0, 1)) > 0.1


def test_prompts_tell_robots_apart_that_differ(oscillator: Make, small: SimulatorConfig) -> None:
    """Masses from half to twice: the latent read from a robot's log is its own."""
    fleet = [oscillator(10 * i + j, mass=m, robot=f"r{i}") for i, m in enumerate((0.5, 0.8, 1.3, 2.0)) for j in (0, 1)]
    config = small.model_copy(update={"updates": 400, "rows": 256})
    simulator = train_simulator(fleet, config)
    light, heavy, again = (
        simulator.ground(Prompt(fleet[0].spec, (oscillator(seed, mass=mass),))).mean
        for seed, mass in ((90, 0.5), (91, 2.0), (92, 0.5))
    )
    assert (light - again).norm() < 0.5 * (light - heavy).norm()


def test_training_that_goes_on_begins_with_what_the_weights_read(oscillator: Make, small: SimulatorConfig) -> None:
    fleet = [oscillator(10 * i + j, mass=m, robot=f"r{i}") for i, m in enumerate((0.5, 2.0)) for j in (0, 1)]
    model = train_simulator(fleet, small).model
    groups = make_groups(fleet, model, 4)
    known = KnownRobots.of(groups, small)
    columns = read_known(fleet, model, groups, known)
    mean, deviation = known.posterior(columns, 0, 1, torch.tensor([[0, 1]] * model.members))
    for index, logs in enumerate((fleet[:2], fleet[2:])):
        scene = Simulator(model, (fleet[0].spec,)).ground(Prompt(fleet[0].spec, tuple(logs)))
        torch.testing.assert_close(mean[:, 0, index], scene.mean)
        torch.testing.assert_close(deviation[:, 0, index], scene.independent)
    assert not torch.allclose(mean[:, :, 0], mean[:, :, 1])
