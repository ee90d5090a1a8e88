"""Notes alone as a prompt, on a fleet of masses of 0.4 kg and a payload that no sensor and no specification shows."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from simulator.config import SimulatorConfig
from simulator.encoders.notes import FleetNotes, Said
from simulator.history import History
from simulator.prompt import Prompt
from simulator.quantities import opinions
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.episode import Episode
from storage.contracts.robot import Entity, RobotSpec

Make = Callable[..., Episode]
Ask = Callable[..., np.ndarray]
BARE_KG, PUSH_N, PUSH_S = 0.4, 2.0, 0.4
EXACT = (
    "payload {kg:.2f} kg", "it carries a load of {g:.0f} g", "weight on board: {kg:.1f} kg",
    "loaded with {g:.0f} grams today",
)  # fmt: skip
UNKNOWN = ("opaque bottle, contents unknown", "load not weighed", "somebody put a box on it, no idea what is inside")
BESIDE = ("rain outside", "Ana was on shift", "battery changed")


def fleet(make: Make, robots: int = 24) -> list[Episode]:
    """Payloads of 0 to 1.4 kg; of each robot two episodes of 4 s and what was written about each."""
    found = []
    for i, payload in enumerate(np.linspace(0.0, 1.4, robots)):
        for j in range(2):
            notes = (EXACT[(i + j) % 4].format(kg=payload, g=1000 * payload), UNKNOWN[(i + j) % 3], BESIDE[(i - j) % 3])
            found.append(replace(make(10 * i + j, mass=BARE_KG + payload, robot=f"r{i}"), notes=notes))
    return found


@pytest.fixture(scope="module")
def noted(oscillator: Make, small: SimulatorConfig) -> Simulator:
    config = small.model_copy(update={"updates": 1000, "rows": 256, "groups": 16, "seed": 1})
    return train_simulator(fleet(oscillator), config)


@pytest.fixture(scope="module")
def reach(noted: Simulator) -> Ask:
    return partial(reached, noted)


def reached(sim: Simulator, notes: str, episodes: tuple[Episode, ...] = ()) -> np.ndarray:
    """Where 400 worlds are after a push from rest, m."""
    worlds = sim.ground(Prompt(sim.specs[0], episodes, notes)).sample(400, seed=0)
    state = worlds.reset(History(torch.zeros(1, 11, 2), torch.zeros(1, 10, 1)))
    with torch.no_grad():
        for _ in range(round(PUSH_S * sim.specs[0].control_rate_hz)):
            state, _, _ = worlds.step(state, torch.full((400, 1), PUSH_N))
    found: np.ndarray = worlds.observe(state, noisy=False)[:, 0].numpy()
    return found


def truth(payload: float) -> float:
    """Where the mass is by the equation of motion of `conftest.oscillate`."""
    x = v = 0.0
    for _ in range(round(PUSH_S / 0.001)):
        v += (PUSH_N - 4 * x - 0.6 * v) / (BARE_KG + payload) * 0.001
        x += v * 0.001
    return x


def test_an_exact_note_narrows_and_an_unknown_one_leaves_it_wide(reach: Ask) -> None:
    nothing, unknown, exact = (reach(n).std() for n in ("", "opaque bottle, contents unknown", "payload 0.7 kg"))
    assert exact < 0.8 * unknown
    assert unknown > 0.9 * nothing
    assert reach("rain outside").std() > 0.9 * nothing


def test_the_posterior_narrows_the_more_is_said(noted: Simulator, oscillator: Make) -> None:
    clip = (oscillator(900, mass=1.1), oscillator(901, mass=1.1))

    def width(notes: str, episodes: tuple[Episode, ...] = ()) -> float:
        return float(noted.ground(Prompt(noted.specs[0], episodes, notes)).deviation.mean())

    assert width("payload 0.7 kg", clip) < width("", clip) < width("payload 0.7 kg")
    assert width("payload 0.7 kg") < width(UNKNOWN[0]) < width("") < 1.0
    assert width("payload 0.7 kg. payload 700 g") == width("payload 0.7 kg")  # said twice is said once


@pytest.mark.parametrize("phrase", ["payload {} kg", "cargo of {} kg", "the thing on top weighs {} kg"])
def test_a_note_moves_the_prediction_as_the_payload_would(reach: Ask, phrase: str) -> None:
    """The second and third phrase never occurred in training."""
    moved = reach(phrase.format(0.1)).mean() - reach(phrase.format(0.7)).mean()
    assert 0.5 < moved / (truth(0.1) - truth(0.7)) < 1.3


def test_the_unit_does_not_matter(noted: Simulator) -> None:
    grams, kilograms = (noted.ground(Prompt(noted.specs[0], (), n)) for n in ("payload 700 g", "payload 0.7 kg"))
    assert torch.equal(grams.mean, kilograms.mean)
    assert torch.equal(grams.deviation, kilograms.deviation)


def test_notes_of_the_prompts_episodes_count_like_the_prompts_own(noted: Simulator, oscillator: Make) -> None:
    spec, silent = noted.specs[0], replace(oscillator(1), notes=())
    said = replace(silent, notes=("payload 0.7 kg",))
    within = noted.ground(Prompt(spec, (said,)))
    beside = noted.ground(Prompt(spec, (silent,), "payload 0.7 kg"))
    assert torch.equal(within.mean, beside.mean)
    assert not torch.equal(within.mean, noted.ground(Prompt(spec, (silent,))).mean)
    assert Prompt(spec, (said, said), "payload 0.7 kg").said == "payload 0.7 kg"


def test_notes_are_unused_where_no_training_data_held_any(trained: Simulator, noted: Simulator) -> None:
    said = Prompt(trained.specs[0], (), "payload 0.7 kg")
    scene, silent = trained.ground(said), trained.ground(Prompt(trained.specs[0]))
    assert scene.unused == ("notes",)
    assert torch.equal(scene.mean, silent.mean)
    assert not any(name.startswith("notes.") for name in trained.model.layout)
    assert "notes" not in trained.to_files()[0]["config"]["shape"]  # digests of such simulators are what they were
    assert noted.ground(said).unused == ()


def test_killed_and_resumed_training_with_notes_ends_with_the_same_bits(
    oscillator: Make, small: SimulatorConfig, tmp_path: Path
) -> None:
    episodes = fleet(oscillator, 4)
    config = small.model_copy(update={"updates": 20, "checkpoint_every": 10})

    def stop(share: float, text: str) -> None:
        del share, text
        raise InterruptedError

    path = tmp_path / "weights.safetensors"
    long = config.model_copy(update={"updates": 40})
    with pytest.raises(InterruptedError):
        train_simulator(episodes, long, checkpoint=path, progress=stop)
    resumed = train_simulator(episodes, long, checkpoint=path)
    assert torch.equal(resumed.model.theta, train_simulator(episodes, long).model.theta)
    other = [replace(e, notes=("payload 9 kg",)) for e in episodes]
    assert not torch.equal(train_simulator(other, config).model.theta, train_simulator(episodes, config).model.theta)


def test_a_parent_without_notes_goes_on_and_learns_to_read_them(
    trained: Simulator, oscillator: Make, small: SimulatorConfig
) -> None:
    grown = trained.model.grown(notes=True, tasks=False)
    for name, weights in trained.model.weights().items():
        assert torch.equal(grown.weights()[name], weights)
    config = small.model_copy(update={"warm_updates": 4})
    child = train_simulator(fleet(oscillator, 4), config, parent=trained)
    assert child.model.shape.notes
    assert child.ground(Prompt(child.specs[0], (), "payload 0.7 kg")).unused == ()
    drift = (child.model.weights()["step.hidden"] - trained.model.weights()["step.hidden"]).abs().max()
    assert drift < 0.2  # four updates away from the parent, not from scratch
    silent = train_simulator([oscillator(1)], config, parent=child)  # and is not lost where nobody writes
    assert silent.model.shape.notes


def test_a_note_is_told_which_entity_it_names() -> None:
    entities = [Entity(name=name, type="joint") for name in ("link1", "link2", "upper_arm")]
    said = Said.of(opinions("Link 2 weighs 0.3 kg. the upper-arm is stiff; link20 is not here"), entities)
    named, other = said.match[..., 0].T.tolist(), said.match[..., 1].T.tolist()
    assert named == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert other == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_notes_of_one_robot_teach_nothing_about_another(oscillator: Make) -> None:
    one, other = (replace(oscillator(1), notes=(n,)) for n in ("payload 0.7 kg", "payload 0.1 kg. worn belt"))
    entities = one.spec.entities
    found = FleetNotes.of({"a": [one, one], "b": [other], "c": [oscillator(2)]}, entities)
    assert found is not None
    assert [index.tolist() for index in found.of_robot] == [[0], [1, 2], []]
    assert FleetNotes.of({"c": [oscillator(2)]}, entities) is None


def test_whatever_is_written_is_grounded(noted: Simulator) -> None:
    spec: RobotSpec = noted.specs[0]
    for notes in (" \n. ; ", "0.7 kg", "??", "9" * 400 + " kg", "payload 0.7 kg. " + "so much to tell. " * 2000):
        scene = noted.ground(Prompt(spec, (), notes))
        assert scene.mean.isfinite().all()
        assert scene.deviation.isfinite().all()


def test_runs_of_blanks_are_one() -> None:
    (found,) = opinions("payload" + " " * 15_000 + "0.7" + "\t" * 4_000 + "kg")
    assert found.said == "payload 0.7 kg"
    assert np.array_equal(found.numbers, opinions("payload 0.7 kg")[0].numbers)
