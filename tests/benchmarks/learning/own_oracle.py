"""The oracle of one robot: SAC trained on that robot alone until it has learned, chosen on starts of another seed.

The family's oracle was trained on three serials only, and what can be reached differs between robots by more than the
tenth that a robot may fall short of it. Needs the extra `bench`.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from fleet_ingest.standins.registry import standin
from storage.contracts.starts import evaluation_starts

STEPS, EVERY = 60_000, 5_000


def own_oracle(serial: str, folder: Path, steps: int = STEPS) -> dict[str, Any]:
    """`serial`, `return` on the family's evaluation starts, `steps`, `wall_s`; kept in `folder`."""
    kept = folder / f"{serial}-{steps}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    from tests.benchmarks.oracle_cartpole import SEED, SETTINGS, VALIDATION_SEED
    from tests.benchmarks.peers.sac import Predictor, predictor_return, train_sac

    begin, family = time.monotonic(), standin("cartpole")
    judge = family.open(serial)

    def mean(predictor: Predictor, seed: int, n: int) -> float:
        starts = evaluation_starts(family.task, n, seed)
        found = [predictor_return(judge, family.task, predictor, start, i)[0] for i, start in enumerate(starts)]
        return float(np.mean(found))

    predictor, _ = train_sac(
        [family.open(serial)], family.task, steps=steps, seed=SEED, every=EVERY, settings=SETTINGS,
        evaluate=lambda predictor: mean(predictor, VALIDATION_SEED, 4),
    )  # fmt: skip
    reached = mean(predictor, family.evaluation_seed, family.evaluation_episodes)
    result = {
        "serial": serial, "return": round(reached, 3), "steps": steps, "wall_s": round(time.monotonic() - begin, 1),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(".fresh")
    fresh.write_text(json.dumps(result))
    fresh.rename(kept)
    return result
