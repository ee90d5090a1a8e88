"""Runs a scenario: sampled worlds of a prompted, edited robot, driven by commands or a policy, judged by checks.

Equal simulators, scenarios, policies and seeds give results of equal digest on equal builds. Files, catalogs and
policies' bytes are for the callers.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from simulator.history import History
from simulator.prompt import Prompt
from simulator.situation import Policy, Situation, Trajectory, run
from storage.contracts.canonical import sha256_hex
from storage.contracts.channel import Role
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.expression import Expression
from storage.contracts.proportion import wilson
from storage.contracts.scenario import Check, CheckResult, Scenario, ScenarioResult
from storage.contracts.task import columns

if TYPE_CHECKING:
    from simulator.simulator import Simulator

_SHARE_ROUNDING = 1e-9


def run_scenario(
    simulator: "Simulator",
    scenario: Scenario,
    policy: Policy | None = None,
    *,
    policy_digest: str | None = None,
    episodes: Mapping[str, Episode] | None = None,
) -> ScenarioResult:
    """`episodes`: those that the scenario's prompt names, by digest. Without `policy` the scenario's commands drive.

    Raises InputError when the scenario wants a policy or an episode that is not given, or an edit is not possible.
    """
    if policy is None and scenario.policy is not None and not scenario.commands:
        raise InputError(
            f"scenario '{scenario.name}' is driven by a policy", remedy="Say which one; the scenario holds no commands."
        )
    trajectory = simulate(simulator, scenario, policy, episodes or {})
    checks = tuple(judge(check, trajectory) for check in scenario.checks)
    return ScenarioResult(
        scenario=scenario.digest,
        name=scenario.name,
        simulator=simulator.digest,
        policy=policy_digest,
        seed=scenario.seed,
        worlds=scenario.worlds,
        checks=checks,
        trajectories=_digest(trajectory),
        passed=all(check.passed for check in checks),
    )


def simulate(
    simulator: "Simulator", scenario: Scenario, policy: Policy | None, episodes: Mapping[str, Episode]
) -> Trajectory:
    """The sampled worlds of a scenario, from its start to its end."""
    missing = [digest for digest in scenario.prompt.episodes if digest not in episodes]
    if missing:
        raise UnknownName("episode of the prompt", missing[0], episodes or None)
    found = tuple(episodes[digest] for digest in scenario.prompt.episodes)
    scene = simulator.ground(Prompt(scenario.prompt.robot, found, scenario.prompt.notes)).edit(scenario.edits)
    worlds = scene.sample(scenario.worlds, scenario.seed)
    with torch.no_grad():
        return run(worlds, situation_of(scenario, policy))


def situation_of(scenario: Scenario, policy: Policy | None = None) -> Situation:
    """Where it begins and what drives it."""
    spec, history = scenario.prompt.robot, None
    if scenario.past is not None:
        state = torch.tensor(scenario.past.state).float()[None]
        width = spec.command_layout.width
        command = torch.tensor(scenario.past.command).float().reshape(1, state.shape[1] - 1, width)
        history = History(state, command)
    return Situation(
        horizon_s=scenario.duration_s,
        start=scenario.start,
        history=history,
        commands=torch.tensor(scenario.commands).float() if scenario.commands else None,
        policy=policy,
        exogenous=_disturbed(scenario, Role.EXOGENOUS),
        push=_disturbed(scenario, Role.COMMAND),
    )


def judge(check: Check, trajectory: Trajectory) -> CheckResult:
    """Over the ends of the control periods within the check's window; row k ends (k + 1) periods after the start."""
    spec, steps = trajectory.spec, trajectory.command.shape[1]
    values = Expression(check.expression)(columns(spec, trajectory.state[:, 1:], trajectory.command), torch)
    truth = torch.as_tensor(values).to(torch.bool).expand(trajectory.n, steps).cpu().numpy()
    end_s = spec.period_s * np.arange(1, steps + 1)
    last = np.inf if check.to_s is None else check.to_s + 1e-9
    inside = np.flatnonzero((end_s >= check.from_s - 1e-9) & (end_s <= last))
    if len(inside) == 0:
        raise InputError(f"check '{check.title}': no control period ends within its window")
    held = _HOLDS[check.when](truth[:, inside])
    broken = truth[:, inside] if check.when == "never" else ~truth[:, inside]
    at = np.flatnonzero(broken.any(0))
    counted, n = int(held.sum()), trajectory.n
    return CheckResult(
        title=check.title,
        expression=check.expression,
        when=check.when,
        wanted=check.share,
        held=counted,
        n=n,
        share=counted / n,
        ci95=wilson(counted, n),
        passed=counted / n >= check.share - _SHARE_ROUNDING,
        first_failure_s=float(end_s[inside[at[0]]]) if len(at) and check.when in ("always", "never") else None,
    )


_HOLDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "always": lambda truth: np.logical_and.reduce(truth, axis=1),
    "eventually": lambda truth: np.logical_or.reduce(truth, axis=1),
    "never": lambda truth: ~np.logical_or.reduce(truth, axis=1),
    "end": lambda truth: truth[:, -1],
}


def _disturbed(scenario: Scenario, role: Role) -> torch.Tensor | None:
    """[T, X] or [T, C] of the disturbances of one role; None when there is none."""
    spec = scenario.prompt.robot
    layout = spec.exogenous_layout if role == Role.EXOGENOUS else spec.command_layout
    found = [d for d in scenario.disturbances if d.channel in layout]
    if not found:
        return None
    begin_s = spec.period_s * np.arange(round(scenario.duration_s * spec.control_rate_hz))
    table = torch.zeros(len(begin_s), layout.width)
    for disturbance in found:
        stop = np.inf if disturbance.to_s is None else disturbance.to_s
        rows = np.flatnonzero((begin_s >= disturbance.from_s - 1e-9) & (begin_s < stop - 1e-9))
        for row in rows:
            table[row, layout[disturbance.channel]] += disturbance.value
    return table


def _digest(trajectory: Trajectory) -> str:
    return sha256_hex(trajectory.state.cpu().numpy().tobytes() + trajectory.command.cpu().numpy().tobytes())
