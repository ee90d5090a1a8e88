"""Questions to a simulator, from the words of a command to a scene, a situation and an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.driving import as_policy
from flows.sources import Sources
from simulator.prompt import Prompt
from simulator.scene import Scene
from simulator.simulator import Simulator
from simulator.situation import Situation
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

DEFAULT_HORIZON_S = 2.0


@dataclass(frozen=True)
class About:
    """Which robot a question is about. `prompt_episodes` and `from_episode` are files, digests or `latest`."""

    simulator: str | None = None
    robot: str | None = None
    spec: Path | None = None
    prompt_episodes: Sequence[str] = ()
    notes: str = ""
    edits: Sequence[str] = ()


@dataclass(frozen=True)
class Given:
    """Where it begins and what drives it. `start` is text such as `cart.position=0,pole.angle=3.1`; `commands` is
    `logged`, `safe` or a CSV file with one row per control period."""

    start: str = ""
    from_episode: str | None = None
    at_s: float | None = None
    commands: str | None = None
    policy: str | None = None
    horizon_s: float | None = None


@dataclass(frozen=True, eq=False)
class Grounded:
    """`prompt` are the episodes that the scene was prompted with."""

    simulator: Simulator
    scene: Scene
    prompt: tuple[Episode, ...]


def ground(sources: Sources, about: About) -> Grounded:
    """The robot as the simulator understands it, edits made."""
    prompt = tuple(sources.noted_episode(reference, about.robot) for reference in about.prompt_episodes)
    if about.robot is None and about.spec is None and prompt:
        spec = prompt[0].spec
    else:
        spec = sources.spec(about.robot, about.spec)
    simulator = sources.simulator(about.simulator, about.robot)
    scene = simulator.ground(Prompt(spec, prompt, about.notes))
    return Grounded(simulator, scene.edit(dict(_pairs(about.edits, "--edit"))), prompt)


def situation(sources: Sources, given: Given, grounded: Grounded, robot: str | None) -> Situation:
    """With `--start` from there; else into a log, by default the first of the prompt, under its own commands."""
    spec, rows = grounded.scene.spec, grounded.scene.frame.history_rows
    episode = sources.episode(given.from_episode, robot)[1] if given.from_episode else next(iter(grounded.prompt), None)
    if given.start or episode is None:
        made = Situation(given.horizon_s or DEFAULT_HORIZON_S, start=parse_start(given.start))
    else:
        made = _into(episode, given, rows)
    if given.policy is not None:
        manifest, onnx = sources.policy(given.policy)
        made = replace(made, policy=as_policy(manifest, onnx, spec))
    elif given.commands == "safe":
        made = replace(made, commands=None)
    elif given.commands not in (None, "logged"):
        made = replace(made, commands=read_commands(Path(given.commands or ""), spec))
    elif given.commands == "logged" and made.commands is None:
        raise InputError("there is no log whose commands could drive", remedy="Add --from-episode EPISODE.")
    return made


def _into(episode: Episode, given: Given, rows: int) -> Situation:
    row = rows if given.at_s is None else round(given.at_s * episode.spec.control_rate_hz)
    rest_s = (episode.steps - row) / episode.spec.control_rate_hz
    driven = given.policy is not None or given.commands not in (None, "logged")
    if given.horizon_s is not None and given.horizon_s > rest_s + 1e-9 and not driven:
        raise InputError(
            f"the log goes on for {rest_s:.2f} s after that moment; a horizon of {given.horizon_s} s has no commands",
            remedy="Ask for a shorter horizon, an earlier --at, or other --commands.",
        )
    return Situation.of_episode(episode, row, rows, given.horizon_s or min(DEFAULT_HORIZON_S, rest_s))


def parse_sweep(texts: Sequence[str]) -> dict[str, list[float | str]]:
    """['payload.mass=0,0.2,x1.5'] -> {'payload.mass': ['0', '0.2', 'x1.5']}. Raises InputError."""
    found: dict[str, list[float | str]] = {}
    for name, values in _pairs(texts, "--sweep"):
        parts = [part.strip() for part in values.split(",") if part.strip()]
        if not parts:
            raise InputError(f"--sweep '{name}=' names no value; write e.g. {name}=0,0.2,x1.5")
        found.setdefault(name, []).extend(parts)
    return found


def parse_start(text: str) -> dict[str, float]:
    """'a=1,b=2' -> {'a': 1.0, 'b': 2.0}. Raises InputError."""
    found = {}
    for name, value in _pairs([part for part in text.split(",") if part.strip()], "--start"):
        try:
            found[name] = float(value)
        except ValueError as error:
            raise InputError(f"--start: '{value}' is not a number for '{name}'") from error
    return found


def read_commands(path: Path, spec: RobotSpec) -> torch.Tensor:
    """[T, C] of a CSV file with one row per control period, with or without a header."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(
            f"--commands '{path}' is neither 'logged' nor 'safe' nor a file that can be read: {error.strerror}"
        ) from error
    if lines and not _numbers(lines[0]):
        lines = lines[1:]
    rows = [_numbers(line) for line in lines]
    width = spec.command_layout.width
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"{path}, row {i + 1}: expected {width} numbers ({', '.join(spec.command_layout.columns)})"
            )
    return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(-1, width))


def _numbers(line: str) -> list[float]:
    """Empty when a part is no number."""
    try:
        return [float(part) for part in line.split(",")]
    except ValueError:
        return []


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{option} '{text}' is not NAME=VALUE")
        found.append((name.strip(), value.strip()))
    return found


def facts(grounded: Grounded) -> dict[str, Any]:
    """What an answer stands on, for JSON."""
    return {
        "simulator": grounded.simulator.digest,
        "robot": grounded.scene.spec.name,
        "prompt_episodes": len(grounded.prompt),
        "prompt_seconds": round(sum(e.duration_s for e in grounded.prompt), 3),
        "unused": list(grounded.scene.unused),
    }
