"""Records stand-ins of families through the driver port: the episodes that a robot would have logged, and the truth.

Commands come from `exciting`, or from a policy of the caller's. Equal robots and seeds give equal bytes. It writes no
files.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fleet_ingest.standins.bodies import Body
from fleet_ingest.standins.exciting import Exciting
from fleet_ingest.standins.twin import FamilyStandIn, Snapshot
from storage.contracts.canonical import sha256_hex
from storage.contracts.episode import Episode, Provenance
from storage.contracts.errors import InputError
from storage.contracts.robot import RobotSpec

CONVERTER = "standin-families-1"
TRIP_RATE = 120.0
"""rad/s at which a stand-in switches itself off, which ends the episode."""
Feedback = Callable[[int, np.ndarray], Sequence[float]]
"""(step, measured state [S]) -> the command [C] asked for."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """An episode with what no sensor shows: `truth` [T+1, S], angles not wrapped, and `motor` [T+1, C]."""

    episode: Episode
    truth: np.ndarray
    motor: np.ndarray
    queue_rows: int

    def snapshot(self, t: int) -> Snapshot:
        """From which a twin goes on exactly as the robot did after row `t`."""
        rows = np.zeros((self.queue_rows, self.motor.shape[1]))
        past = self.episode.command[max(0, t - self.queue_rows) : t]
        rows[len(rows) - len(past) :] = past
        return Snapshot(self.truth[t].copy(), rows, self.motor[t].copy())


def record(body: Body, episodes: int, duration_s: float, seed: int) -> list[Episode]:
    """`episodes` excited episodes of `duration_s` each, with the maker's specification."""
    return [recorded.episode for recorded in record_truth(body, episodes, duration_s, seed)]


def record_truth(body: Body, episodes: int, duration_s: float, seed: int) -> list[Recorded]:
    """The same episodes as `record`, with their truth. Raises InputError for less than one period or episode."""
    steps = round(duration_s * body.rate_hz)
    if episodes < 1 or steps < 1:
        raise InputError(f"{episodes} episodes of {duration_s} s at {body.rate_hz} Hz hold nothing to record")
    driver = FamilyStandIn(body)
    found = []
    for part in range(episodes):
        exciting = Exciting(body, _generator(body.serial, seed, part))
        start = exciting.start()
        found.append(run(driver, start, lambda t, s, e=exciting: e.next(s.tolist()), steps, seed, part))  # type: ignore[misc]
    return found


def run(
    driver: FamilyStandIn, start: np.ndarray, feedback: Feedback, steps: int, seed: int, part: int = 0,
    purpose: str = "excitation",
) -> Recorded:  # fmt: skip
    """One episode from `start` [S] under `feedback`, whose commands are clamped as robots do; one that is not finite
    becomes the safe one. Shorter than `steps` where the robot trips."""
    body, spec = driver.body, driver.spec
    width, columns = len(body.driven), 2 * len(body.joints)
    low, high = spec.command_limits[:, 0], spec.command_limits[:, 1]
    state, truth = np.empty((steps + 1, columns)), np.empty((steps + 1, columns))
    asked, command, motor = np.empty((steps, width)), np.empty((steps, width)), np.empty((steps + 1, width))
    rates = np.arange(columns) % 2 == 1
    driver.place(start, seed * 65_537 + part)

    def keep(row: int) -> None:
        state[row] = driver.read()[1]
        truth[row] = driver.twin.state()
        motor[row] = driver.twin.motor()

    keep(0)
    for t in range(steps):
        asked[t] = feedback(t, state[t])
        bounded = np.minimum(np.maximum(asked[t], low), high)
        command[t] = bounded if np.isfinite(bounded).all() else spec.safe
        driver.apply(command[t])
        keep(t + 1)
        if np.abs(truth[t + 1]).max(initial=0.0, where=rates) > TRIP_RATE:
            steps = t + 1
            break
    tags = {"purpose": purpose, "seed": str(seed)}
    episode = _episode(body.serial, spec, state[: steps + 1], asked[:steps], command[:steps], part, tags)
    return Recorded(episode, truth[: steps + 1], motor[: steps + 1], body.queue_rows)


def _episode(
    serial: str, spec: RobotSpec, state: np.ndarray, asked: np.ndarray, command: np.ndarray, part: int,
    tags: dict[str, str],
) -> Episode:  # fmt: skip
    steps = len(command)
    return Episode(
        robot=serial,
        spec=spec,
        time_ns=np.round(np.arange(steps + 1) * (1e9 / spec.control_rate_hz)).astype(np.int64),
        state=state,
        command=command,
        command_requested=asked,
        provenance=Provenance(
            raw_sha256=sha256_hex(serial.encode() + state.tobytes() + command.tobytes()), converter=CONVERTER, part=part
        ),
        truncated=True,
        tags=tags | {"episode": str(part), "source": "standin"},
    )


def _generator(serial: str, seed: int, part: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{CONVERTER}/{serial}/{seed}/{part}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
