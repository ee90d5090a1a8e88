"""Logs that nobody here wrote, through the shipped mappings. The double pendulum's checks come from its physics."""

from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.mapping_yaml import load_mapping
from fleet_ingest.propose import propose
from fleet_ingest.quality import derivative_fit
from fleet_ingest.reading import Reading, read_episodes
from fleet_ingest.resample import Track
from storage.contracts.errors import DataError

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real logs are not at ../shared/data")


def readings(mapping: str, folder: str) -> dict[str, Reading]:
    wanted, root = load_mapping(mapping), DATA / folder
    return {
        p.relative_to(root).as_posix(): read_episodes(p, wanted, raw_sha256="f" * 64, logical_path=p.as_posix())
        for p in sorted(root.rglob("*.parquet"))
    }


def test_double_pendulum_three_builds_are_three_robots() -> None:
    found = readings("double_pendulum", "double_pendulum")
    episodes = {path: reading.episodes for path, reading in found.items()}
    assert len(found) == 53
    assert all(len(parts) == 1 for parts in episodes.values())
    assert {parts[0].robot for parts in episodes.values()} == {f"double-pendulum-{b}" for b in ("A.0", "C.0", "C.1")}
    assert len({parts[0].spec.digest for parts in episodes.values()}) == 1
    for path, (episode,) in episodes.items():
        assert episode.state_valid.all(), path
        assert episode.command_valid.all(), path
        disturbed = "disturbed" in path
        assert bool(np.abs(episode.exogenous).max() > 0.1) == disturbed, path
        assert (episode.tags.get("command") == "measured") == ("/20220812_" in path), path
        assert bool(episode.notes) == ("/20220812_" in path), path
        for joint in ("shoulder", "elbow"):
            angle, rate = (Track(episode.time_ns, episode.column(f"{joint}.{n}")[:, None]) for n in ("angle", "rate"))
            slope, correlation = derivative_fit(angle, rate, angle=False)
            if episode.column(f"{joint}.rate").std() < 0.5:
                continue
            assert slope == pytest.approx(1.0, abs=0.2), (path, joint)
            assert correlation > 0.95, (path, joint)


@pytest.mark.parametrize(("mapping", "folder", "count"), [("qube", "qube", 16), ("quanser_cartpole", "cartpole", 11)])
def test_quanser_machines(mapping: str, folder: str, count: int) -> None:
    found = readings(mapping, folder)
    assert len(found) == count
    for path, reading in found.items():
        (episode,) = reading.episodes
        assert episode.state_valid.all(), path
        assert episode.duration_s > 4.9, path


def test_the_arms_of_a_humanoid_with_their_clips() -> None:
    found = readings("g1_arms", "g1_bottle/data/chunk-000")
    episodes = [episode for reading in found.values() for episode in reading.episodes]
    assert len(found) == len(episodes) == 30
    assert sum(len(episode.media) for episode in episodes) == 26
    assert {(e.spec.state_layout.width, e.spec.command_layout.width) for e in episodes} == {(26, 26)}
    lags = [
        reading.lag.seconds for reading in found.values() if reading.lag is not None and reading.lag.confidence > 0.3
    ]
    assert len(lags) > 10
    assert 0.02 < np.median(lags) < 0.2


@pytest.mark.parametrize(
    "file",
    ["double_pendulum/C.1/acrobot_ilqr_tvlqr_lqr_disturbed/experiment01.parquet",
     "qube/swing_up_500Hz_5s/2021-06-11_12-09-08.parquet",
     "logs/csv/catvehicle-vel.csv", "logs/csv/catvehicle-distanceEstimator-angle.csv",
     "logs/csv/catvehicle-cmd_vel.csv", "g1_bottle/data/chunk-000/episode_000000.parquet"],
    ids=lambda f: Path(f).stem,
)  # fmt: skip
def test_drafts_work_as_they_are(file: str) -> None:
    draft = propose(DATA / file)
    reading = read_episodes(DATA / file, draft.mapping, raw_sha256="f" * 64, logical_path=file)
    assert sum(e.duration_s for e in reading.episodes) > 4.9


def test_the_draft_finds_the_double_pendulum_s_structure() -> None:
    mapping = propose(DATA / "double_pendulum/C.1/acrobot_ilqr_tvlqr_lqr_disturbed/experiment01.parquet").mapping
    roles = {c.columns[0]: (c.role.value, c.unit, c.derivative_of) for c in mapping.channels}
    assert roles["dq2_rad_s"] == ("state", "rad/s", "q2")
    assert roles["tau_cmd1_nm"] == ("command", "N*m", None)
    assert roles["tau_disturbance1_nm"] == ("exogenous", "N*m", None)
    assert roles["tau_meas1_nm"] == ("state", "N*m", None)


def test_a_header_with_more_names_than_fields_is_refused() -> None:
    with pytest.raises(DataError, match="has 17 names and its rows have 14 fields") as caught:
        propose(DATA / "logs/csv/gps_odom.csv")
    assert caught.value.code == "header_mismatch"
