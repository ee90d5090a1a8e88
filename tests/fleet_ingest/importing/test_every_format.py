"""Every format is drafted a mapping and becomes episodes of known contents; real logs too."""

from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.mapping import Mapping
from fleet_ingest.propose import propose
from fleet_ingest.reading import read_episodes
from tests.fleet_ingest import log_files

DATA = Path(__file__).parents[4] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real logs are not at ../shared/data")
N = 200


def made(folder: Path, name: str) -> Path:
    file, write = log_files.SINGLE[name]
    write(folder / file, N)
    return folder / file


@pytest.mark.parametrize("name", sorted(log_files.SINGLE))
def test_a_draft_of_every_format_works_as_it_is(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    draft = propose(path)
    reading = read_episodes(path, draft.mapping, raw_sha256="f" * 64, logical_path=path.name)
    rate = 50.0 if name == "hdf5" else 100.0
    assert reading.rate_hz == rate
    assert sum(e.duration_s for e in reading.episodes) == pytest.approx((N - len(reading.episodes)) / rate, abs=0.02)
    angle = next(c for c in draft.mapping.channels if "angle" in c.name)
    np.testing.assert_allclose(
        reading.episodes[0].column(angle.name)[:90], log_files.columns(N)["angle"][:90], atol=1e-9
    )
    assert draft.plot_png.startswith(b"\x89PNG")


def test_list_entries_and_topics_can_be_mixed(tmp_path: Path) -> None:
    path = made(tmp_path, "rosbag1")
    mapping = Mapping.model_validate(
        {"name": "arm", "rate_hz": 100, "format": "rosbag1",
         "channels": [{"column": "/joint.vector[1]", "name": "half", "kind": "linear", "unit": "mm"},
                      {"column": "/command.data", "name": "u", "kind": "effort", "role": "command", "unit": "N"}]}
    )  # fmt: skip
    (episode,) = read_episodes(path, mapping, raw_sha256="f" * 64).episodes
    np.testing.assert_allclose(episode.column("half"), np.arange(N) / 2 * 1e-3, atol=1e-9)
    np.testing.assert_allclose(episode.command[1:, 0], log_files.columns(N)["command"][: N - 2], atol=1e-12)


def test_a_data_set_gives_an_episode_with_its_clip(tmp_path: Path) -> None:
    file = log_files.lerobot(tmp_path / "set", 60, version="v3.0")
    draft = propose(file)
    assert [c.name for c in draft.mapping.channels][:2] == ["observation.state.shoulder", "observation.state.elbow"]
    episodes = read_episodes(file, draft.mapping, raw_sha256="f" * 64, logical_path="file-000.parquet").episodes
    assert [e.steps for e in episodes] == [59, 59]
    assert [(m.channel, m.start_ns) for e in episodes for m in e.media] == [
        ("observation.images.top", 0), ("observation.images.top", -2_000_000_000)
    ]  # fmt: skip
    assert len({m.sha256 for e in episodes for m in e.media}) == 1


@real
@pytest.mark.parametrize(
    ("file", "least_s", "found"),
    [("logs/mcap/jackal.mcap", 60, {"imu.data.orientation": "orientation", "imu.data.angular_velocity.x": "linear"}),
     ("logs/rosbag1/turtlesim-lz4.bag", 20, {"turtle1.pose.theta": "angle", "turtle2.cmd_vel.linear.x": "linear"}),
     ("logs/ulog/sample_log_small.ulg", 5, {"vehicle_attitude.q": "orientation", "actuator_outputs.output": "scalar"}),
     ("g1_bottle/data/chunk-000/episode_000001.parquet", 13, {"action.kLeftElbow": "linear"})],
)  # fmt: skip
def test_real_logs_are_drafted_and_imported(file: str, least_s: float, found: dict[str, str]) -> None:
    draft = propose(DATA / file)
    kinds = {c.name: c.kind.value for c in draft.mapping.channels}
    assert found.items() <= kinds.items()
    reading = read_episodes(DATA / file, draft.mapping, raw_sha256="f" * 64, logical_path=file)
    assert sum(e.duration_s for e in reading.episodes) > least_s


@real
def test_units_and_roles_of_a_flight_log() -> None:
    mapping = propose(DATA / "logs/ulog/sample_log_small.ulg").mapping
    channels = {c.name: c for c in mapping.channels}
    assert channels["vehicle_local_position.vx"].derivative_of == "vehicle_local_position.x"
    assert channels["vehicle_local_position.vx"].unit == "m/s"
    assert channels["actuator_outputs.output"].role == "command"
