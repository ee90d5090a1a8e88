"""A campaign: a named row of the catalog that says how far a bootstrap has come, and the loop that takes it further.

Killed at any moment and started again, the loop finds its finished steps and goes on. This module decides the order of
the steps; flows.iteration holds the steps, flows.prefect_flows shows them in Prefect.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flows.artefacts import load_episodes, load_manifest, store_dataset
from flows.campaign_config import CampaignConfig
from flows.collect import excitation_plan, random_plan
from flows.data import build_dataset, channel_scales
from flows.engine import Engine
from flows.fleet import find_fleet, start_fleet, stop_fleet
from flows.iteration import (
    Context,
    collect_with,
    dataset_of,
    prompts_from,
    rollout_step,
    score_step,
    train_policy_step,
    train_simulator_step,
)
from flows.report.spent import BETWEEN, between_steps
from flows.report.text import iteration_markdown
from flows.show import Show
from flows.steps import Result, effect_step
from storage.catalog.campaigns import CampaignRow
from storage.contracts.dataset import DatasetManifest

BEFORE = -1
"""Iteration number of what happens before the first iteration."""


@dataclass(frozen=True)
class Opened:
    """A campaign as `open` found or made it; `how` is created, resumed, extended or finished."""

    row: CampaignRow
    how: str
    config: CampaignConfig
    iterations: int


def open_campaign(engine: Engine, config: CampaignConfig, iterations: int, *, new: bool, more: int | None) -> Opened:
    """Finds the unfinished campaign of equal arguments, or the finished one, or makes one. See DESIGN, section 6."""
    arguments = {"config": config.model_dump(mode="json"), "iterations": iterations}
    row, how = engine.catalog.campaigns.open(arguments, new=new, more=more)
    return Opened(row, how, CampaignConfig.model_validate(row.arguments["config"]), row.iterations)


def run_campaign(engine: Engine, opened: Opened, show: Show, on_iteration: Callable[[Result], None]) -> Result:
    """Runs what is left of the campaign and returns its result; `on_iteration` hears of each iteration as it ends."""
    fleet = find_fleet(engine.catalog, opened.config.robot, opened.config.fleet)
    fleet.task.check(fleet.spec)
    ctx = Context(engine, opened.row.id, opened.config, fleet, show)
    start_fleet(engine, fleet)
    try:
        held_out, first = prepare(ctx)
        records: list[Result] = []
        collected = [first]
        for index in range(opened.iterations):
            record = show.iteration(
                index, partial(run_iteration, ctx, index, held_out, collected, records[-1] if records else {})
            )
            engine.catalog.iterations.record(ctx.campaign, index, record)
            show.report(f"{opened.row.id}-iteration-{index}", iteration_markdown(record, opened.config.robot))
            collected.append(record["rollout"])
            records.append(record)
            on_iteration(record)
    finally:
        stop_fleet(engine, fleet)
    result: Result = {
        "campaign": opened.row.id,
        "iterations": [public(record) for record in records],
        "oracle_return": fleet.oracle_return,
        "random_return": first["real_return"]["mean"],
    }
    engine.catalog.campaigns.finish(ctx.campaign, result)
    return result


def public(record: Result) -> Result:
    """The record without the lists of logs, for printing."""
    return {key: value for key, value in record.items() if key not in ("rollout", "prompts")}


def prepare(ctx: Context) -> tuple[DatasetManifest, Result]:
    """The fixed held-out set, and the first logs: random commands from the evaluation starts, and excitation."""
    config, task, spec = ctx.config.collection, ctx.fleet.task, ctx.fleet.spec

    def plans(offset: int, *, wide: bool, episodes: int) -> dict[str, dict[str, object]]:
        return {
            robot: excitation_plan(
                task, spec, config, ctx.config.seed * 7919 + offset + i, episodes=episodes, wide=wide
            )
            for i, robot in enumerate(ctx.robots)
        }

    def hold_out() -> Result:
        wide = plans(1000, wide=True, episodes=config.held_out_episodes)
        found = collect_with(ctx, BEFORE, "held-out", wide, None, "collect the fixed held-out logs")
        episodes = load_episodes(ctx.engine, found["episodes"])
        rows = ctx.engine.catalog.episodes.get_many(found["episodes"])
        manifest = build_dataset(
            f"{ctx.fleet.spec.name}-held-out", rows, spec.digest, channel_std=channel_scales(episodes), split="test"
        )
        return found | {"dataset": store_dataset(ctx.engine, manifest)}

    def first_logs() -> Result:
        seeds = {robot: ctx.fleet.evaluation_seed + ctx.fleet.seed_offset(robot) for robot in ctx.robots}
        random = {robot: random_plan(task, config, seed) for robot, seed in seeds.items()}
        found = collect_with(ctx, BEFORE, "random", random, None, "robots move at random")
        excited = plans(2000, wide=False, episodes=config.excitation_episodes)
        more = collect_with(ctx, BEFORE, "excitation", excited, None, "robots are excited")
        joined = {key: found[key] + more[key] for key in ("episodes", "robots", "real_seconds")}
        return found | joined

    def effect(name: str, body: Callable[[], Result]) -> Result:
        return ctx.run(effect_step(name, 1, campaign=ctx.campaign, iteration=BEFORE), body)

    held_out = effect("held-out", hold_out)
    return load_manifest(ctx.engine, held_out["dataset"]), effect("first-logs", first_logs)


def run_iteration(
    ctx: Context, index: int, held_out: DatasetManifest, collected: list[Result], previous: Result
) -> Result:
    """One iteration, from the results of all collecting so far and the record of the iteration before. Returns its
    record.
    """
    start = time.monotonic()
    dataset = dataset_of(ctx, [digest for result in collected for digest in result["episodes"]], held_out)
    trained = train_simulator_step(ctx, index, dataset, previous.get("simulator", ctx.config.parent))
    simulator = trained["simulator"]
    prompts = prompts_from(ctx, collected)
    fixed = score_step(ctx, index, simulator, "held-out", [e.sha256 for e in held_out.episodes], held_out, prompts)
    policy = train_policy_step(ctx, index, simulator, prompts, previous.get("policy"))
    rollout = rollout_step(ctx, index, policy["policy"])
    new = score_step(ctx, index, simulator, "new", rollout["episodes"], held_out, prompts)
    steps = {
        "train simulator": trained,
        "score": fixed,
        "train policy": policy,
        "robots": rollout,
        "score new logs": new,
    }
    walls = {name: step["wall_seconds"] for name, step in steps.items()}
    walls[BETWEEN] = between_steps(time.monotonic() - start, walls)
    return {
        "iteration": index,
        "real_return": rollout["real_return"],
        "sim_return": policy["sim_return"],
        "sim_error": fixed["error"],
        "hold_last_error": fixed["hold_last"],
        "sim_error_windows": fixed["windows"],
        "new_log_error": new["error"],
        "new_log_hold_last_error": new["hold_last"],
        "new_log_windows": new["windows"],
        "real_seconds": round(sum(r["real_seconds"] for r in [*collected, rollout]), 6),
        "wall_seconds": round(sum(walls.values()), 3),
        "wall_seconds_by_step": walls,
        "simulator": simulator,
        "policy": policy["policy"],
        "dataset": dataset.digest,
        "scorecards": {"held_out": fixed["scorecard"], "new": new["scorecard"]},
        "prompts": prompts,
        "rollout": rollout,
    }
