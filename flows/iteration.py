"""One iteration of a campaign, step by step: retrain the simulator, score it, train a policy in it, run it on the
robots.

    dataset k ── train simulator k ── score on the fixed held-out set
                        └── train policy k ── robots run it ── score on the new logs, before training on them

Each function is load, one library call, store; its result is a small JSON object of digests and figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from flows import cluster
from flows.artefacts import (
    load_episodes,
    load_policy_weights,
    load_simulator,
    load_simulator_parts,
    store_dataset,
    store_policy,
    store_scorecard,
    store_simulator,
)
from flows.campaign_config import HORIZONS_S, CampaignConfig
from flows.collect import collect, evaluation_plan
from flows.data import build_dataset
from flows.engine import Engine
from flows.fleet import Fleet
from flows.progress import reporting
from flows.show import Show
from flows.statistics import episode_return, return_statistics
from flows.steps import Result, Step, effect_step, pure_step, run_once
from policy.workers import train_population
from simulator.prompt import Prompt, clips_of
from simulator.score import horizons_that_fit
from simulator.simulator import Simulator
from simulator.workers import train_on_workers
from storage.contracts.canonical import digest_of
from storage.contracts.dataset import DatasetManifest
from storage.contracts.figures import Scorecard

Prompts = dict[str, list[str]]
"""Robot -> digests of its episodes, which ground the simulator in it."""


@dataclass(frozen=True)
class Context:
    """What all steps of one campaign share."""

    engine: Engine
    campaign: str
    config: CampaignConfig
    fleet: Fleet
    show: Show

    @property
    def robots(self) -> tuple[str, ...]:
        return self.fleet.serials

    def run(self, step: Step, body: Callable[[], Result]) -> Result:
        """Runs `body` once for all time, shown as one step."""
        return self.show.step(step, lambda: run_once(self.engine.catalog, step, body))


def dataset_of(ctx: Context, episodes: Sequence[str], held_out: DatasetManifest) -> DatasetManifest:
    """The manifest of `episodes`, with the scales of the held-out set. Cheap and idempotent, so not a step; and so
    without the notes of uploads, which may come while a campaign stands still."""
    rows = ctx.engine.catalog.episodes.get_many(episodes)
    manifest = build_dataset(ctx.fleet.spec.name, rows, ctx.fleet.spec.digest, channel_std=held_out.channel_std)
    store_dataset(ctx.engine, manifest)
    return manifest


def train_simulator_step(ctx: Context, iteration: int, dataset: DatasetManifest, parent: str | None) -> Result:
    """Result: {"simulator": digest of the manifest, "steps": gradient steps}."""
    seed = ctx.config.seed * 101 + iteration
    config = ctx.config.simulator.model_copy(update={"seed": seed})
    step = pure_step(
        "train-simulator", 7, config=[config, ctx.engine.settings.workers], seed=seed,
        inputs=[dataset.digest, parent or ""], campaign=ctx.campaign, iteration=iteration,
    )  # fmt: skip

    def body() -> Result:
        with reporting(f"iteration {iteration}: train the simulator") as progress:
            cluster.connect()
            manifest, files = train_on_workers(
                [ctx.engine.store.get_bytes(e.sha256) for e in dataset.of("train")],
                config,
                parent=load_simulator_parts(ctx.engine, parent) if parent else None,
                checkpoint=ctx.engine.home.checkpoints_dir / step.key.replace(":", "-"),
                workers=ctx.engine.settings.workers,
                dataset=dataset.digest,
                name=ctx.fleet.spec.name,
                progress=progress,
            )
        return {
            "simulator": store_simulator(
                ctx.engine, manifest, files, parents=[dataset.digest, *([parent] if parent else [])]
            )
        }

    return ctx.run(step, body)


def score_step(
    ctx: Context,
    iteration: int,
    simulator: str,
    name: str,
    episodes: Sequence[str],
    scales: DatasetManifest,
    prompts: Prompts,
) -> Result:
    """Scores the simulator, grounded in each robot by `prompts`. Result: {"scorecard": digest, "error", "hold_last",
    "windows"}.
    """
    prompted = [digest for robot in sorted(prompts) for digest in prompts[robot]]
    step = pure_step(
        f"score-{name}", 1, config={"horizons_s": HORIZONS_S, "std": scales.channel_std}, seed=0,
        inputs=[simulator, *sorted(episodes), *prompted], campaign=ctx.campaign, iteration=iteration,
    )  # fmt: skip

    def body() -> Result:
        with reporting(f"iteration {iteration}: score on {name} logs"):
            card = _score(ctx, load_simulator(ctx.engine, simulator), name, episodes, scales, prompts)
            card = card.model_copy(update={"simulator": simulator})
        store_scorecard(ctx.engine, card, ctx.fleet.spec.name)
        return {"scorecard": card.digest, **headline(card)}

    return ctx.run(step, body)


def _score(
    ctx: Context, sim: Simulator, name: str, digests: Sequence[str], scales: DatasetManifest, prompts: Prompts
) -> Scorecard:
    """At the horizons that fit into the logs; without figures where none does, as with a robot that falls at once."""
    episodes = load_episodes(ctx.engine, digests)
    split: Literal["new", "test"] = "new" if name == "new" else "test"
    horizons_s = horizons_that_fit(sim, episodes, HORIZONS_S)
    if not horizons_s:
        return Scorecard(simulator=sim.digest, measured_on=digest_of(sorted(digests)), split=split, figures=())
    grounded = {r: Prompt(ctx.fleet.spec, tuple(load_episodes(ctx.engine, found))) for r, found in prompts.items()}
    return sim.score(episodes, horizons_s=horizons_s, channel_std=scales.channel_std, prompts=grounded, split=split)


def headline(card: Scorecard, horizons_s: Sequence[float] = HORIZONS_S) -> Result:
    """The overall error by horizon, hold-last beside it, and how many windows it stands on."""
    names = (("error", "nrmse"), ("hold_last", "hold_last_nrmse"))
    found = {key: {str(h): card.find(name, h) for h in horizons_s} for key, name in names}
    values: Result = {key: {h: f.value if f else None for h, f in by.items()} for key, by in found.items()}
    return values | {"windows": {h: f.n if f else 0 for h, f in found["error"].items()}}


def train_policy_step(ctx: Context, iteration: int, simulator: str, prompts: Prompts, parent: str | None) -> Result:
    """Result: {"policy": digest of the manifest, "sim_return": ReturnStatistics}. `prompts` is robot -> episode
    digests.
    """
    seed = ctx.config.seed * 101 + iteration
    inputs = [simulator, parent or "", *(digest for robot in sorted(prompts) for digest in prompts[robot])]
    step = pure_step(
        "train-policy", 2, config=[ctx.config.policy, ctx.fleet.task, ctx.config.population], seed=seed, inputs=inputs,
        campaign=ctx.campaign, iteration=iteration,
    )  # fmt: skip

    def body() -> Result:
        with reporting(f"iteration {iteration}: train the policy") as progress:
            cluster.connect()
            trained = train_population(
                load_simulator_parts(ctx.engine, simulator),
                ctx.fleet.spec,
                {robot: [ctx.engine.store.get_bytes(d) for d in digests] for robot, digests in prompts.items()},
                ctx.fleet.task,
                ctx.config.policy,
                seeds=[seed * 100 + i for i in range(ctx.config.population)],
                checkpoint=ctx.engine.home.checkpoints_dir / step.key.replace(":", "-"),
                simulator_digest=simulator,
                warm_start=load_policy_weights(ctx.engine, parent) if parent else None,
                progress=progress,
            )
        store_policy(
            ctx.engine, trained.manifest, [trained.onnx, trained.weights], [simulator, *([parent] if parent else [])]
        )
        return {
            "policy": trained.manifest.digest,
            "sim_return": trained.simulated.model_dump(mode="json"),
            "values": {str(seed): value for seed, value in trained.values.items()},
        }

    return ctx.run(step, body)


def rollout_step(ctx: Context, iteration: int, policy: str) -> Result:
    """The robots run the policy. Result: {"episodes": digests, "evaluation": digests, "real_return",
    "real_seconds"}.
    """
    step = effect_step("rollout", 1, campaign=ctx.campaign, iteration=iteration)

    def body() -> Result:
        fleet, exploration = ctx.fleet, ctx.config.seed * 7919 + iteration
        plans = {
            robot: evaluation_plan(
                fleet.task, ctx.config.collection, fleet.evaluation_seed + offset, exploration + offset
            )
            for robot, offset in ((robot, fleet.seed_offset(robot)) for robot in ctx.robots)
        }
        return collect_with(ctx, iteration, "rollout", plans, policy, f"iteration {iteration}: robots run it")

    return ctx.run(step, body)


def collect_with(
    ctx: Context, iteration: int, name: str, plans: dict[str, dict[str, object]], policy: str | None, title: str
) -> Result:
    """Collects and summarises: every log's digest, and the returns of evaluation (or random) episodes."""
    with reporting(title) as progress:
        rows = collect(
            ctx.engine,
            campaign=ctx.campaign,
            iteration=iteration,
            name=name,
            plans=plans,
            policy=policy,
            progress=progress,
        )
    evaluated = [row for row in rows if row.tags.get("purpose") in ("evaluation", "random")]
    returns: dict[str, list[float]] = {}
    for row, episode in zip(evaluated, load_episodes(ctx.engine, [row.sha256 for row in evaluated]), strict=True):
        returns.setdefault(row.robot, []).append(episode_return(episode, ctx.fleet.task))
    result: Result = {
        "episodes": [row.sha256 for row in rows],
        "robots": [row.robot for row in rows],
        "real_seconds": round(sum(row.duration_s for row in rows), 6),
    }
    if returns:
        result["real_return"] = return_statistics(returns).model_dump(mode="json")
    return result


def prompts_from(ctx: Context, results: Sequence[Result]) -> Prompts:
    """Robot -> the prompt that grounds the simulator in it: episodes from all over what it has logged."""
    found: Prompts = {robot: [] for robot in ctx.robots}
    for result in results:
        for digest, robot in zip(result["episodes"], result["robots"], strict=True):
            found[robot].append(digest)
    return {robot: clips_of(digests) for robot, digests in found.items()}
