"""Our own robots' logs: what the writer writes, the converter gives back; broken ones are refused."""

from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.convert_robot_log import is_robot_log, robot_log_to_episode
from fleet_ingest.formats.read import read_log
from fleet_ingest.reading import read_episodes
from fleet_ingest.robot.log import Recording, write_log
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import DataError, InputError
from storage.contracts.robot import RobotSpec

SHA = "b" * 64
SPEC = RobotSpec(
    name="slider", control_rate_hz=50,
    channels=(
        Channel(name="x", kind=Kind.LINEAR, unit="m"), Channel(name="q", kind=Kind.ANGLE, unit="rad"),
        Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", limits=(-1, 1)),
        Channel(name="w", kind=Kind.EFFORT, role=Role.EXOGENOUS, unit="N"),
    ),
)  # fmt: skip


def recording(steps: int = 30) -> Recording:
    rng = np.random.default_rng(1)
    found = Recording(robot="slider-7", spec=SPEC, policy="c" * 64, tags={"purpose": "evaluation"})
    found.time_ns = [20_000_000 * i for i in range(steps + 1)]
    found.state = list(rng.normal(size=(steps + 1, 2)))
    found.command = list(rng.uniform(-1, 1, (steps, 1)))
    found.requested = [c * 1.5 for c in found.command]
    found.exogenous = list(rng.normal(size=(steps, 1)))
    found.reward = [float(r) for r in rng.uniform(size=steps)]
    found.truncated = True
    return found


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "log.mcap"
    path.write_bytes(data)
    return path


def test_round_trip_is_exact(tmp_path: Path) -> None:
    lived = recording()
    raw = read_log(written(tmp_path, write_log(lived)))
    assert is_robot_log(raw)
    episode = robot_log_to_episode(raw, SHA)
    np.testing.assert_array_equal(episode.state, lived.state)
    np.testing.assert_array_equal(episode.command, lived.command)
    np.testing.assert_array_equal(episode.command_requested, lived.requested)
    np.testing.assert_array_equal(episode.exogenous, lived.exogenous)
    np.testing.assert_array_equal(episode.reward, lived.reward)
    assert episode.time_ns.tolist() == lived.time_ns
    assert (episode.robot, episode.policy, episode.spec) == ("slider-7", "c" * 64, SPEC)
    assert episode.tags == {"purpose": "evaluation"}
    assert (episode.terminated, episode.truncated) == (False, True)
    assert next(flag.count for flag in episode.quality if flag.code == "clamped") == 30


def test_values_that_are_no_numbers_are_masked(tmp_path: Path) -> None:
    lived = recording()
    lived.state[3] = np.array([np.nan, 1.0])
    lived.requested[2] = np.array([np.inf])
    lived.reward = []
    (episode,) = read_episodes(written(tmp_path, write_log(lived)), None, raw_sha256=SHA).episodes
    assert np.argwhere(~episode.state_valid).tolist() == [[3, 0]]
    assert np.isfinite(episode.state).all()
    assert np.isnan(episode.reward).all()


def test_a_cut_log_is_refused(tmp_path: Path) -> None:
    whole = write_log(recording(500))
    with pytest.raises(DataError) as caught:
        read_episodes(written(tmp_path, whole[: len(whole) * 2 // 3]), None, raw_sha256=SHA)
    assert caught.value.code == "truncated"


def test_a_log_of_another_robot_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, write_log(recording()))
    with pytest.raises(DataError, match="of robot 'slider-7', it was sent by 'slider-8'") as caught:
        read_episodes(path, None, raw_sha256=SHA, robot="slider-8")
    assert caught.value.code == "wrong_robot"


def test_odd_logs_are_refused_with_a_reason(tmp_path: Path) -> None:
    short = recording()
    short.command = short.command[:-3]
    with pytest.raises(DataError, match="'/command' has 27 messages, the states ask for 30") as caught:
        read_episodes(written(tmp_path, write_log(short)), None, raw_sha256=SHA)
    assert caught.value.code == "bad_shape"
    narrow = recording()
    narrow.state = [s[:1] for s in narrow.state]
    with pytest.raises(DataError, match="width 2"):
        read_episodes(written(tmp_path, write_log(narrow)), None, raw_sha256=SHA)
    hostile = recording()
    hostile.robot = "../x"
    with pytest.raises(DataError) as caught:
        read_episodes(written(tmp_path, write_log(hostile)), None, raw_sha256=SHA)
    assert caught.value.code == "bad_name"
    tagged = recording()
    tagged.tags = {"k": "x" * 2000}
    with pytest.raises(DataError) as caught:
        read_episodes(written(tmp_path, write_log(tagged)), None, raw_sha256=SHA)
    assert caught.value.code == "bad_name"


def test_foreign_logs_need_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,a\n0,1\n1,2\n")
    with pytest.raises(InputError, match="needs a mapping"):
        read_episodes(tmp_path / "x.csv", None, raw_sha256=SHA)
