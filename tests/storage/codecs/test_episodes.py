"""The episode codec: exact round trips, equal bytes, and files that mean harm."""

import dataclasses
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from storage.codecs.columns import blocks
from storage.codecs.episodes import FORMAT, decode_episode, encode_episode
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode, MediaRef, Provenance, QualityFlag
from storage.contracts.errors import DataError, IncompatibleError
from storage.contracts.robot import Entity, RobotSpec

SPECS = (
    RobotSpec(name="lamp", control_rate_hz=1, channels=(Channel(name="on", kind=Kind.CATEGORY, labels=("off", "on")),)),
    RobotSpec(
        name="arm",
        control_rate_hz=50,
        channels=(
            Channel(name="tip", kind=Kind.DIRECTION, size=3),
            Channel(name="motor", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", size=2),
            Channel(name="wind", kind=Kind.EFFORT, role=Role.EXOGENOUS, unit="N"),
            Channel(name="camera", kind=Kind.IMAGE),
        ),
        entities=(Entity(name="extra", mass_kg=1.5),),
        source_text="a lamp\nand an arm",
    ),
)
ARRAYS = (
    "time_ns",
    "state",
    "state_valid",
    "command",
    "command_valid",
    "command_requested",
    "exogenous",
    "alive",
    "reward",
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ANY_FLOAT = st.floats(width=64) | st.sampled_from([np.nan, -0.0, np.inf, 5e-324])


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    """Any episode: odd floats where they are not marked valid, every optional part there or not."""
    spec = draw(st.sampled_from(SPECS))
    steps = draw(st.integers(1, 5))
    widths = {block.attribute: len(block.columns) for block in blocks(spec)}
    start = draw(st.integers(-(2**62), 2**62))
    gaps = draw(arrays(np.int64, steps, elements=st.integers(1, 2**40)))
    values: dict[str, object] = {"time_ns": np.cumsum(np.concatenate([[start], gaps]))}
    for name in ("state", "command", "exogenous", "command_requested", "reward"):
        rows = steps + 1 if name == "state" else steps
        shape = rows if name == "reward" else (rows, widths[name])
        if name in ("state", "command") or draw(st.booleans()):
            values[name] = draw(arrays(np.float64, shape, elements=ANY_FLOAT))
    for name, of in (("state_valid", "state"), ("command_valid", "command")):
        if draw(st.booleans()):
            finite = np.isfinite(values[of])  # type: ignore[call-overload]
            values[name] = finite & draw(arrays(np.bool_, finite.shape))
    if draw(st.booleans()):
        values["alive"] = draw(arrays(np.bool_, (steps + 1, widths["alive"])))
    raw = Provenance(
        raw_sha256="ab" * 32, mapping_sha256=draw(st.none() | st.just("cd" * 32)), part=draw(st.integers(0, 9))
    )
    return Episode(
        robot=draw(TEXT),
        spec=spec,
        provenance=raw,
        terminated=draw(st.booleans()),
        truncated=draw(st.booleans()),
        resets=tuple(draw(st.lists(st.integers(0, steps - 1), max_size=2))),
        media=tuple(
            draw(
                st.lists(
                    st.builds(
                        MediaRef,
                        channel=TEXT,
                        sha256=st.just("ef" * 32),
                        media_type=TEXT,
                        start_ns=st.integers(0, 9),
                        end_ns=st.integers(0, 9),
                    ),
                    max_size=1,
                )
            )
        ),
        notes=tuple(draw(st.lists(TEXT, max_size=2))),
        policy=draw(st.none() | TEXT),
        quality=tuple(draw(st.lists(st.builds(QualityFlag, code=TEXT, channel=st.none() | TEXT), max_size=1))),
        tags=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        **values,  # type: ignore[arg-type]
    )


def assert_same(a: Episode, b: Episode) -> None:
    """Equal in every field, arrays bit for bit."""
    for field in dataclasses.fields(Episode):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if field.name in ARRAYS:
            assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes()), field.name
        else:
            assert left == right, field.name


@settings(max_examples=80)
@given(episodes())
def test_round_trip_is_exact_and_bytes_are_deterministic(episode: Episode) -> None:
    data = encode_episode(episode)
    decoded = decode_episode(data)
    assert_same(decoded, episode)
    assert encode_episode(decoded) == data


def test_other_readers_can_read_the_columns(make_episode: Callable[..., Episode]) -> None:
    episode = make_episode(steps=3)
    table = pq.read_table(pa.BufferReader(encode_episode(episode)))
    assert table.column_names == ["time_ns", "state:arm.angle", "state:arm.rate", "command:motor"]
    assert table["state:arm.rate"].to_pylist() == episode.column("arm.rate").tolist()
    assert table["command:motor"].to_pylist() == [*episode.command[:, 0].tolist(), None]


def test_bytes_do_not_depend_on_the_process(make_episode: Callable[..., Episode]) -> None:
    """Hash seeds differ between the two processes; the tags and the arrays are the same."""
    program = """
import numpy as np
from storage.codecs.episodes import decode_episode, encode_episode
import hashlib, sys
print(hashlib.sha256(encode_episode(decode_episode(sys.stdin.buffer.read()))).hexdigest())
"""
    data = encode_episode(make_episode(tags={"b": "1", "a": "2", "c": "3"}, seed=5))
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_refused_or_read_as_they_were(
    make_episode: Callable[..., Episode], data: st.DataObject
) -> None:
    """Flips, cuts and insertions anywhere. Page checksums and the schema make silent changes of values impossible."""
    good = make_episode(steps=10, tags={"a": "b"})
    raw = bytearray(encode_episode(good))
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert"])):
        case "flip":
            raw[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del raw[at:]
        case "insert":
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    try:
        decoded = decode_episode(bytes(raw))
    except (DataError, IncompatibleError):
        return
    for name in ARRAYS:
        assert getattr(decoded, name).tobytes() == getattr(good, name).tobytes(), name


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, b"PAR1" + noise + b"PAR1", b"PAR1" + noise + len(noise).to_bytes(4, "little") + b"PAR1"):
        with pytest.raises(DataError, match="not an episode file"):
            decode_episode(data)


def rewrite(episode: Episode, table: pa.Table | None = None, **changes: object) -> bytes:
    """An episode file with another table or header, written by an honest writer."""
    file = pq.ParquetFile(pa.BufferReader(encode_episode(episode)))
    header = json.loads(file.metadata.metadata[b"sim2real.episode"]) | changes
    sink = io.BytesIO()
    chosen = file.read() if table is None else table
    with pq.ParquetWriter(sink, chosen.schema, store_schema=False, compression="zstd") as writer:
        writer.add_key_value_metadata({"sim2real.episode": json.dumps(header)})
        writer.write_table(chosen)
    return sink.getvalue()


def test_a_newer_format_asks_for_a_newer_engine(make_episode: Callable[..., Episode]) -> None:
    with pytest.raises(IncompatibleError, match=f"format {FORMAT + 1}; this version reads up to {FORMAT}"):
        decode_episode(rewrite(make_episode(), format=FORMAT + 1, unheard_of=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {}},
        {"robot": None},
        {"stored": ["state", "nothing"]},
        {"stored": []},
        {"format": 0},
        {"tags": {"a": 1}},
        {"extra": 1},
    ],
    ids=str,
)
def test_wrong_headers_are_refused(make_episode: Callable[..., Episode], changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not an episode file"):
        decode_episode(rewrite(make_episode(), **changes))


def test_wrong_tables_are_refused(make_episode: Callable[..., Episode]) -> None:
    episode = make_episode(steps=4)
    table = pq.read_table(pa.BufferReader(encode_episode(episode)))
    nulls = pa.array([None] * 5, pa.float64())
    wrong = {
        "a column less": table.drop_columns(["state:arm.rate"]),
        "a column more": table.append_column("x", nulls),
        "another order": table.select([0, 2, 1, 3]),
        "another type": table.set_column(1, "state:arm.angle", table["state:arm.angle"].cast(pa.float32())),
        "a nested type": table.set_column(1, "state:arm.angle", pa.array([[1.0]] * 5)),
        "missing values": table.set_column(1, "state:arm.angle", nulls),
        "time runs back": table.set_column(0, "time_ns", pa.array([0, 1, 2, 3, 2])),
        "no rows": table.slice(0, 0),
        "one row": table.slice(0, 1),
    }
    for odd in wrong.values():
        with pytest.raises(DataError) as caught:
            decode_episode(rewrite(episode, odd))
        assert caught.value.code == "episode"


BOMB = """
import resource, sys
from storage.codecs.episodes import decode_episode
from storage.contracts.errors import DataError
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_episode(data, max_values=10_000_000)
except DataError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


def bomb(episode: Episode, rows: int) -> bytes:
    """Constant columns, run-length encoded: a small file with very many rows."""
    file = pq.ParquetFile(pa.BufferReader(encode_episode(episode)))
    part = pa.table({f.name: pa.repeat(pa.scalar(1, f.type), rows // 5) for f in file.schema_arrow})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, part.schema, store_schema=False, compression="zstd", use_dictionary=True) as writer:
        writer.add_key_value_metadata(file.metadata.metadata)
        for _ in range(5):
            writer.write_table(part)
    return sink.getvalue()


def test_a_small_file_with_very_many_rows_costs_no_memory(make_episode: Callable[..., Episode]) -> None:
    """Read in full this one would take 160 MB."""
    data = bomb(make_episode(), 5_000_000)
    assert len(data) < 200_000
    run = subprocess.run([sys.executable, "-c", BOMB], input=data, capture_output=True, timeout=60, check=True)
    message, growth = run.stdout.decode().splitlines()
    assert "declares 5000000 rows of 4 columns; at most 10000000 values are read" in message
    assert int(growth) < 30e6


def test_the_limit_is_the_callers(make_episode: Callable[..., Episode]) -> None:
    data = encode_episode(make_episode(steps=99))
    assert decode_episode(data, max_values=400).steps == 99
    with pytest.raises(DataError, match="at most 399 values are read"):
        decode_episode(data, max_values=399)


def test_an_hour_at_a_kilohertz_is_fast(make_episode: Callable[..., Episode]) -> None:
    """3.6 million rows; a codec that touches rows in Python would need minutes."""
    steps = 3_600_000 // 4
    start = time.process_time()
    data = encode_episode(make_episode(steps=steps))
    assert decode_episode(data).steps == steps
    assert time.process_time() - start < 10
