"""What-if answers: against physics, against themselves, and by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator.answer import Answer, Case, distribution, effect, split
from simulator.config import SimulatorConfig
from simulator.history import History
from simulator.outcome import Outcome, TaskReturn
from simulator.prompt import Prompt
from simulator.scene import Scene
from simulator.sensitivity import sensitivity
from simulator.simulator import Simulator
from simulator.situation import Situation, Trajectory, run
from simulator.train import train_simulator
from simulator.what_if import ask
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

Make = Callable[..., Episode]
FINAL = "final(mass.position)"


@pytest.fixture(scope="module")
def scene(oscillator: Make, oscillator_spec: Callable[..., RobotSpec], small: SimulatorConfig) -> Scene:
    """Grounded in the specification alone of a mass of 1 kg, by a simulator that saw 0.25 to 4 kg and was told."""
    masses = np.geomspace(0.25, 4.0, 8)
    logs = [oscillator(s, mass=float(m), spec=oscillator_spec(float(m))) for s, m in enumerate(masses)]
    simulator = train_simulator(logs, small.model_copy(update={"updates": 240, "notes_drop": 1.0}))
    return simulator.ground(Prompt(oscillator_spec(1.0)))


def pushed(horizon_s: float = 0.4) -> Situation:
    return Situation(horizon_s, start={"mass.position": 0.0}, commands=torch.full((20, 1), 1.5))


def test_a_heavier_mass_moves_less_and_a_lighter_one_more(scene: Scene) -> None:
    """1.5 N for 0.4 s move 1 kg by 0.105 m, 4 kg by 0.029 m and 0.25 kg by 0.292 m. So short a training learns which
    way, and little of how much: `sim_what_if` measures that."""
    answer = ask(scene, {"mass.mass": [0.25, 4.0]}, FINAL, pushed(), worlds=32)
    light, heavy = answer.cases
    assert (light.value, heavy.value, answer.base_values) == (0.25, 4.0, {"mass.mass": 1.0})
    assert answer.base.mean == pytest.approx(0.105, abs=0.04)
    assert heavy.effect.mean < 0 < light.effect.mean
    assert light.effect.positive > 0.9
    assert heavy.effect.negative > 0.9


def test_an_edit_that_changes_nothing_has_no_effect_at_all(scene: Scene) -> None:
    answer = ask(scene, {"mass.mass": ["x1", 1.0]}, FINAL, pushed(), worlds=8)
    for case in answer.cases:
        assert (case.effect.mean, case.effect.low, case.effect.high, case.effect.standard_error) == (0, 0, 0, 0)
        assert (case.effect.positive, case.effect.negative) == (0, 0)
    assert "does not change, 8 worlds" in answer.sentences()[0]


def test_a_quantity_that_nobody_said_is_compared_with_the_first_value_asked(scene: Scene) -> None:
    """To be told a value is a change too, so the scene as it is would not do."""
    answer = ask(scene, {"mass.damping": [0.1, 0.5]}, FINAL, pushed(), worlds=8)
    told, more = answer.cases
    assert (told.against, more.against) == ("0.1", "0.1")
    assert (told.effect.low, told.effect.high) == (0.0, 0.0)
    assert more.effect.mean == pytest.approx(more.outcome.mean - told.outcome.mean, abs=1e-9)
    assert more.effect.mean != pytest.approx(more.outcome.mean - answer.base.mean, abs=1e-6)
    assert "the others are compared with this" in answer.sentences()[0]
    assert "(not 0.1)" in answer.sentences()[1]


def test_answers_repeat_to_the_bit_and_worlds_do_not_depend_on_their_number(scene: Scene) -> None:
    first, second = (ask(scene, {"mass.mass": ["x2"]}, FINAL, pushed(), worlds=16, seed=5) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != ask(scene, {"mass.mass": ["x2"]}, FINAL, pushed(), worlds=16, seed=6).digest
    with torch.no_grad():
        few, many = (run(scene.sample(n, 5), pushed()).state for n in (6, 40))
    assert torch.allclose(few, many[:6], atol=1e-5)


def test_common_random_numbers_narrow_the_effect(scene: Scene) -> None:
    answer = ask(scene, {"mass.mass": ["x1.1"]}, FINAL, pushed(), worlds=32)
    unpaired = np.hypot(answer.base.deviation, answer.cases[0].outcome.deviation) / np.sqrt(32)
    assert answer.cases[0].effect.standard_error < 0.5 * unpaired


def test_other_noise_for_the_same_hypotheses_is_what_replicates_draw(scene: Scene) -> None:
    worlds = scene.sample(8, 0)
    with torch.no_grad():
        a, b, again = (run(worlds, pushed(), seed).state for seed in (0, 1, 0))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)


def test_variance_is_told_apart_by_its_source() -> None:
    """Balanced draws with known components: member 4, scene 1, noise 0.25."""
    rng = np.random.default_rng(0)
    members = np.arange(4000) % 400
    values = 2 * rng.standard_normal(400)[members] + rng.standard_normal(4000) + 0.5 * rng.standard_normal((3, 4000))
    found = split(values, members)
    assert found.member == pytest.approx(4.0, rel=0.2)
    assert found.scene == pytest.approx(1.0, rel=0.1)
    assert found.noise == pytest.approx(0.25, rel=0.05)


def test_an_effect_by_hand() -> None:
    base = np.array([[0.0, 1.0], [2.0, 3.0]])
    found = effect(base + np.array([[1.0, -1.0], [3.0, 1.0]]), base)  # per world: (1 + 3) / 2 and (-1 + 1) / 2
    assert (found.mean, found.positive, found.negative) == (1.0, 0.5, 0.0)
    assert found.standard_error == pytest.approx(np.sqrt(2) / np.sqrt(2))
    assert (found.low, found.high) == pytest.approx((0.1, 1.9))


def test_plain_words_say_which_way_and_how_sure() -> None:
    def said(changes: list[float]) -> str:
        base, values = np.zeros((2, len(changes))), np.array([changes, changes])
        members = np.zeros(len(changes), dtype=int)
        case = Case(
            quantity="payload.mass",
            change="0.5",
            value=0.5,
            outcome=distribution(values, members),
            effect=effect(values, base),
        )
        answer = Answer(
            outcome="x", title="final arm.angle", unit="rad", horizon_s=1, worlds=len(changes), replicates=2, seed=0,
            base=distribution(base, members), base_values={}, cases=(case,),
        )  # fmt: skip
        return answer.sentences()[0]

    assert said([-0.2, -0.2]) == ("payload.mass 0.5: final arm.angle falls by 0.2 rad [0.2, 0.2] (90 %), 2 worlds")
    assert "rises by 0.3 rad" in said([0.3, 0.3])
    assert "may rise or fall, +0.1 rad [-0.17, 0.37] (90 %); it rises in 50% of 2 worlds" in said([-0.2, 0.4])


def trajectory(values: list[list[float]], kind: Kind = Kind.LINEAR) -> Trajectory:
    """[N, T + 1] values of `a.x`, commands 0 at 10 Hz."""
    channels = (Channel(name="a.x", kind=kind), Channel(name="a.u", kind=Kind.EFFORT, role=Role.COMMAND))
    state = torch.tensor(values)[..., None]
    spec = RobotSpec(name="one", control_rate_hz=10, channels=channels)
    return Trajectory(spec, state, torch.zeros(state.shape[0], state.shape[1] - 1, 1), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("final(a.x)", 0.5),
        ("a.x", 0.5),
        ("max(abs(a.x))", 3.0),
        ("min(a.x)", -3.0),
        ("mean(a.x * 2)", -1.0 / 3.0 * 2),
        ("time_above(abs(a.x), 1)", 0.2),
        ("final(a.x + a.u)", 0.5),
        ("max(2)", 2.0),
    ],
)
def test_outcomes_by_hand(text: str, expected: float) -> None:
    """The first row is where worlds begin; it belongs to no period. Periods end at 1.5, -3 and 0.5."""
    found = Outcome(text)(trajectory([[9.0, 1.5, -3.0, 0.5]]), torch.zeros(1))
    assert float(found[0]) == pytest.approx(expected)


def test_angles_turn_on_and_all_worlds_begin_on_one_turn() -> None:
    """Steps of 2 rad as sensors show them; one world is shown 0.01 beyond pi as -3.13."""
    shown = trajectory([[3.13, -1.153, 0.847, 2.847], [-3.133, -1.133, 0.867, 2.867]], Kind.ANGLE)
    reference = torch.tensor([3.13])
    ends = Outcome("a.x")(shown, reference)
    assert ends.tolist() == pytest.approx([9.13, 9.15], abs=0.01)
    wrapped = Outcome("final(wrap(a.x))")(shown, reference)
    assert wrapped.tolist() == pytest.approx([2.847, 2.867], abs=1e-3)


def test_returns_stop_where_the_task_terminates() -> None:
    task = Task(name="t", reward="a.x", terminated="a.x > 2", horizon_s=1)
    assert TaskReturn(task)(trajectory([[0.0, 1.0, 3.0, 5.0], [0.0, 1.0, 1.0, 1.0]]), torch.zeros(1)).tolist() == [4, 3]


@pytest.mark.parametrize("text", ["max(a.x, 2)", "time_above(a.x)", "time_above(a.x, a.u)", "max(import)", "a.x +"])
def test_what_is_no_outcome_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Outcome(text)


@pytest.mark.parametrize("outcome", [FINAL, "max(mass.velocity ** 2)"])
def test_sensitivity_matches_finite_differences(scene: Scene, outcome: str) -> None:
    situation = pushed(0.3)
    found = sensitivity(scene, outcome, situation, worlds=8, seed=2)
    assert found.mean.shape == (15, 1)
    measure, reference, step = Outcome(outcome), torch.zeros(2), 0.02

    def value(commands: torch.Tensor) -> float:
        with torch.no_grad():
            moved = run(scene.sample(8, 2), replace(situation, commands=commands), 2)
            return float(measure(moved, reference).double().mean())

    for t in (0, 5, 10):
        bump = torch.zeros(15, 1)
        bump[t] = step
        base = torch.full((15, 1), 1.5)
        finite = (value(base + bump) - value(base - bump)) / (2 * step)
        assert found.mean[t, 0] == pytest.approx(finite, rel=0.05, abs=3e-4)
    assert (found.low <= found.high).all()
    assert "N" in found.sentences()[0]


def test_questions_that_cannot_be_asked(scene: Scene) -> None:
    with pytest.raises(UnknownName, match=r"mass\.position"):
        ask(scene, {}, "final(mass.positon)", pushed())
    with pytest.raises(UnknownName, match=r"mass\.mass"):
        ask(scene, {"mass.mas": [1.0]}, FINAL, pushed())
    with pytest.raises(InputError, match="cannot be set to -1"):
        ask(scene, {"mass.mass": [-1.0]}, FINAL, pushed())
    with pytest.raises(InputError, match="replicates"):
        ask(scene, {}, FINAL, pushed(), replicates=1)
    with pytest.raises(InputError, match="no gradient"):
        sensitivity(scene, "time_above(mass.position, 0)", pushed())
    with pytest.raises(InputError, match="policy"):
        sensitivity(scene, FINAL, replace(pushed(), policy=lambda t, s: s[:, :1]))
    with pytest.raises(InputError, match="shorter than one control period"):
        ask(scene, {}, FINAL, pushed(0.001))
    with pytest.raises(ContractError, match="rows of 1 values"):
        ask(scene, {}, FINAL, Situation(0.1, commands=torch.zeros(4, 2)))


def test_a_policy_sees_what_sensors_show_and_its_nonsense_becomes_the_safe_command(scene: Scene) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def policy(t: int, observed: torch.Tensor) -> torch.Tensor:
        seen.append((t, tuple(observed.shape)))
        return torch.full((4, 1), float("nan")) if t == 1 else torch.full((4, 1), 99.0)

    with torch.no_grad():
        moved = run(scene.sample(4, 0), Situation(0.06, start={"mass.position": 0.1}, policy=policy))
    assert seen == [(0, (4, 2)), (1, (4, 2)), (2, (4, 2))]
    assert moved.command[0, :, 0].tolist() == [2.0, 0.0, 2.0]  # limits are 2 N, the safe command is 0


def test_a_logged_run_can_be_gone_into(scene: Scene, oscillator: Make, trained: Simulator) -> None:
    episode = oscillator(70)
    rows = scene.frame.history_rows
    situation = Situation.of_episode(episode, 40, rows, horizon_s=0.2)
    assert isinstance(situation.history, History)
    with torch.no_grad():
        moved = run(trained.ground(Prompt(trained.specs[0])).sample(64, 0), situation)
    assert moved.command[0, :, 0].tolist() == pytest.approx(episode.command[40:50, 0].tolist())
    assert moved.state.mean(0)[-1, 0] == pytest.approx(episode.state[50, 0], abs=0.06)
    with pytest.raises(InputError, match="must be from"):
        Situation.of_episode(episode, rows - 1, rows)
