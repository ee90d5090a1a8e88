"""Retrain and score without any task: the simulator's accuracy for its own sake, and its leaderboard."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleet_ingest.ingest import current
from flows import cluster
from flows.artefacts import (
    encoded_refs,
    load_refs,
    load_simulator,
    load_simulator_parts,
    said_of,
    store_dataset,
    store_scorecard,
    store_simulator,
)
from flows.campaign_config import HORIZONS_S
from flows.data import build_dataset, channel_scales
from flows.engine import Engine
from flows.iteration import headline
from flows.parent import stored_parent
from flows.presets import simulator_config
from flows.progress import reporting
from flows.show import Show
from flows.steps import Result, pure_step, run_once
from simulator.prompt import Prompt, clips_of
from simulator.workers import train_on_workers
from storage.catalog.catalog import Catalog
from storage.catalog.episodes import EpisodeRow
from storage.contracts.canonical import digest_of
from storage.contracts.dataset import DatasetManifest, EpisodeRef
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError, UnknownName
from storage.contracts.figures import Scorecard

RetrainResult = dict[str, Any]


def episodes_of(catalog: Catalog, robot: str) -> list[EpisodeRow]:
    """All episodes of a specification name or of one serial, made by the mappings in force. Raises UnknownName with the
    robots there are.
    """
    rows = current(catalog, catalog.episodes.find(spec_name=robot) or catalog.episodes.find(robots=[robot]))
    if not rows:
        known = {r.serial for r in catalog.robots.list()} | {r.spec.name for r in catalog.robots.list()}
        raise UnknownName("robot", robot, known, remedy="Import its logs first: sim2real import PATH... --map MAP.yaml")
    return rows


def dataset_of_robot(engine: Engine, robot: str) -> DatasetManifest:
    """All episodes of the robot with their split; scales are those of its first dataset, for ever."""
    rows = episodes_of(engine.catalog, robot)
    earlier = engine.catalog.artefacts.list("dataset", name=robot)
    if earlier:
        scales = DatasetManifest.from_json(earlier[0].manifest).channel_std
    else:
        first = build_dataset(robot, rows, rows[0].spec_digest, channel_std={})
        scales = channel_scales(load_refs(engine, first.of("train") or first.episodes))
    notes = true_throughout(rows, said_of(engine.catalog, [row.sha256 for row in rows]))
    manifest = build_dataset(robot, rows, rows[0].spec_digest, channel_std=scales, notes=notes)
    if not manifest.of("test") or not manifest.of("train"):
        raise InputError(
            f"robot '{robot}' has {len({r.raw_sha256 for r in rows})} recording; "
            "training and scoring need at least two",
            remedy="Import more logs: a recording is never split between training and test.",
        )
    store_dataset(engine, manifest)
    return manifest


def true_throughout(rows: Sequence[EpisodeRow], said: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Of `said`, by episode digest, what can be true of a robot in all its episodes: all of its uploads say it alike.

    Training takes notes for facts about the robot; "payload 0.7 kg" of Monday must not be learned from Tuesday's logs.
    """
    by_robot: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        by_robot.setdefault(row.robot, set()).add(tuple(said.get(row.sha256, ())))
    return {row.sha256: said[row.sha256] for row in rows if row.sha256 in said and len(by_robot[row.robot]) == 1}


def retrain_and_score(
    engine: Engine, robot: str, *, seed: int, show: Show, updates: int | None = None, parent: str | None = None
) -> RetrainResult:
    """Trains on the training split, from the simulator that `parent` names or from chance, and scores on the test
    split. A finished pair of equal arguments is found, not repeated.
    """
    dataset = dataset_of_robot(engine, robot)
    config = simulator_config(seed=seed, updates=updates)
    ancestor = None
    if parent is not None:
        ancestor = stored_parent(engine, parent, load_refs(engine, dataset.of("train")[:1])[0].spec, config)
    step = pure_step(
        "train-simulator", 6, config=[config, engine.settings.workers], seed=seed,
        inputs=[dataset.digest, ancestor or ""],
    )  # fmt: skip

    def body() -> Result:
        with reporting(f"train a simulator of {robot} on {len(dataset.of('train'))} episodes") as progress:
            cluster.connect()
            manifest, files = train_on_workers(
                encoded_refs(engine, dataset.of("train")),
                config,
                parent=load_simulator_parts(engine, ancestor) if ancestor else None,
                checkpoint=engine.home.checkpoints_dir / step.key.replace(":", "-"),
                workers=engine.settings.workers,
                dataset=dataset.digest,
                name=robot,
                progress=progress,
                calibration=encoded_refs(engine, dataset.of("validation")),
            )
        return {
            "simulator": store_simulator(
                engine, manifest, files, parents=[dataset.digest, *([ancestor] if ancestor else [])]
            )
        }

    trained = show.step(step, lambda: run_once(engine.catalog, step, body))
    return score_robot(engine, robot, trained["simulator"], HORIZONS_S) | {
        "train_wall_seconds": trained["wall_seconds"]
    }


def score_robot(engine: Engine, robot: str, simulator: str | None, horizons_s: Sequence[float]) -> RetrainResult:
    """Scores `simulator` (digest or name; None: the latest of this robot) on the robot's test split."""
    dataset = dataset_of_robot(engine, robot)
    row = engine.catalog.artefacts.resolve(simulator or _latest(engine.catalog, robot), "simulator")
    held_out = dataset.of("test")
    inputs = [row.digest, dataset.digest]
    step = pure_step(
        "score-held-out", 1, config={"horizons_s": list(horizons_s), "std": dataset.channel_std}, seed=0, inputs=inputs
    )

    def body() -> Result:
        with reporting(f"score on {len(held_out)} held-out episodes"):
            card = load_simulator(engine, row.digest).score(
                load_refs(engine, held_out),
                horizons_s=tuple(horizons_s),
                channel_std=dataset.channel_std,
                prompts={robot: Prompt(clips[0].spec, clips) for robot, clips in prompts_of(engine, dataset).items()},
                measured_on=digest_of([e.sha256 for e in held_out]),
            )
            card = card.model_copy(update={"simulator": row.digest})
        store_scorecard(engine, card, robot)
        return {"scorecard": card.digest}

    done = run_once(engine.catalog, step, body)
    card = Scorecard.from_json(engine.store.get_bytes(done["scorecard"]))
    return {
        "robot": robot,
        "robots": sorted({e.robot for e in held_out}),
        "episodes": len(held_out),
        "simulator": row.digest,
        "simulator_name": f"{row.name}@{row.number}",
        "dataset": dataset.digest,
        "measured_on": card.measured_on,
        **headline(card, horizons_s),
        "channels": by_channel(card, horizons_s),
        "wall_seconds": done["wall_seconds"],
    }


def prompts_of(engine: Engine, dataset: DatasetManifest) -> dict[str, tuple[Episode, ...]]:
    """Robot -> episodes of its training split, from which the simulator infers what no specification says."""
    chosen: dict[str, list[EpisodeRef]] = {}
    for ref in dataset.of("train"):
        chosen.setdefault(ref.robot, []).append(ref)
    return {robot: tuple(load_refs(engine, clips_of(refs))) for robot, refs in chosen.items()}


def by_channel(card: Scorecard, horizons_s: Sequence[float]) -> dict[str, dict[str, dict[str, Any]]]:
    """Channel -> horizon -> error and hold-last (in standard deviations), RMSE with its unit, and windows."""
    names = dict.fromkeys(
        f.channel for f in card.figures if f.channel is not None and f.name == "nrmse" and f.robot is None
    )
    return {name: {str(h): _figures(card, name, h) for h in horizons_s} for name in names if name is not None}


def _figures(card: Scorecard, channel: str, horizon_s: float) -> dict[str, Any]:
    error, floor, raw = (card.find(name, horizon_s, channel=channel) for name in ("nrmse", "hold_last_nrmse", "rmse"))
    return {
        "error": error.value if error else None,
        "hold_last": floor.value if floor else None,
        "rmse": raw.value if raw else None,
        "unit": raw.unit if raw else None,
        "n": error.n if error else 0,
    }


def _latest(catalog: Catalog, robot: str) -> str:
    rows = catalog.artefacts.list("simulator", name=robot)
    if not rows:
        raise InputError(
            f"robot '{robot}' has no simulator yet", remedy=f"Train one: sim2real simulator train --robot {robot}"
        )
    return rows[-1].digest


def read_leaderboard(catalog: Catalog, robot: str) -> list[dict[str, Any]]:
    """Scorecards of the robot's simulators; those on the latest held-out set first, best first within a set."""
    found = []
    for order, row in enumerate(catalog.artefacts.list("scorecard", name=robot)):
        card = Scorecard.from_json(row.manifest)
        if card.split != "test":
            continue
        sim = catalog.artefacts.get(card.simulator)
        horizons = sorted({f.horizon_s for f in card.figures if f.horizon_s is not None})
        summary = headline(card, horizons)
        found.append(
            {
                "name": f"{sim.name}@{sim.number}",
                "simulator": sim.digest,
                "measured_on": card.measured_on,
                "order": order,
                **summary,
            }
        )
    latest = {row["measured_on"]: row["order"] for row in found}
    best = {(row["simulator"], row["measured_on"]): row for row in found}.values()
    return sorted(
        best,
        key=lambda row: (
            -latest[row["measured_on"]],
            next(iter(reversed(list(row["error"].values())))) or float("inf"),
        ),
    )
