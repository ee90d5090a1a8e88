"""SAC of stable-baselines3 on the same draws of stand-ins, for as many robot-seconds as a loop has."""

import json

import numpy as np

from fleet_ingest.standins.registry import standin
from storage.contracts.starts import evaluation_starts
from tests.benchmarks.learning.arms import Experiment, Row

HISTORY = 6


def sac_curve(unit: Experiment, quick: bool) -> list[Row]:
    """Real return on the test robots after each iteration's worth of steps; kept in the unit's folder."""
    from tests.benchmarks.peers.sac import Predictor, SacSettings, predictor_return, train_sac

    kept = unit.folder / "sac.json"
    if kept.is_file():
        rows: list[Row] = json.loads(kept.read_text())
        return rows
    fleet, tests, family = unit.fleet(), unit.tests(), standin("cartpole")
    per = len(fleet.robots) * unit.episodes * family.task.horizon_steps(family.spec)

    def evaluate(predictor: Predictor) -> float:
        starts = evaluation_starts(family.task, unit.test_episodes, family.evaluation_seed)
        found = [
            predictor_return(robot, family.task, predictor, start, index)[0]
            for robot in tests.robots.values()
            for index, start in enumerate(starts)
        ]
        return float(np.mean(found))

    settings = SacSettings(history=HISTORY, learning_starts=min(600, per // 2))
    steps = per * (1 if quick else unit.iterations)
    _, points = train_sac(
        list(fleet.robots.values()), family.task, steps=steps, seed=unit.draw, evaluate=evaluate, every=per,
        settings=settings,
    )  # fmt: skip
    rows = [{"robot_s": p.steps / family.spec.control_rate_hz, "return": p.value} for p in points]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(rows))
    return rows
