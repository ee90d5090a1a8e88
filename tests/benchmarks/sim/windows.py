"""Windows of recorded stand-ins and what a simulator says of them: open loop, sampled, through the public face only.

Shapes: W windows, H history rows, T steps ahead, n samples, S state, C command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.exciting import Exciting
from fleet_ingest.standins.recorder import Recorded, record_truth, run
from fleet_ingest.standins.twin import FamilyStandIn, Snapshot
from simulator.history import History
from simulator.prompt import Prompt
from simulator.scene import Scene
from storage.contracts.channel import Kind
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec
from tests.benchmarks.sim import statistics

HISTORY_S = 0.2
BATCH_WORLDS = 4096


@dataclass(frozen=True, eq=False)
class Windows:
    """Of one robot. `past` [W, H+1, S] as measured, `past_commands` [W, H, C]; `commands` [W, T, C] that follow;
    `past_extra`, `extra` are the exogenous inputs likewise; `ahead` [W, T, S] as measured; `truth` [W, T, S] without
    sensor noise, or `ahead` where nobody knows."""

    past: np.ndarray
    past_commands: np.ndarray
    commands: np.ndarray
    ahead: np.ndarray
    truth: np.ndarray
    past_extra: np.ndarray
    extra: np.ndarray
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def n(self) -> int:
        return len(self.past)

    @cached_property
    def now(self) -> np.ndarray:
        return np.asarray(self.past[:, -1])


@dataclass(frozen=True, eq=False)
class Futures:
    """`samples` [W, n, K, S] as sensors would show them at K chosen steps; `members` [n]."""

    samples: np.ndarray
    members: np.ndarray


def windows_of(
    logs: Sequence[Recorded] | Sequence[Episode], horizon_steps: int, count: int, history_s: float = HISTORY_S
) -> Windows:
    """At most `count` windows, evenly spread over the logs. Raises InputError when none fits."""
    episodes = [log.episode if isinstance(log, Recorded) else log for log in logs]
    rows = max(1, round(history_s * episodes[0].spec.control_rate_hz))
    places = [(i, t) for i, e in enumerate(episodes) for t in range(rows, e.steps - horizon_steps + 1)]
    if not places:
        raise InputError(f"no window of {horizon_steps} steps and {rows} rows of history in {len(episodes)} logs")
    places = [places[j] for j in np.unique(np.linspace(0, len(places) - 1, count).astype(int))]
    past = np.stack([episodes[i].state[t - rows : t + 1] for i, t in places])
    before = np.stack([episodes[i].command[t - rows : t] for i, t in places])
    commands = np.stack([episodes[i].command[t : t + horizon_steps] for i, t in places])
    past_extra = np.stack([np.nan_to_num(episodes[i].exogenous[t - rows : t]) for i, t in places])
    extra = np.stack([np.nan_to_num(episodes[i].exogenous[t : t + horizon_steps]) for i, t in places])
    ahead = np.stack([episodes[i].state[t + 1 : t + 1 + horizon_steps] for i, t in places])
    truth, snapshots = ahead, []
    if all(isinstance(log, Recorded) for log in logs):
        found = [log for log in logs if isinstance(log, Recorded)]
        truth = np.stack([found[i].truth[t + 1 : t + 1 + horizon_steps] for i, t in places])
        snapshots = [found[i].snapshot(t) for i, t in places]
    return Windows(past, before, commands, ahead, truth, past_extra, extra, tuple(snapshots))


def futures(scene: Scene, windows: Windows, samples: int, steps: Sequence[int], seed: int = 0) -> Futures:
    """Samples of every window after each number of `steps` (counted from 1). Samples per window are made a multiple of
    what the ensemble holds, so that every member speaks equally often. Two scenes are given the same random numbers."""
    members = len(torch.unique(scene.sample(64, seed).reset(_history(windows, np.arange(1))).member))
    n = max(1, round(samples / members)) * members
    wanted = sorted(set(steps))
    per = max(1, BATCH_WORLDS // n)
    found = np.empty((windows.n, n, len(wanted), windows.past.shape[2]))
    who = np.zeros(n, dtype=np.int64)
    with torch.no_grad():
        for first in range(0, windows.n, per):
            part = np.arange(first, min(windows.n, first + per))
            worlds = scene.sample(len(part) * n, seed)
            state = worlds.reset(_history(windows, np.repeat(part, n)), seed=seed + first)
            who = state.member[:n].numpy()
            commands = torch.from_numpy(np.repeat(windows.commands[part], n, 0)).float()
            extra = torch.from_numpy(np.repeat(windows.extra[part], n, 0)).float()
            for k in range(wanted[-1]):
                state, _, _ = worlds.step(state, commands[:, k], exogenous=extra[:, k])
                if k + 1 in wanted:
                    seen = worlds.observe(state).double().numpy()
                    found[part, :, wanted.index(k + 1)] = seen.reshape(len(part), n, -1)
    return Futures(found, who)


def _history(windows: Windows, index: np.ndarray) -> History:
    past = torch.from_numpy(windows.past[index]).float()
    commands, extra = (torch.from_numpy(a[index]).float() for a in (windows.past_commands, windows.past_extra))
    return History(past, commands, extra)


@dataclass(frozen=True, eq=False)
class Tested:
    """A robot never seen: two seconds of log for the prompt, and other logs to test on."""

    body: Body
    clip: Episode
    logs: tuple[Recorded, ...]

    @cached_property
    def angle(self) -> np.ndarray:
        return angles(self.body.spec)

    @cached_property
    def scale(self) -> np.ndarray:
        return statistics.channel_scale(np.concatenate([log.episode.state for log in self.logs]), self.angle)

    def prompt(self, spec: RobotSpec | None = None, *, seconds: float = 2.0) -> Prompt:
        """With another account of the robot where one is given; without log at 0 seconds."""
        spec = spec or self.body.spec
        steps = min(self.clip.steps, round(seconds * spec.control_rate_hz))
        return Prompt(spec, (replace(self.clip.window(0, steps), spec=spec),) if steps else ())


def unseen(body: Body, episodes: int, duration_s: float, seed: int, *, clip_s: float = 10.0) -> Tested:
    """Prompt and test logs are different episodes."""
    clip = record_truth(body, 1, clip_s, seed=500_000 + seed)[0].episode
    return Tested(body, clip, tuple(record_truth(body, episodes, duration_s, seed=seed)))


def controlled(body: Body, episodes: int, duration_s: float, seed: int) -> list[Recorded]:
    """Logs in closed loop only: controllers to targets and pumping, whose commands give the state away."""
    driver, found = FamilyStandIn(body), []
    for part in range(episodes):
        exciting = Exciting(body, np.random.default_rng([seed, part, 9]), ways=("reach", "pump"))
        start = exciting.start()
        steps = round(duration_s * body.rate_hz)
        found.append(run(driver, start, lambda t, s, e=exciting: e.next(s.tolist()), steps, seed, part))  # type: ignore[misc]
    return found


def angles(spec: RobotSpec) -> np.ndarray:
    """bool [S]."""
    return spec.state_layout.mask([Kind.ANGLE])


def steps_of(horizons_s: Sequence[float], spec: RobotSpec) -> list[int]:
    return [max(1, round(h * spec.control_rate_hz)) for h in horizons_s]
