"""What the simulator is held against on the real double pendulum: white boxes at the logs' own 500 Hz, and hold-last.

Each gets 0.2 s of history: the start state is a parabola fitted to the last 60 ms of angles and logged rates (the fit
that is best on the training runs). Torque is the command plus the injected disturbance. For energy scores each point
forecast is widened by the Gaussian of its own errors on the training runs, per horizon.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks.real import statistic, white_box
from tests.benchmarks.real.forecast import HISTORY_S, HORIZONS_S, STRIDE_S

DT = 0.002
FIT_S = 0.06
ANGLE_NOISE, RATE_NOISE = 5e-4, 0.1
IDENTIFY_S = 0.5
SAMPLES = 60


@dataclass(frozen=True)
class Baseline:
    """Of one run, by horizon: `errors` [W] rad and energy `scores` [W]."""

    errors: dict[float, np.ndarray]
    scores: dict[float, np.ndarray]


@dataclass(frozen=True, eq=False)
class Run:
    """`angle`, `rate`, `torque` [T, 2] on a grid of 2 ms."""

    angle: np.ndarray
    rate: np.ndarray
    torque: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        last = len(self.angle) - 1 - round(max(HORIZONS_S) / DT)
        return np.arange(round(HISTORY_S / DT), last + 1, round(STRIDE_S / DT))


@cache
def load(path: Path) -> Run:
    table = pq.read_table(path)

    def column(name: str) -> np.ndarray:
        values: np.ndarray = table[name].to_numpy().astype(float)
        return values

    time = column("time_s") - column("time_s")[0]
    grid = np.arange(0.0, time[-1], DT)
    held = np.clip(np.searchsorted(time, grid, side="right") - 1, 0, len(time) - 1)
    angle = [np.interp(grid, time, np.unwrap(column(f"q{i}_rad"))) for i in (1, 2)]
    rate = [np.interp(grid, time, column(f"dq{i}_rad_s")) for i in (1, 2)]
    torque = [column(f"tau_cmd{i}_nm") for i in (1, 2)]
    for i in (1, 2):
        if f"tau_disturbance{i}_nm" in table.schema.names:
            torque[i - 1] = torque[i - 1] + np.nan_to_num(column(f"tau_disturbance{i}_nm"))
    return Run(np.stack(angle, 1), np.stack(rate, 1), np.stack(torque, 1)[held])


def starts(run: Run, rows: np.ndarray) -> np.ndarray:
    """[N, 4] angles and rates at `rows`."""
    count = round(FIT_S / DT)
    window, time = rows[:, None] + np.arange(-count, 1), np.arange(-count, 1) * DT
    values = np.stack([np.ones_like(time), time, time**2], axis=1) / ANGLE_NOISE
    slopes = np.stack([np.zeros_like(time), np.ones_like(time), 2 * time], axis=1) / RATE_NOISE
    inverse = np.linalg.pinv(np.concatenate([values, slopes]))
    measured = np.concatenate([run.angle[window] / ANGLE_NOISE, run.rate[window] / RATE_NOISE], axis=1)
    found = np.einsum("ij,njk->nik", inverse, measured)
    return np.concatenate([found[:, 0], found[:, 1]], axis=1)


Predict = Callable[[Run, np.ndarray], dict[float, np.ndarray]]


def white_boxes(folder: Path, tests: Sequence[str]) -> dict[str, dict[str, Baseline]]:
    """By kind and run: the builders' parameters, and those identified on the training runs of the same build."""
    training = [load(path) for path in sorted((folder / "C.1" / "sys_id").glob("*.parquet"))]
    kinds = {"white box of the builders": white_box.BUILDERS, "white box identified anew": _identified(training)}
    return {
        kind: _baselines(lambda run, rows, p=p: _rollout(p, run, rows), training, folder, tests)  # type: ignore[misc]
        for kind, p in kinds.items()
    }


def hold_last(folder: Path, tests: Sequence[str]) -> dict[str, Baseline]:
    training = [load(path) for path in sorted((folder / "C.1" / "sys_id").glob("*.parquet"))]
    return _baselines(lambda run, rows: dict.fromkeys(HORIZONS_S, run.angle[rows]), training, folder, tests)


def _rollout(p: white_box.Parameters, run: Run, rows: np.ndarray) -> dict[float, np.ndarray]:
    ahead = rows[:, None] + np.arange(round(max(HORIZONS_S) / DT))
    states = white_box.rollout(p, starts(run, rows), run.torque[ahead], DT)
    return {h: states[:, round(h / DT), :2] for h in HORIZONS_S}


def _baselines(predict: Predict, training: Sequence[Run], folder: Path, tests: Sequence[str]) -> dict[str, Baseline]:
    spread = {h: np.zeros(2) for h in HORIZONS_S}
    residuals: dict[float, list[np.ndarray]] = {h: [] for h in HORIZONS_S}
    for run in training:
        for h, angle in predict(run, run.rows).items():
            off = angle - run.angle[run.rows + round(h / DT)]
            residuals[h].append((off + np.pi) % (2 * np.pi) - np.pi)
    for h in HORIZONS_S:
        spread[h] = np.concatenate(residuals[h]).std(0)
    found = {}
    for name in tests:
        run, rng = load(folder / name), np.random.default_rng(0)
        made = Baseline({}, {})
        for h, angle in predict(run, run.rows).items():
            measured = run.angle[run.rows + round(h / DT)]
            made.errors[h] = statistic.window_errors(angle, measured)
            noise = rng.standard_normal((len(angle), SAMPLES, 2)) * spread[h]
            made.scores[h] = statistic.energy_scores(angle[:, None] + noise, measured)
        found[name] = made
    return found


def _identified(training: Sequence[Run]) -> white_box.Parameters:
    """On half-second windows in which something moves."""
    begin, torque, angle = [], [], []
    for run in training:
        steps = round(IDENTIFY_S / DT)
        rows = np.arange(round(HISTORY_S / DT), len(run.angle) - steps - 1, round(0.25 / DT))
        ahead = rows[:, None] + np.arange(steps + 1)
        begin.append(starts(run, rows))
        torque.append(run.torque[ahead[:, :-1]])
        angle.append(run.angle[ahead])
    every = np.concatenate(angle)
    moving = np.abs(every - every[:, :1]).max((1, 2)) > 0.05
    return white_box.identify(np.concatenate(begin)[moving], np.concatenate(torque)[moving], every[moving], DT)
