"""Scenarios pass and fail for the right reason, and repeat to the bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from simulator.history import History
from simulator.scenario import judge, run_scenario, situation_of
from simulator.simulator import Simulator
from simulator.situation import Trajectory
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.robot import RobotSpec
from storage.contracts.scenario import Check, Scenario


def scenario(sim: Simulator, **fields: Any) -> Scenario:
    values = {
        "name": "push",
        "prompt": {"robot": sim.specs[0]},
        "start": {"mass.position": 0.0},
        "commands": [[2.0]] * 20,
        "checks": [{"expression": "mass.position < 1"}],
        "duration_s": 0.4,
        "worlds": 24,
    }
    return Scenario.model_validate(values | fields)


def test_a_push_to_the_right_passes_and_fails_the_right_checks(trained: Simulator) -> None:
    """2 N for 0.4 s move 1 kg by 0.14 m."""
    checks = [
        {"expression": "mass.position > 0.05", "when": "end"},
        {"expression": "mass.position > 0.05", "when": "always"},
        {"expression": "mass.position > 0.05", "when": "eventually", "share": 0.9},
        {"expression": "mass.position > 0.05", "when": "never"},
        {"expression": "mass.position > 0.05", "when": "never", "to_s": 0.1},
        {"expression": "mass.force == 2", "when": "always"},
    ]
    result = run_scenario(trained, scenario(trained, checks=checks))
    assert [c.passed for c in result.checks] == [True, False, True, False, True, True]
    assert not result.passed
    assert result.checks[0].held == result.checks[0].n == 24
    assert result.checks[1].first_failure_s == pytest.approx(0.02)
    assert 0.1 < (result.checks[3].first_failure_s or 0) <= 0.4
    assert result.checks[3].ci95[1] < 0.2


def test_equal_runs_have_equal_digests_and_another_seed_another(trained: Simulator) -> None:
    first, second = (run_scenario(trained, scenario(trained)) for _ in range(2))
    assert first.digest == second.digest
    assert first.passed
    other = run_scenario(trained, scenario(trained, seed=1))
    assert other.trajectories != first.trajectories
    longer = run_scenario(trained, scenario(trained, worlds=25))
    assert longer.trajectories != first.trajectories


def test_a_policy_drives_instead_of_the_commands(trained: Simulator) -> None:
    made = scenario(trained, checks=[{"expression": "mass.position < -0.05", "when": "end"}])
    assert not run_scenario(trained, made).passed
    policy = lambda t, seen: torch.full((seen.shape[0], 1), -2.0)
    result = run_scenario(trained, made, policy, policy_digest="p" * 64)
    assert result.passed
    assert result.policy == "p" * 64
    with pytest.raises(InputError, match="driven by a policy"):
        run_scenario(trained, scenario(trained, policy="push@1", commands=[]))


def test_disturbances_push_for_their_time_alone(trained: Simulator) -> None:
    made = scenario(trained, commands=[], disturbances=[{"channel": "mass.force", "value": 1.5, "to_s": 0.1}])
    table = situation_of(made).push
    assert table is not None
    assert table[:, 0].tolist() == [1.5] * 5 + [0.0] * 15
    checks = [
        {"expression": "mass.force == 1.5", "to_s": 0.1},
        {"expression": "mass.force == 0", "from_s": 0.12},
    ]
    assert run_scenario(trained, made.model_copy(update={"checks": tuple(map(Check.model_validate, checks))})).passed


def test_it_begins_where_its_past_ends(trained: Simulator, oscillator: Callable[..., Episode]) -> None:
    episode = oscillator(60)
    past = {"state": episode.state[20:41].tolist(), "command": episode.command[20:40].tolist()}
    rows = episode.command[40:60].tolist()
    end = float(episode.state[60, 0])
    near = {"expression": f"abs(mass.position - ({end})) < 0.12", "when": "end", "share": 0.8}
    made = scenario(trained, start={}, past=past, commands=rows, checks=[near])
    assert run_scenario(trained, made).passed
    assert isinstance(situation_of(made).history, History)
    elsewhere = [[p + 1.0, v] for p, v in past["state"]]
    assert not run_scenario(trained, made.model_copy(update={"past": past | {"state": elsewhere}})).passed


def test_edits_and_prompts_reach_the_scene(trained: Simulator, oscillator: Callable[..., Episode]) -> None:
    told = scenario(trained, prompt={"robot": trained.specs[0], "episodes": ["a" * 64]})
    with pytest.raises(UnknownName, match="episode of the prompt"):
        run_scenario(trained, told)
    given = run_scenario(trained, told, episodes={"a" * 64: oscillator(61)})
    assert given.trajectories != run_scenario(trained, scenario(trained)).trajectories
    with pytest.raises(UnknownName, match="quantity to edit"):
        run_scenario(trained, scenario(trained, edits={"mass.mas": "2"}))


def test_windows_and_shares_by_hand() -> None:
    """Four worlds at 10 Hz; periods end at 0.1 to 0.4 s."""
    channels = (Channel(name="x", kind=Kind.SCALAR), Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND))
    spec = RobotSpec(name="one", control_rate_hz=10, channels=channels)
    rows = [[9, 1, 1, 1, 1], [9, 1, -1, 1, 1], [9, -1, -1, -1, -1], [9, 1, 1, 1, -1]]
    moved = Trajectory(spec, torch.tensor(rows).float()[..., None], torch.zeros(4, 4, 1), None)

    def held(**fields: Any) -> tuple[int, bool, float | None]:
        found = judge(Check(expression="x > 0", **fields), moved)
        return found.held, found.passed, found.first_failure_s

    assert held() == (1, False, pytest.approx(0.1))
    assert held(share=0.25) == (1, True, pytest.approx(0.1))
    assert held(when="eventually") == (3, False, None)
    assert held(when="eventually", share=0.75) == (3, True, None)
    assert held(when="never") == (1, False, pytest.approx(0.1))
    assert held(when="end") == (2, False, None)
    assert held(when="end", to_s=0.3) == (3, False, None)
    assert held(from_s=0.3, to_s=0.3, share=0.75) == (3, True, pytest.approx(0.3))
    with pytest.raises(InputError, match="window"):
        held(from_s=0.5)
