"""A fleet that grows by one robot at a time, and what each new one costs in robot-seconds of its own.

Robot k arrives and makes `PROMPT_S` of noise. The fleet's policy is evaluated on it first; if it falls short, the
simulator is retrained with the new seconds, grounded in the new robot, a policy is trained for it and evaluated; then
it collects more, and so on until it passes or `limit_s` is spent. Then it serves: its data are topped up to
`contribution_s`, all stays with the fleet, and a policy for all robots so far is trained: what robot k+1 meets first.
From scratch is the same for one robot in an empty fleet, with the same starts, noise and gradient steps in each
iteration. Evaluation episodes are counted nowhere and nothing learns from them. This module holds no statistics.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet_ingest.robot.plan import Purpose
from fleet_ingest.standins.registry import standin
from fleet_ingest.standins.tasks import CARTPOLE_SWINGUP
from flows import local_store
from flows.local_loop import LocalLoop, LoopConfig
from storage.contracts.canonical import digest_of
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from storage.contracts.task import Task
from tests.benchmarks.learning.arms import PROMPT_S, Row

_FIRST, _PER_DRAW = 50_001, 100
_GROWTH = 4
"""An iteration collects one episode and one more for every so many that there are: the resolution is a share."""
_PER_ROBOT, _SETTLING = 40, 30
"""Seeds of iterations per robot, and those among them of the training after its timing. Even, so that the turns of
fresh and warm beginnings are the same for all robots."""


@dataclass(frozen=True)
class Protocol:
    """Positions are counted from 1; those in `timed` are timed, the others contribute data only. `share` of the
    oracle's return is to be reached within `limit_s` robot-seconds."""

    timed: tuple[int, ...] = (1, 2, 4, 8)
    limit_s: float = 112.0
    contribution_s: float = 22.0
    share: float = 0.9
    evaluation_episodes: int = 8

    @property
    def size(self) -> int:
        return max(self.timed)


@dataclass(frozen=True)
class Cost:
    """Robot-seconds until the oracle's share was reached; `censored`: it was not within so many."""

    seconds: float
    censored: bool


def cost_of(curve: Sequence[Row], threshold: float) -> Cost:
    """The first row that passes counts. Raises ValueError without rows."""
    if not curve:
        raise ValueError("no rows: a robot that was never evaluated has no cost")
    passed = next((row["robot_s"] for row in curve if row["return"] >= threshold), None)
    return Cost(curve[-1]["robot_s"], True) if passed is None else Cost(passed, False)


def finished(curve: Sequence[Row], threshold: float, limit_s: float, episode_s: float) -> bool:
    """Whether it passed, or another episode would exceed the limit and a policy was trained on all there is."""
    if not curve:
        return False
    spent = curve[-1]["robot_s"] + episode_s > limit_s and bool(curve[-1]["trained"])
    return spent or not cost_of(curve, threshold).censored


def episodes_next(collected: int, robot_s: float, limit_s: float, episode_s: float) -> int:
    """How many episodes an iteration collects after `collected` ones, never beyond the limit."""
    return min(1 + collected // _GROWTH, int((limit_s - robot_s) / episode_s + 1e-9))


@dataclass
class GrowingFleet:
    """One draw of a fleet. `oracle` gives the return of the oracle on the robot of a serial.

    Killed at any moment and made again with equal arguments it goes on after the last iteration that was finished.
    """

    draw: int
    config: LoopConfig
    work: Path
    protocol: Protocol
    oracle: Callable[[str], float]
    told: Callable[[str], None] = lambda line: None
    task: Task = CARTPOLE_SWINGUP

    def serial(self, position: int) -> str:
        return standin("cartpole").serial(_FIRST + _PER_DRAW * self.draw + position - 1)

    def threshold(self, position: int) -> float:
        return self.protocol.share * self.oracle(self.serial(position))

    def grown(self) -> "Arm":
        """The curves of the timed robots in one fleet that keeps everything."""
        arm = self._arm("fleet", range(1, self.protocol.size + 1))
        while arm.settled < self.protocol.size:
            position = arm.settled + 1
            if position in self.protocol.timed:
                self._time(arm, position)
            if position < self.protocol.size:
                self._settle(arm, position)
            arm.settled = position
            arm.save()
        return arm

    def from_scratch(self, position: int) -> "Arm":
        """The curve of one robot in an empty fleet."""
        arm = self._arm(f"scratch-{position}", [position])
        self._time(arm, position)
        return arm

    def _arm(self, name: str, positions: Iterable[int]) -> "Arm":
        """As `work` holds it, else at its beginning. Raises InputError when that was made otherwise."""
        family = standin("cartpole")
        robots = {p: family.open(self.serial(p)) for p in positions}
        loop = LocalLoop({self.serial(p): robot for p, robot in robots.items()}, self.task, self.config)
        thresholds = {str(p): self.threshold(p) for p in robots if p in self.protocol.timed}
        made_by = digest_of([asdict(self.protocol), self.config, self.task, thresholds])
        arm = Arm(name, loop, self.work / f"draw-{self.draw}" / name, made_by)
        arm.restore()
        return arm

    def _time(self, arm: "Arm", position: int) -> None:
        """Iterates until the robot passes or its limit is spent."""
        curve, threshold = arm.curves.setdefault(position, []), self.threshold(position)
        while not finished(curve, threshold, self.protocol.limit_s, arm.loop.task.horizon_s):
            with arm.only([self.serial(position)]) as loop:
                curve.append(self._iterate(loop, position, curve))
            arm.save()
            row = ", ".join(f"{key} {value:.4g}" for key, value in curve[-1].items())
            self.told(f"draw {self.draw}, {arm.name}, robot {position} (to reach {threshold:.4g}): {row}")

    def _iterate(self, loop: LocalLoop, position: int, curve: Sequence[Row]) -> Row:
        """First the prompt, and the fleet's policy where there is one; then simulator and policy, from the second time
        on with more data."""
        begin, serial = time.monotonic(), self.serial(position)
        trainings = sum(bool(row["trained"]) for row in curve)
        if not curve:
            self._prompt(loop, position)
        elif trainings:
            own = _own(loop, serial)
            more = episodes_next(len(own) - 1, _seconds(own), self.protocol.limit_s, loop.task.horizon_s)
            self._collect(loop, position, more)
        row: Row = {"robot_s": _seconds(_own(loop, serial)), "trained": 0.0}
        if curve or loop.policy is None:
            number = _PER_ROBOT * position + trainings
            loop.retrain(number)
            row |= {"trained": 1.0, "simulated": loop.improve(number).simulated.mean}
        return row | {"return": self._return(loop, serial), "wall_s": round(time.monotonic() - begin, 1)}

    def _settle(self, arm: "Arm", position: int) -> None:
        """Tops the robot's data up, and trains the simulator and a policy for all robots so far."""
        serial = self.serial(position)
        with arm.only([self.serial(p) for p in range(1, position + 1)]) as loop:
            if not _own(loop, serial):
                self._prompt(loop, position)
            missing_s = self.protocol.contribution_s - _seconds(_own(loop, serial))
            self._collect(loop, position, max(0, int(missing_s / loop.task.horizon_s + 1e-9)))
            number = _PER_ROBOT * position + _SETTLING + position % 2
            loop.retrain(number)
            trained = loop.improve(number)
        self.told(f"draw {self.draw}, fleet of {position}: simulated {trained.simulated.mean:.4g}")

    def _prompt(self, loop: LocalLoop, position: int) -> None:
        planned = loop.plan("excitation", self._seed(position, 0))
        short = [one.model_copy(update={"duration_s": PROMPT_S}) for one in planned]
        loop.episodes += loop.run(self.serial(position), short)

    def _collect(self, loop: LocalLoop, position: int, count: int) -> None:
        """The policy and the explorer by turns; before there is any policy, noise."""
        serial = self.serial(position)
        for _ in range(count):
            place = len(_own(loop, serial))
            turn: Purpose = "evaluation" if place % 2 else "exploration"
            policy = loop.policy if turn == "evaluation" else loop.explorer
            planned = loop.plan("excitation" if policy is None else turn, self._seed(position, place))
            loop.episodes += loop.run(serial, planned, policy)

    def _seed(self, position: int, place: int) -> int:
        """Of an episode to learn from: above the seed of the evaluation episodes, the same in both arms."""
        return 100_000 * (self.draw + 1) + 1_000 * position + place

    def _return(self, loop: LocalLoop, serial: str) -> float:
        plan = loop.plan("evaluation", standin("cartpole").evaluation_seed, self.protocol.evaluation_episodes)
        return float(np.mean(loop.returns(loop.run(serial, plan, loop.policy))))


@dataclass
class Arm:
    """A loop with its folder. `settled` robots are done with; `made_by` is the digest of what it was asked for."""

    name: str
    loop: LocalLoop
    folder: Path
    made_by: str

    def __post_init__(self) -> None:
        self.settled = 0
        self.curves: dict[int, list[Row]] = {}

    @property
    def seconds(self) -> float:
        """Wall time so far, of all processes that worked on it."""
        return sum(self.loop.seconds.values())

    @contextmanager
    def only(self, serials: Sequence[str]) -> Iterator[LocalLoop]:
        """The loop as if it had those robots alone: policies are trained for them, still from all episodes."""
        every = self.loop.robots
        self.loop.robots = {serial: every[serial] for serial in serials}
        try:
            yield self.loop
        finally:
            self.loop.robots = every

    def save(self) -> None:
        facts = {"made_by": self.made_by, "settled": self.settled, "curves": self.curves}
        local_store.save(self.loop, self.folder, facts)

    def restore(self) -> None:
        found: dict[str, Any] | None = local_store.restore(self.loop, self.folder)
        if found is None:
            return
        if found["made_by"] != self.made_by:
            raise InputError(
                f"'{self.folder}' holds a run with other settings or another oracle",
                remedy="Give another --work, or remove that folder to begin again.",
            )
        self.settled = found["settled"]
        self.curves = {int(position): rows for position, rows in found["curves"].items()}


def _own(loop: LocalLoop, serial: str) -> list[Episode]:
    return [episode for episode in loop.episodes if episode.robot == serial]


def _seconds(episodes: Sequence[Episode]) -> float:
    return sum(episode.steps / episode.spec.control_rate_hz for episode in episodes)
