"""Collecting: what robots are asked to run, and waiting until their logs are in the catalog.

A plan is a list of episodes with their starts, seeds and noise. Assigning is idempotent by (campaign, iteration, step,
robot); robots fetch their assignment, run it and upload, and the API writes the rows. Nothing here talks to a robot.
"""

import time
from collections.abc import Sequence

import numpy as np

from flows.campaign_config import CollectionConfig
from flows.engine import Engine
from flows.progress import Progress
from storage.catalog.episodes import EpisodeRow
from storage.contracts.errors import DataError, UnavailableError
from storage.contracts.robot import RobotSpec
from storage.contracts.starts import evaluation_starts
from storage.contracts.task import Task

_POLL_S = 0.2
_STALL_S = 300.0
Plan = dict[str, object]


def anywhere(task: Task, spec: RobotSpec) -> dict[str, tuple[float, float]]:
    """Start ranges that cover all angles, for logs that are to cover the state space: an operator sets the robot
    there.
    """
    wide = {c.name: (-np.pi, np.pi) for c in spec.state_layout.channels if c.kind == "angle"}
    return {**task.start, **wide}


def evaluation_plan(task: Task, config: CollectionConfig, seed: int, exploration_seed: int) -> Plan:
    """Evaluation episodes from the starts that `seed` draws, then episodes of the policy with noise from other
    starts.
    """
    episodes = [
        _episode(i, seed, "evaluation", start, task.horizon_s)
        for i, start in enumerate(evaluation_starts(task, config.evaluation_episodes, seed))
    ]
    noise = {"std": config.exploration_noise, "time_constant_s": config.noise_time_constant_s}
    others = evaluation_starts(task, config.exploration_episodes, exploration_seed)
    episodes += [
        _episode(len(episodes) + i, exploration_seed, "exploration", start, task.horizon_s, noise)
        for i, start in enumerate(others)
    ]
    return {"task": task.model_dump(mode="json"), "episodes": episodes}


def random_plan(task: Task, config: CollectionConfig, seed: int) -> Plan:
    """The floor that policies are compared with: uniformly random commands from the evaluation starts."""
    starts = evaluation_starts(task, config.evaluation_episodes, seed)
    return {
        "task": task.model_dump(mode="json"),
        "episodes": [_episode(i, seed, "random", start, task.horizon_s) for i, start in enumerate(starts)],
    }


def excitation_plan(
    task: Task, spec: RobotSpec, config: CollectionConfig, seed: int, *, episodes: int, wide: bool
) -> Plan:
    """Band-limited noise as command, from the task's starts or (with `wide`) from anywhere."""
    ranges = task.model_copy(update={"start": anywhere(task, spec)}) if wide else task
    noise = {"std": config.excitation_noise, "time_constant_s": config.noise_time_constant_s}
    return {
        "task": task.model_dump(mode="json"),
        "episodes": [
            _episode(i, seed, "excitation", start, task.horizon_s, noise)
            for i, start in enumerate(evaluation_starts(ranges, episodes, seed))
        ],
    }


def _episode(
    index: int,
    seed: int,
    purpose: str,
    start: dict[str, float],
    duration_s: float,
    noise: dict[str, float] | None = None,
) -> dict[str, object]:
    plan: dict[str, object] = {
        "index": index,
        "seed": seed * 1000 + index,
        "start": start,
        "duration_s": duration_s,
        "purpose": purpose,
    }
    return plan | ({"noise": noise} if noise else {})


def collect(
    engine: Engine,
    *,
    campaign: str,
    iteration: int,
    name: str,
    plans: dict[str, Plan],
    policy: str | None,
    progress: Progress,
) -> list[EpisodeRow]:
    """Assigns `plans` (robot -> plan) and returns the episodes when all are in, ordered by robot and index.

    Raises UnavailableError when no robot has finished anything for five minutes.
    """
    rows = [
        engine.catalog.assignments.assign(
            f"{campaign}/{iteration}/{name}/{robot}", robot, plan, policy, campaign=campaign, iteration=iteration
        )
        for robot, plan in sorted(plans.items())
    ]
    _wait(engine, [row.id for row in rows], [row.robot for row in rows], progress)
    return [episode for row in rows for episode in brought_home(engine, row.id)]


def brought_home(engine: Engine, assignment: int) -> list[EpisodeRow]:
    """The episodes of a finished assignment, in the order of its plan.

    They are found by the digests of the logs: a stand-in that runs the same plan again writes the same bytes, which are
    stored once. Raises DataError when a log was quarantined, so that it holds no episode.
    """
    row = engine.catalog.assignments.get(assignment)
    found = {
        episode.raw_sha256: episode for episode in engine.catalog.episodes.find(robots=[row.robot], raw_logs=row.logs)
    }
    for log in row.logs:
        if log not in found:
            raise DataError(
                f"log {log[:12]} of robot '{row.robot}' (assignment {row.key}) was quarantined; it is kept",
                code="quarantined",
                remedy=f"See why: sim2real status --json, or the uploads of '{row.robot}' in the catalog.",
            )
    return [found[log] for log in row.logs]


def _wait(engine: Engine, ids: Sequence[int], robots: Sequence[str], progress: Progress) -> None:
    open_ids = dict(zip(ids, robots, strict=True))
    last_change, last_count = time.monotonic(), -1
    while open_ids:
        for identifier in list(open_ids):
            if engine.catalog.assignments.get(identifier).state == "done":
                del open_ids[identifier]
        count = sum(len(engine.catalog.episodes.find(assignment=i)) for i in ids)
        progress(1 - len(open_ids) / len(ids), f"{count} logs of {len(ids)} robots")
        if count != last_count:
            last_change, last_count = time.monotonic(), count
        if time.monotonic() - last_change > _STALL_S:
            raise UnavailableError(
                f"no log from {', '.join(sorted(open_ids.values()))} for {_STALL_S:.0f} s",
                remedy="See 'sim2real fleet' for when each robot was last heard of; "
                "the same command goes on when they are back.",
            )
        if open_ids:
            time.sleep(_POLL_S)
