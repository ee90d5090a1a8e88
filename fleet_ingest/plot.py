"""A picture of a log's channels over time, as PNG, to check a mapping by eye. Draws at most 24 channels."""

from io import BytesIO

import matplotlib
import numpy as np

from fleet_ingest.formats.rawlog import RawLog
from fleet_ingest.mapping import Mapping
from fleet_ingest.tracks import channel_values
from storage.contracts.errors import DataError

matplotlib.use("Agg")
from matplotlib.figure import Figure

_ROWS = 24
_POINTS = 4000
_COLOURS = {"state": "#1f6f8b", "command": "#c0562f", "exogenous": "#7a4fa3"}


def plot_channels(raw: RawLog, mapping: Mapping, time_ns: np.ndarray, title: str) -> bytes:
    """PNG: one strip a channel in SI units, seconds from the first row; `time_ns` int64 [n] are a table's times."""
    channels = mapping.channels[:_ROWS]
    figure = Figure(figsize=(10, 1.0 + 1.1 * len(channels)), dpi=90, layout="constrained")
    axes = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    present = time_ns[time_ns != np.iinfo(np.int64).min]
    start = int(present.min()) if present.size else 0
    for axis, channel in zip(axes, channels, strict=True):
        axis.set_ylabel(f"{channel.name}\n[{channel.channel.unit}]", rotation=0, ha="right", va="center", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        try:
            values, series, _ = channel_values(raw, channel, channel.columns)
        except DataError:
            continue
        times = series.time_ns if series.time_ns is not None else time_ns
        step = max(1, len(times) // _POINTS)
        keep = (times != np.iinfo(np.int64).min)[::step]
        axis.plot(
            (times[::step][keep] - start) * 1e-9,
            values[::step][keep],
            lw=0.8,
            color=_COLOURS.get(channel.role, "#555555"),
        )
    more = f" (the first {_ROWS} of {len(mapping.channels)} channels)" if len(mapping.channels) > _ROWS else ""
    figure.suptitle(title + more, fontsize=9, x=0.01, ha="left", parse_math=False)
    axes[-1].set_xlabel("s", fontsize=8)
    target = BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
