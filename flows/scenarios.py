"""Scenarios as files and as artefacts: read, run, kept with their lineage, made from what went wrong on a robot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import ValidationError

from flows.driving import as_policy
from flows.sources import Sources, read_values
from simulator.scenario import run_scenario
from simulator.simulator import Simulator
from storage.contracts.base import explain
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError
from storage.contracts.expression import Expression
from storage.contracts.scenario import Check, Past, PromptRef, Scenario, ScenarioResult
from storage.contracts.task import columns

if TYPE_CHECKING:
    from flows.engine import Engine

PAST_S = 0.6
"""Log before a scenario's start, for simulators that read a history."""


@dataclass(frozen=True)
class Failure:
    """What went wrong in a log: `expression` held at `at_s` (None: the first time it did), and must never again."""

    expression: str
    at_s: float | None = None
    before_s: float = 1.0
    after_s: float = 0.5
    share: float = 0.95


def read_scenario(path: Path, sources: Sources) -> Scenario:
    """From YAML or JSON; `prompt.robot` may be a serial or a specification's name, or a file beside the scenario.

    Raises ContractError that names the file and each bad field.
    """
    values = read_values(path)
    prompt = values.get("prompt") if isinstance(values, dict) else None
    if isinstance(prompt, dict) and isinstance(prompt.get("robot"), str):
        named = path.parent / prompt["robot"]
        spec = sources.spec(None, named) if named.is_file() else sources.spec(prompt["robot"])
        values = {**values, "prompt": {**prompt, "robot": spec}}
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise ContractError(f"{path}: not a valid Scenario: {explain(error)}") from error


def write_scenario(scenario: Scenario, path: Path) -> None:
    """As YAML that people may edit; `read_scenario` gives an equal scenario."""
    values = scenario.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(sources: Sources, scenario: Scenario, simulator: Simulator, policy: str | None = None) -> ScenarioResult:
    """`policy` (reference) drives; else the scenario's own policy where it names one; else its commands."""
    episodes = {digest: sources.episode(digest)[1] for digest in scenario.prompt.episodes}
    reference = policy or scenario.policy
    if reference is None:
        return run_scenario(simulator, scenario, episodes=episodes)
    manifest, onnx = sources.policy(reference)
    driver = as_policy(manifest, onnx, scenario.prompt.robot)
    return run_scenario(simulator, scenario, driver, policy_digest=manifest.digest, episodes=episodes)


def store_scenario(engine: "Engine", scenario: Scenario, episode: str | None = None) -> str:
    """Bytes first, then the artefact with its parents (the episodes of its prompt and the one that it was made from),
    then in force. Returns its digest."""
    known = [digest for digest in scenario.prompt.episodes if digest != episode]
    engine.store.put_bytes(scenario.to_json())
    row = engine.catalog.artefacts.add(
        "scenario",
        scenario.digest,
        scenario.to_json(),
        name=scenario.name,
        parents=[*([episode] if episode else []), *known],
    )
    engine.catalog.scenarios.add(row.digest, scenario.name, scenario.prompt.robot.name, episode)
    return row.digest


def stored_scenarios(engine: "Engine", spec_name: str | None = None) -> list[Scenario]:
    """Those in force, by name."""
    rows = engine.catalog.scenarios.list(spec_name=spec_name)
    return [Scenario.from_json(engine.store.get_bytes(row.digest)) for row in rows]


def from_failure(
    name: str, digest: str, episode: Episode, failure: Failure, prompt: Sequence[str] | None = None
) -> Scenario:
    """The window around a logged failure as a test: it begins with the log before it, the logged commands drive, and
    the failure must not come again. `prompt` (episode digests) defaults to the log itself.

    Raises InputError when the expression never held in the log.
    """
    spec = episode.spec
    at = _failing_row(episode, failure)
    start = max(0, at - max(1, round(failure.before_s * spec.control_rate_hz)))
    past = max(0, start - round(PAST_S * spec.control_rate_hz))
    steps = at - start + max(1, round(failure.after_s * spec.control_rate_hz))
    rows = episode.command[start : start + steps]
    return Scenario(
        name=name,
        description=(
            f"Robot {episode.robot}, {episode.time_s[at]:.2f} s into log {digest[:12]}: {failure.expression}. "
            "It must not happen again."
        ),
        prompt=PromptRef(robot=spec, episodes=tuple((digest,) if prompt is None else prompt)),
        past=Past(state=_rows(episode.state[past : start + 1]), command=_rows(episode.command[past:start])),
        commands=_rows(rows),
        checks=(Check(expression=failure.expression, when="never", share=failure.share),),
        duration_s=steps / spec.control_rate_hz,
    )


def _failing_row(episode: Episode, failure: Failure) -> int:
    """The row whose interval before it ended in failure."""
    if failure.at_s is not None:
        row = int(np.searchsorted(episode.time_s, failure.at_s - 1e-9))
        if not 1 <= row <= episode.steps:
            raise InputError(f"--at {failure.at_s} s is not within the log of {episode.duration_s:.2f} s")
        return row
    values: Mapping[str, Any] = columns(episode.spec, episode.state[1:], episode.command)
    truth = np.broadcast_to(np.asarray(Expression(failure.expression)(values, np), dtype=bool), (episode.steps,))
    if not truth.any():
        raise InputError(
            f"'{failure.expression}' never holds in this log of {episode.duration_s:.2f} s",
            remedy="Give the expression of what went wrong, or the moment with --at.",
        )
    return int(np.argmax(truth)) + 1


def _rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in np.nan_to_num(values))
