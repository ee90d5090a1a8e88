"""The card of a file: counts beside the file's own, timing, decimated series, JSON that reads back."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.card import POINTS, FileCard, card_of, decimate
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping import Mapping
from fleet_ingest.timing import topic_timing
from fleet_ingest.validate import Sandbox, Verdict
from tests.fleet_ingest import log_files
from tests.fleet_ingest.service import log_of

MAPPING = Mapping.model_validate(
    {"name": "arm", "rate_hz": 100,
     "channels": [{"column": "/joint.angle", "name": "q", "kind": "angle", "unit": "rad"},
                  {"column": "/joint.rate", "name": "dq", "kind": "linear", "unit": "rad/s", "derivative_of": "q"},
                  {"column": "/command.data", "name": "u", "kind": "effort", "role": "command", "unit": "N*m"}]}
)  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as child:
        yield child


def test_a_file_without_a_mapping(tmp_path: Path, sandbox: Sandbox) -> None:
    log_files.mcap_cdr(tmp_path / "x.mcap", 1000)
    verdict = sandbox.inspect(tmp_path / "x.mcap")
    assert verdict.card is not None
    card = FileCard.from_json(json.dumps(verdict.card))
    assert (card.state, card.format, card.integrity) == ("accepted", "mcap", "checksums")
    assert card.duration_s == pytest.approx(9.99, abs=1e-6)
    assert card.start_ns == log_files.START_NS
    joint = next(topic for topic in card.topics if topic.name == "/joint")
    assert (joint.decoded, joint.said, joint.rate_hz, joint.gaps) == (1000, 1000, 100.0, 0)
    assert joint.type == "test_msgs/msg/Joint"
    angle = next(series for series in card.series if series.name == "/joint.angle")
    assert len(angle.t_s) == len(angle.values) <= POINTS
    assert max(v for v in angle.values if v is not None) == pytest.approx(1.0, abs=1e-6)
    assert len(verdict.card["flags"]) == 0


def test_the_clock_is_not_plotted_as_a_channel(tmp_path: Path, sandbox: Sandbox) -> None:
    (tmp_path / "robot.mcap").write_bytes(log_of("cartpole-0001", 1)[:-900])
    rows = "".join(f"{i / 50},{i},{i % 7}\n" for i in range(100))
    (tmp_path / "table.csv").write_text("t,count,x\n" + rows)
    shown = []
    for name in ("robot.mcap", "table.csv"):
        verdict = sandbox.inspect(tmp_path / name)
        shown.append({series.name for series in FileCard.model_validate(verdict.card).series})
    assert {"/state.v[0]", "/command.v[0]"} <= shown[0]
    assert not {name for name in shown[0] if name.endswith(".t")}
    assert {"count", "x"} <= shown[1]


def test_with_a_mapping_the_channels_are_plotted_in_si(tmp_path: Path, sandbox: Sandbox) -> None:
    log_files.mcap_cdr(tmp_path / "x.mcap", 300)
    verdict = sandbox.read(tmp_path / "x.mcap", MAPPING, raw_sha256="a" * 64, out=tmp_path, robot="arm-1")
    assert verdict.state == "accepted", verdict.detail
    card = FileCard.model_validate(verdict.card)
    assert [(s.name, s.unit, s.role) for s in card.series] == [
        ("q", "rad", "state"), ("dq", "rad/s", "state"), ("u", "N*m", "command")
    ]  # fmt: skip
    assert (card.episodes, card.rate_hz) == (1, 100.0)


def test_a_broken_file_says_what_was_kept(tmp_path: Path, sandbox: Sandbox) -> None:
    log_files.mcap_cdr(tmp_path / "x.mcap", 300)
    data = (tmp_path / "x.mcap").read_bytes()
    (tmp_path / "x.mcap").write_bytes(data[: len(data) // 2])
    strict = Mapping.model_validate({**MAPPING.model_dump(), "salvage": False})
    fixed = {"raw_sha256": "a" * 64, "out": tmp_path, "robot": "arm-1"}
    verdict = sandbox.read(tmp_path / "x.mcap", MAPPING, **fixed)
    refused = sandbox.read(tmp_path / "x.mcap", strict, **fixed)
    released = sandbox.read(tmp_path / "x.mcap", strict, **fixed, release=True)
    card = FileCard.model_validate(verdict.card)
    assert (card.state, card.code) == ("salvaged", "truncated")
    assert card.words == "The file is cut off: its end is missing."
    assert card.salvage is not None
    assert card.salvage.lost_from_byte is not None
    assert 0 < card.salvage.lost_from_byte <= card.salvage.file_bytes == len(data) // 2
    assert card.salvage.kept == sum(topic.decoded for topic in card.topics)
    assert not card.releasable
    held = FileCard.model_validate(refused.card)
    assert (held.state, held.code, held.releasable) == ("quarantined", "truncated", True)
    assert held.topics == card.topics
    assert (released.state, len(released.episodes)) == ("salvaged", 1)


def test_a_card_without_contents() -> None:
    card = card_of(None, Verdict("quarantined", "bomb", "x"), file_bytes=7)
    assert (card.releasable, card.file_bytes, card.topics, card.duration_s) == (False, 7, (), 0.0)
    assert card.words.startswith("A small part of the file unpacks")


def test_decimation_keeps_spikes_and_order() -> None:
    values = np.zeros(100_000)
    values[[17, 54_321]] = [5.0, -7.0]
    values[200:400] = np.nan
    kept = decimate(values)
    assert len(kept) <= POINTS
    assert {17, 54_321} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert decimate(np.arange(10.0)).tolist() == list(range(10))


def test_timing_of_a_topic() -> None:
    """100 Hz, a pause of 1 s, a step back, a repeat."""
    times = np.array([0, 10, 20, 30, 1030, 1040, 1050, 1045, 1050, 1050]) * 1_000_000
    timing = topic_timing(times)
    assert timing == {
        "rate_hz": 100.0, "duration_s": 1.05, "gaps": 1, "longest_gap_s": 1.0, "backwards": 1, "repeated": 1
    }  # fmt: skip
    assert topic_timing(np.array([5])) == {"backwards": 0, "repeated": 0}


def test_repeated_messages_are_flagged(tmp_path: Path, sandbox: Sandbox) -> None:
    from mcap.writer import Writer

    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file, enable_data_crcs=True)
        writer.start()
        channel = writer.register_channel(topic="/x", message_encoding="json", schema_id=0)
        for i in (0, 1, 2, 2, 3, 3, 4, 3):
            writer.add_message(channel, log_time=i, publish_time=i, data=json.dumps({"a": i}).encode())
        writer.add_message(channel, log_time=3, publish_time=3, data=b'{"a": 99}')
        writer.finish()
    verdict = sandbox.inspect(tmp_path / "x.mcap")
    assert {(f.code, f.count) for f in verdict.flags} == {("duplicate", 2), ("time_backwards", 1)}
    assert read_log(tmp_path / "x.mcap").topics[0].decoded == 9
