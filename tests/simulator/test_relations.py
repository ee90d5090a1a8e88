"""Angles and rates that no specification tells of, found in logs of an unnamed pendulum on a cart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator import relations
from simulator.config import SimulatorConfig, Stage
from simulator.prompt import Prompt
from simulator.relations import Relations, View
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.bundles import SimulatorManifest
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec
from tests.simulator.conftest import make_episode

NAMES = ("a", "b", "c", "d", "e", "f")
"""Cosine, sine, position of the cart, its velocity, angular velocity, a number that has to do with none of them."""
SPEC = RobotSpec(
    name="unnamed",
    control_rate_hz=25.0,
    channels=(
        *(Channel(name=name, kind=Kind.SCALAR) for name in NAMES),
        Channel(name="u", kind=Kind.SCALAR, role=Role.COMMAND, limits=(-1.0, 1.0)),
    ),
)


def swing(seed: int, steps: int = 150, turn: float = 1.0) -> Episode:
    """A pendulum that a motor turns, beside a cart that it pushes; exact to 1 ms."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(-1, 1, steps // 5 + 1), 5)[:steps]
    angle, rate, x, v = rng.uniform(-3, 3), rng.uniform(-2, 2), 0.0, 0.0
    rows = []
    for t in range(steps + 1):
        rows.append((np.cos(angle), np.sin(angle), x, v, turn * rate, np.sin(0.3 * t + seed)))
        for _ in range(40):
            push = u[min(t, steps - 1)]
            rate += (-9.0 * np.sin(angle) + 4.0 * push - 0.2 * rate) * 1e-3
            v += (2.0 * push - x - 0.3 * v) * 1e-3
            angle, x = angle + rate * 1e-3, x + v * 1e-3
    return make_episode(SPEC, np.array(rows), u[:, None], robot="swing")


EPISODES = [swing(seed) for seed in range(5)]
FOUND = relations.find(EPISODES)


def test_an_angle_and_the_rates_are_found_and_nothing_else() -> None:
    assert (
        Relations(angles=(("a", "b"),), rates=(("c", "d"), ("a", "e"))) == FOUND
        or Relations(angles=(("a", "b"),), rates=(("a", "e"), ("c", "d"))) == FOUND
    )


def test_what_was_found_is_told_in_words() -> None:
    assert FOUND.words[0] == "a and b are the cosine and the sine of one angle."
    assert set(FOUND.words[1:]) == {"d is the rate of c.", "e is the rate of the angle of a."}


def test_an_angle_that_turns_the_other_way_takes_its_sine_for_its_cosine() -> None:
    found = relations.find([swing(seed, turn=-1.0) for seed in range(5)])
    assert found.angles == (("b", "a"),)
    assert ("b", "e") in found.rates


def test_a_scaled_velocity_is_no_rate() -> None:
    assert ("a", "e") not in relations.find([swing(seed, turn=1.7) for seed in range(5)]).rates


def test_too_little_data_tells_nothing() -> None:
    assert relations.find([swing(0, steps=relations.FEWEST - 1)]) == Relations()


def test_jumps_when_somebody_resets_the_robot_are_no_motion() -> None:
    state = np.concatenate([swing(seed).state for seed in range(5)])
    command = np.zeros((len(state) - 1, 1))
    jumps = tuple(range(150, len(state) - 1, 151))
    assert relations.find([make_episode(SPEC, state, command, resets=jumps)]).rates != ()
    shuffled = state[np.random.default_rng(0).permutation(len(state))]
    assert relations.find([make_episode(SPEC, shuffled, command)]).rates == ()


def test_what_a_specification_says_is_believed() -> None:
    told = [c.model_copy(update={"derivative_of": "c"}) if c.name == "d" else c for c in SPEC.channels]
    spec = SPEC.model_copy(update={"channels": tuple(told)})
    found = relations.find([replace(episode, spec=spec) for episode in EPISODES])
    assert found.rates == (("a", "e"),)


def test_columns_come_back_as_they_were_and_gradients_pass() -> None:
    view = View.of(SPEC, FOUND)
    assert view.refined.state_layout.columns == ("a_angle", "c", "d", "e", "f")
    assert view.refined.channel("e").derivative_of == "a_angle"
    columns = torch.from_numpy(EPISODES[0].state.copy()).requires_grad_()
    back = view.restore(view.refine(columns))
    torch.testing.assert_close(back, columns)
    (gradient,) = torch.autograd.grad(back[:, 3].sum(), columns)
    assert torch.equal(gradient[:, 3], torch.ones(len(columns), dtype=torch.float64))


def test_an_angle_is_measured_where_its_sine_and_cosine_are() -> None:
    valid = np.ones_like(EPISODES[0].state, dtype=bool)
    valid[7, 1] = False
    seen = View.of(SPEC, FOUND).episode(replace(EPISODES[0], state_valid=valid))
    assert not seen.state_valid[7, 0]
    assert seen.state_valid[7, 1:].all()
    assert seen.state_valid[8].all()


@pytest.fixture(scope="module")
def trained() -> Simulator:
    short = (Stage(steps=1, share=0.3), Stage(steps=8, share=0.7))
    config = SimulatorConfig(
        updates=250, members=2, width=32, curriculum=short, history_s=0.08, delay_s=0.0, jitter=0.0, notes_drop=1.0
    )
    return train_simulator(EPISODES, config)


def test_the_simulator_speaks_the_robots_columns_and_is_better_for_what_it_found(
    trained: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds = trained.ground(Prompt(SPEC)).sample(4, 0)
    state = worlds.reset()
    for _ in range(5):
        state, _, _ = worlds.step(state, torch.ones(4, 1))
    seen = worlds.observe(state)
    assert seen.shape == (4, 6)
    torch.testing.assert_close(seen[:, 0] ** 2 + seen[:, 1] ** 2, torch.ones(4))
    tests = [swing(seed) for seed in range(20, 24)]
    error = trained.score(tests, (0.4,), max_windows=100).find("nrmse", 0.4)
    monkeypatch.setattr("simulator.train.find_relations", lambda _: Relations())
    plain = train_simulator(EPISODES, trained.model.config).score(tests, (0.4,), max_windows=100).find("nrmse", 0.4)
    assert error is not None
    assert plain is not None
    assert error.value < 0.7 * plain.value


def test_relations_travel_with_the_bundle_and_to_what_is_trained_from_it(trained: Simulator) -> None:
    parts, files = trained.to_files()
    manifest = SimulatorManifest(name="swing", dataset="0" * 64, **parts)
    read = Simulator.from_files(manifest, files)
    assert read.model.relations == {relations.channels_key(SPEC): FOUND}
    still = trained.model.config.model_copy(update={"warm_updates": 1})
    more = train_simulator([swing(9, steps=30)], still, parent=read)
    assert more.model.relations == read.model.relations
    assert more.model.shape == read.model.shape


def test_a_robot_never_seen_is_understood_by_its_prompt(trained: Simulator) -> None:
    other = SPEC.model_copy(
        update={"channels": tuple(c.model_copy(update={"name": f"{c.name}2"}) for c in SPEC.channels)}
    )
    prompt = replace(swing(11), spec=other, robot="other")
    told = trained.ground(Prompt(other, (prompt,)))
    assert told.frame.structure.view is not None
    assert told.frame.structure.view.relations.angles == (("a2", "b2"),)
    assert (trained.model.shape.pairs, trained.model.shape.others) == (2, 1)
    with pytest.raises(InputError, match="6 other"):  # alone, its specification asks for slots that are not there
        trained.ground(Prompt(other))
    known = trained.ground(Prompt(SPEC, (EPISODES[0],)))
    assert known.model is trained.model
