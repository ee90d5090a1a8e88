"""Logs of several formats become the same episodes: each is looked at, drafted a mapping and read. Run: python -m
examples.read_any_log [FILE ...]

Without files, one run of the pendulum is written as HDF5, as Parquet and as MCAP, and the MCAP file is cut off, as by a
logger that lost its power.
"""

import json
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mcap.writer import Writer

from examples.import_log import load_episodes
from examples.pendulum import write_logs
from fleet_ingest.propose import propose
from fleet_ingest.reading import read_episodes
from fleet_ingest.validate import Sandbox
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import DataError


def write_formats(folder: Path) -> list[Path]:
    """One run with columns t (s), angle (rad), rate (rad/s) and torque (N m), in three formats and once cut off."""
    run = load_episodes(folder, write_logs(folder, runs=1))[0]
    last, time_ns = run.steps, run.time_ns - run.time_ns[0]
    names, values = ("t", "angle", "rate", "torque"), (time_ns[:last] * 1e-9, *run.state[:last].T, run.command[:, 0])
    columns = dict(zip(names, map(np.ascontiguousarray, values), strict=True))
    with h5py.File(folder / "run.hdf5", "w", libver="latest") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, fletcher32=True, chunks=True)
    pq.write_table(pa.table(columns), folder / "run.parquet", write_page_checksum=True)
    with (folder / "run.mcap").open("wb") as out:
        writer = Writer(out, chunk_size=4096, enable_data_crcs=True)
        writer.start()
        channel = writer.register_channel(topic="/pole", message_encoding="json", schema_id=0)
        for i, t in enumerate(time_ns[:last].tolist()):
            row = json.dumps({name: columns[name][i] for name in names[1:]}).encode()
            writer.add_message(channel, log_time=t, publish_time=t, data=row)
        writer.finish()
    whole = (folder / "run.mcap").read_bytes()
    (folder / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    return [folder / name for name in ("run.hdf5", "run.parquet", "run.mcap", "cut.mcap")]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Sandbox() as sandbox:
        paths = [Path(argument) for argument in sys.argv[1:]] or write_formats(Path(name))
        mapping = None
        for path in paths:
            looked = sandbox.inspect(path)  # in a child with caps on memory and time: a file is hostile until read
            card = looked.card or {}
            print(f"{path.name}: {card['format']}, {looked.state}; checked against: {card['integrity']}")
            print("\n".join(f"    {flag.code}: {flag.detail}" for flag in looked.flags))
            try:
                mapping = propose(path).mapping
            except DataError as error:  # too broken to draft from: the last mapping is tried
                print(f"    {error.code}: {error.remedy}")
            if mapping is None or looked.state == "quarantined":
                continue
            reading = read_episodes(path, mapping, raw_sha256=sha256_hex(path.read_bytes()))
            for episode in reading.episodes:
                print(f"    {episode.duration_s:.1f} s at {reading.rate_hz:g} Hz: {episode.spec.state_layout.columns}")


if __name__ == "__main__":
    main()
