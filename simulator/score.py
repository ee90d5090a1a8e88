"""Scores a simulator open loop against real logs: windows with their real history, real commands, sampled futures.

The prediction compared by `rmse` is the mean of the samples (circular for angles); `coverage`, `crps` and `nll`
look at the samples as `step` draws them, sensor noise included, without any rescaling. Hold-last stands beside.
Nothing is fitted here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from simulator.history import History
from simulator.prompt import Prompt
from simulator.scene import Scene
from storage.contracts.canonical import digest_of
from storage.contracts.channel import Kind, wrap_angle
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.figures import Figure, Scorecard, Scored
from storage.contracts.robot import RobotSpec

if TYPE_CHECKING:
    from simulator.simulator import Simulator

COVERAGES = (50, 68, 90)


@dataclass(frozen=True)
class ScoreOptions:
    """`prompts` by robot serial (default: its specification alone); `channel_std` by state column (default: that of
    the scored episodes); windows start every 0.1 s, evenly thinned to `max_windows`."""

    horizons_s: tuple[float, ...] = (0.1, 0.5, 1.0)
    channel_std: Mapping[str, float] | None = None
    prompts: Mapping[str, Prompt] | None = None
    measured_on: str | None = None
    split: Scored = "test"
    samples: int = 20
    max_windows: int = 400
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Windows of a robot at one horizon: `truth`, `now` [W, S], `samples` [W, n, S], `members` [n], `valid` [W, S]."""

    truth: np.ndarray
    now: np.ndarray
    samples: np.ndarray
    members: np.ndarray
    valid: np.ndarray


Robots = dict[tuple[str, str], list[Episode]]


def score_simulator(simulator: "Simulator", episodes: Sequence[Episode], options: ScoreOptions) -> Scorecard:
    """Raises InputError when no window fits. Figures without a robot are over all windows of all robots of one
    specification."""
    return score_scenes(scenes_of(simulator, episodes, options.prompts or {}), episodes, options, simulator.digest)


def scenes_of(
    simulator: "Simulator", episodes: Sequence[Episode], prompts: Mapping[str, Prompt]
) -> dict[tuple[str, str], Scene]:
    """Every robot of `episodes` as its prompt, or its specification alone, grounds it."""
    robots = _robots(episodes)
    return {key: simulator.ground(prompts.get(key[1], Prompt(found[0].spec))) for key, found in robots.items()}


def score_scenes(
    scenes: Mapping[tuple[str, str], Scene], episodes: Sequence[Episode], options: ScoreOptions, simulator: str
) -> Scorecard:
    """As `score_simulator`, for `scenes` of `scenes_of`; `simulator`: the digest of what made them."""
    by_robot = _robots(episodes)
    collected: dict[float, list[tuple[str, RobotSpec, Outcomes]]] = defaultdict(list)
    for key, found in sorted(by_robot.items()):
        for horizon, outcomes in predict(scenes[key], found, options, len(by_robot)).items():
            collected[horizon].append((key[1], found[0].spec, outcomes))
    if not collected:
        raise InputError(
            f"no window of {max(options.horizons_s)} s with history fits into {len(episodes)} episodes",
            remedy="score on longer episodes or shorter horizons",
        )
    deviation = _channel_std(episodes, options)
    figures: list[Figure] = []
    for horizon, parts in sorted(collected.items()):
        figures += _figures(horizon, parts, deviation)
    measured = options.measured_on or digest_of(sorted([e.provenance.raw_sha256, e.provenance.part] for e in episodes))
    return Scorecard(simulator=simulator, measured_on=measured, split=options.split, figures=tuple(figures))


def _robots(episodes: Sequence[Episode]) -> Robots:
    """By channels with specification, and serial. Raises InputError without episodes."""
    if not episodes:
        raise InputError("no episodes to score on")
    found: Robots = defaultdict(list)
    for episode in episodes:
        found[episode.spec.state_layout.columns[0] + episode.spec.digest, episode.robot].append(episode)
    return found


def horizons_that_fit(
    simulator: "Simulator", episodes: Sequence[Episode], horizons_s: Sequence[float]
) -> tuple[float, ...]:
    """Those of `horizons_s` for which a window with its history lies in some episode: logs of robots that fall at once
    hold no long ones."""
    specs = {e.spec.digest: e.spec for e in episodes}
    rows = {digest: simulator.ground(Prompt(spec)).frame.history_rows for digest, spec in specs.items()}

    def fits(horizon_s: float, episode: Episode) -> bool:
        steps = max(1, round(horizon_s * episode.spec.control_rate_hz))
        return bool(_windows([episode], rows[episode.spec.digest], steps, episode.spec, 1))

    return tuple(h for h in horizons_s if any(fits(h, episode) for episode in episodes))


def predict(scene: Scene, episodes: Sequence[Episode], options: ScoreOptions, robots: int = 1) -> dict[float, Outcomes]:
    """Sampled futures of evenly spread windows of one robot's episodes, by horizon in seconds."""
    rows = scene.frame.history_rows
    steps = {h: max(1, round(h * scene.spec.control_rate_hz)) for h in options.horizons_s}
    windows = _windows(episodes, rows, max(steps.values()), scene.spec, max(1, options.max_windows // robots))
    if not windows:
        return {}
    histories = [History.of(episodes[i], np.array([t]), rows) for i, t in windows]
    count, samples = len(windows), _sample_count(options.samples, scene.model.members)
    worlds = scene.sample(count * samples, options.seed)
    repeated = History(*(torch.cat([getattr(h, name) for h in histories]).repeat_interleave(samples, 0)
                         for name in ("state", "command", "exogenous", "alive")))  # fmt: skip
    found: dict[float, Outcomes] = {}
    with torch.no_grad():
        state = worlds.reset(repeated)
        members = state.member[:samples].numpy()
        for k in range(max(steps.values())):
            command, extra = (_stack(episodes, windows, name, k, samples) for name in ("command", "exogenous"))
            state, _, _ = worlds.step(state, command, exogenous=extra)
            for horizon in (h for h, n in steps.items() if n == k + 1):
                truth = np.stack([episodes[i].state[t + k + 1] for i, t in windows])
                valid = np.stack([episodes[i].state_valid[t + k + 1] & episodes[i].state_valid[t] for i, t in windows])
                now = np.stack([episodes[i].state[t] for i, t in windows])
                drawn = worlds.observe(state).double().numpy().reshape(count, samples, -1)
                found[horizon] = Outcomes(truth, now, drawn, members, valid)
    return found


def _sample_count(samples: int, members: int) -> int:
    """A multiple of the members, so that every window sees each equally often."""
    return max(1, round(samples / members)) * members


def _windows(
    episodes: Sequence[Episode], history: int, steps: int, spec: RobotSpec, most: int
) -> list[tuple[int, int]]:
    stride = max(1, round(0.1 * spec.control_rate_hz))
    found = []
    for i, episode in enumerate(episodes):
        for t in range(history, episode.steps - steps + 1, stride):
            if not any(t - history <= r < t + steps for r in episode.resets):
                found.append((i, t))
    if len(found) > most:
        found = [found[j] for j in np.linspace(0, len(found) - 1, most).astype(int)]
    return found


def _stack(
    episodes: Sequence[Episode], windows: list[tuple[int, int]], name: str, k: int, samples: int
) -> torch.Tensor:
    values = np.stack([getattr(episodes[i], name)[t + k] for i, t in windows])
    return torch.from_numpy(np.nan_to_num(values)).float().repeat_interleave(samples, 0)


def _channel_std(episodes: Sequence[Episode], options: ScoreOptions) -> dict[str, float]:
    """Per column. Angles by the spread of their wrapped values."""
    found: dict[str, float] = {}
    for spec in {e.spec.digest: e.spec for e in episodes}.values():
        values = np.concatenate(
            [np.where(e.state_valid, e.state, np.nan) for e in episodes if e.spec.digest == spec.digest]
        )
        angle = spec.state_layout.mask([Kind.ANGLE])
        values[:, angle] = wrap_angle(values[:, angle])
        for column, series in zip(spec.state_layout.columns, values.T, strict=True):
            usable = series[np.isfinite(series)]
            found[column] = float(usable.std()) if len(usable) else 1.0
    return found | dict(options.channel_std or {})


def _figures(
    horizon: float, parts: list[tuple[str, RobotSpec, Outcomes]], deviation: Mapping[str, float]
) -> list[Figure]:
    found: list[Figure] = []
    pooled: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    units: dict[str, str] = {}
    per_robot: dict[str, list[np.ndarray]] = defaultdict(list)
    for robot, spec, outcomes in parts:
        angle = spec.state_layout.mask([Kind.ANGLE])
        unit = [c.unit for c in spec.state_layout.channels for _ in range(c.width)]
        for s, column in enumerate(spec.state_layout.columns):
            keep = outcomes.valid[:, s]
            if not keep.any() or not deviation[column] > 0:
                continue
            values = _column(outcomes, s, bool(angle[s]), keep) | {"std": np.full(int(keep.sum()), deviation[column])}
            pooled[column].append(values)
            units[column] = unit[s]
            per_robot[robot].append((values["error"] / values["std"]) ** 2)
    joined = {c: {name: np.concatenate([p[name] for p in v]) for name in v[0]} for c, v in pooled.items()}
    for column, v in joined.items():
        found += _channel_figures(horizon, column, units[column], v)
    found += _overall(horizon, joined)
    for robot, squares in sorted(per_robot.items()):
        value = float(np.sqrt(np.mean([s.mean() for s in squares])))
        found.append(Figure(name="nrmse", value=value, n=len(squares[0]), horizon_s=horizon, robot=robot))
    return found


def _column(outcomes: Outcomes, s: int, angle: bool, keep: np.ndarray) -> dict[str, np.ndarray]:
    """Per window: error of the mean, of hold-last, CRPS, NLL, whether each interval covers, epistemic spread."""

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return wrap_angle(a - b) if angle else a - b

    truth, now, samples = outcomes.truth[keep, s], outcomes.now[keep, s], outcomes.samples[keep, :, s]
    circular = np.arctan2(np.sin(samples).mean(1), np.cos(samples).mean(1))
    center = circular if angle else samples.mean(1)
    around = difference(samples, center[:, None])
    error = difference(truth, center)
    spread = np.maximum(around.std(1, ddof=1), 1e-9)
    sorted_samples = np.sort(around, 1)
    n = samples.shape[1]
    rank = 2 * np.arange(1, n + 1) - n - 1
    # fair CRPS of an ensemble: E|X - y| - E|X - X'| / 2, the second from the sorted samples
    crps = np.abs(difference(samples, truth[:, None])).mean(1) - (sorted_samples * rank).sum(1) / (n * (n - 1))
    values = {
        "error": error, "hold": difference(truth, now), "crps": crps,
        "nll": 0.5 * np.log(2 * np.pi * spread**2) + 0.5 * (error / spread) ** 2,
        "epistemic": _member_spread(around, outcomes.members),
    }  # fmt: skip
    for level in COVERAGES:
        low, high = np.quantile(around, [0.5 - level / 200, 0.5 + level / 200], axis=1, method="weibull")
        values[f"cover{level}"] = ((error >= low) & (error <= high)).astype(float)
    return values


def _member_spread(around: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Standard deviation over members of their mean predictions."""
    means = np.stack([around[:, members == m].mean(1) for m in np.unique(members)])
    return means.std(0, ddof=1) if len(means) > 1 else np.zeros(around.shape[0])


def _channel_figures(horizon: float, column: str, unit: str, v: dict[str, np.ndarray]) -> list[Figure]:
    n, std = len(v["error"]), v["std"]
    rmse = float(np.sqrt(np.mean(v["error"] ** 2)))
    table = [
        ("rmse", rmse, unit),
        ("nrmse", float(np.sqrt(np.mean((v["error"] / std) ** 2))), "1"),
        ("hold_last_nrmse", float(np.sqrt(np.mean((v["hold"] / std) ** 2))), "1"),
        ("median_error", float(np.median(np.abs(v["error"]))), unit),
        ("crps", float(np.mean(v["crps"])), unit),
        ("nll", float(np.mean(v["nll"])), "nat"),
        *((f"coverage_{level}", float(np.mean(v[f"cover{level}"])), "1") for level in COVERAGES),
        ("epistemic_rank", _spearman(v["epistemic"], np.abs(v["error"])), "1"),
    ]
    return [Figure(name=name, value=value, unit=u, n=n, horizon_s=horizon, channel=column) for name, value, u in table]


def _overall(horizon: float, joined: dict[str, dict[str, np.ndarray]]) -> list[Figure]:
    """Over all channels: root of the mean over channels of the squared normalised error."""
    n = max((len(v["error"]) for v in joined.values()), default=0)
    table = {
        "nrmse": float(np.sqrt(np.mean([np.mean((v["error"] / v["std"]) ** 2) for v in joined.values()]))),
        "hold_last_nrmse": float(np.sqrt(np.mean([np.mean((v["hold"] / v["std"]) ** 2) for v in joined.values()]))),
        "crps": float(np.mean([np.mean(v["crps"] / v["std"]) for v in joined.values()])),
        "nll": float(np.mean([np.mean(v["nll"] + np.log(v["std"])) for v in joined.values()])),
        "epistemic_rank": float(np.mean([_spearman(v["epistemic"], np.abs(v["error"])) for v in joined.values()])),
    }
    for level in COVERAGES:
        table[f"coverage_{level}"] = float(np.mean([np.mean(v[f"cover{level}"]) for v in joined.values()]))
    return [Figure(name=name, value=value, n=n, horizon_s=horizon) for name, value in table.items()]


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; 0 where one side does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])
