"""Drafts: they load, work as they are, and mark what was guessed."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mcap.writer import Writer

from fleet_ingest.guess_words import unit_of_name
from fleet_ingest.mapping import ChannelMap
from fleet_ingest.mapping_yaml import parse_mapping
from fleet_ingest.propose import propose
from fleet_ingest.reading import read_episodes
from storage.contracts.channel import Kind, Role
from storage.contracts.errors import DataError, InputError

T = np.arange(1000) / 250 + np.random.default_rng(0).uniform(-2e-4, 2e-4, 1000)


def by_column(path: Path) -> dict[str, ChannelMap]:
    draft = propose(path)
    assert parse_mapping(draft.yaml) == draft.mapping
    assert draft.plot_png.startswith(b"\x89PNG")
    reading = read_episodes(path, draft.mapping, raw_sha256="e" * 64, logical_path=str(path))
    assert sum(e.duration_s for e in reading.episodes) > 3.9
    return {",".join(c.columns): c for c in draft.mapping.channels}


def test_names_units_and_slopes(tmp_path: Path) -> None:
    columns = {
        "idx": np.arange(1000), "stamp_ms": T * 1e3, "q1_deg": 60 * np.sin(2 * T), "w1": 120 * np.cos(2 * T),
        "x_mm": 100 * np.sin(T), "v [mm/s]": 100 * np.cos(T), "tau_cmd_nm": np.sin(9 * T), "tau_meas_nm": np.sin(9 * T),
        "tau_disturbance_nm": 0 * T, "head_cos": np.cos(3 * T), "head_sin": np.sin(3 * T), "label": ["a"] * 1000,
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "run.parquet")
    draft = propose(tmp_path / "run.parquet")
    assert (draft.mapping.time.column, draft.mapping.time.unit, draft.mapping.rate_hz) == ("stamp_ms", "ms", 250.0)
    found = by_column(tmp_path / "run.parquet")
    assert set(found) == {
        "q1_deg", "w1", "x_mm", "v [mm/s]", "tau_cmd_nm", "tau_meas_nm", "tau_disturbance_nm", "head_cos,head_sin"
    }  # fmt: skip
    assert (found["q1_deg"].kind, found["q1_deg"].unit) == (Kind.ANGLE, "deg")
    assert (found["w1"].derivative_of, found["w1"].unit) == (found["q1_deg"].name, "deg/s")
    assert (found["v [mm/s]"].derivative_of, found["v [mm/s]"].unit) == (found["x_mm"].name, "mm/s")
    assert found["v [mm/s]"].entity == found["x_mm"].entity
    assert found["tau_cmd_nm"].role == Role.COMMAND
    assert found["tau_meas_nm"].role == Role.STATE
    assert found["tau_disturbance_nm"].role == Role.EXOGENOUS
    assert found["head_cos,head_sin"].kind == Kind.DIRECTION
    assert "# CHECK" in draft.yaml
    assert "label" in draft.yaml


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("Time,a,force.x", lambda i: f"{1.4e9 + T[i]:.6f},{np.sin(T[i]):.6f},{i % 7}"),
        ("date;on;yes", lambda i: f"2026-01-01T00:00:{T[i]:09.6f}Z;{np.sin(T[i]):.6f};{i % 7}".replace("60.", "59.")),
        ("", lambda i: f"{T[i]:.6f},{np.sin(T[i]):.6f},{i % 7}"),
        ("stamp.sec,stamp.nanosec,a,b", lambda i: f"{int(9 + T[i])},{int(T[i] % 1 * 1e9)},{np.sin(T[i]):.6f},{i % 7}"),
        ("time [s]\tq (rad)\tµ # 1", lambda i: f"{T[i]:.6f}\t{np.sin(T[i]):.6f}\t{i % 7}"),
        ("t,x\"y: {z}],x'", lambda i: f"{T[i]:.6f},{np.sin(T[i]):.6f},{i % 7}"),
    ],
    ids=["epoch", "iso and yaml words", "no header", "two columns of time", "brackets", "quotes"],
)
def test_odd_headers(tmp_path: Path, header: str, rows: object) -> None:
    assert callable(rows)
    lines = ([header] if header else []) + [rows(i) for i in range(1000)]
    (tmp_path / "2026-01-01 run.csv").write_text("\n".join(lines) + "\n")
    found = by_column(tmp_path / "2026-01-01 run.csv")
    assert len(found) == 2


def test_a_table_without_time_gets_a_rate_to_check(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pq.write_table(pa.table({"a": rng.normal(size=500), "b": rng.normal(size=500)}), tmp_path / "x.parquet")
    draft = propose(tmp_path / "x.parquet")
    assert draft.mapping.time.rate_hz == 100
    assert "no column looks like a time" in draft.yaml


def test_dates_in_other_ways_of_writing_are_pointed_out(tmp_path: Path) -> None:
    rows = [f"05/01/2026 10:00:{T[i]:06.3f},{np.sin(T[i]):.6f}" for i in range(1000)]
    (tmp_path / "x.csv").write_text("Date Time,x\n" + "\n".join(rows) + "\n")
    assert "'Date Time' holds '05/01/2026 10:00:00" in propose(tmp_path / "x.csv").yaml


def test_topics(tmp_path: Path) -> None:
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        topics = {
            t: writer.register_channel(topic=t, message_encoding="json", schema_id=0) for t in ("/joint", "/motor")
        }
        for i, t in enumerate(np.arange(1000) / 250):
            ns = int(t * 1e9)
            joint = {"t": ns, "pos_rad": math.sin(2 * t), "vel_rad_s": 2 * math.cos(2 * t)}
            writer.add_message(topics["/joint"], log_time=ns, publish_time=ns, data=json.dumps(joint).encode())
            if i % 5 == 0:
                data = json.dumps({"cmd": {"torque_nm": float(i)}}).encode()
                writer.add_message(topics["/motor"], log_time=ns + 7, publish_time=ns, data=data)
        writer.finish()
    found = by_column(tmp_path / "x.mcap")
    assert set(found) == {"/joint.pos_rad", "/joint.vel_rad_s", "/motor.cmd.torque_nm"}
    assert found["/joint.vel_rad_s"].derivative_of == found["/joint.pos_rad"].name == "joint.pos"
    assert found["/motor.cmd.torque_nm"].role == Role.COMMAND


def test_nothing_to_propose(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\nx,y\nz,w\n")
    with pytest.raises(DataError, match="no column of numbers"):
        propose(tmp_path / "x.csv")
    with pytest.raises(InputError, match="is a folder"):
        propose(tmp_path)


@pytest.mark.parametrize(
    ("name", "unit", "stem"),
    [("q1_rad", "rad", "q1"), ("dq_rad_s", "rad/s", "dq"), ("speed [m/s]", "m/s", "speed"),
     ("F(N)", "N", "F"), ("x", None, "x"),
     ("a[3]", None, "a[3]"), ("pos_mm", "mm", "pos"), ("temp_degc", "degC", "temp")],
)  # fmt: skip
def test_units_in_names(name: str, unit: str | None, stem: str) -> None:
    assert unit_of_name(name) == (unit, stem)
