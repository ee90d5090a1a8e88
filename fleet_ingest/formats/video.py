"""The frames of a video as its container lists them: how many, when. Read by PyAV from an open file, so that nothing in
the file can name another one. Frames are not kept; the first is decoded, to see that it can be.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from storage.contracts.errors import DataError

_MAX_FRAMES = 5_000_000
_MAX_PIXELS = 64 << 20


class Video(NamedTuple):
    """`times_s` float64 [n] of the frames in order of showing, seconds from the clip's zero."""

    times_s: np.ndarray
    sha256: str
    codec: str


def read_video(path: Path) -> Video:
    """The frames of the MP4 at `path`. Raises DataError `corrupt`, `too_large`."""
    times: list[float] = []
    try:
        with path.open("rb") as file, av.open(file, mode="r", format="mp4") as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > _MAX_PIXELS:
                raise DataError(f"'{path.name}' has frames of {stream.width} by {stream.height}", code="too_large")
            base = float(stream.time_base) if stream.time_base is not None else 0.0
            decoded = False
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                times.append(packet.pts * base)
                if not decoded:
                    decoded = bool(packet.decode())
                if len(times) > _MAX_FRAMES:
                    raise DataError(f"'{path.name}' has over {_MAX_FRAMES:,} frames", code="too_large")
            decoded = decoded or bool(stream.decode(None))
    except (FFmpegError, OSError, IndexError, ValueError) as error:
        raise DataError(f"the video '{path.name}' cannot be read: {str(error)[:120]}", code="corrupt") from error
    if not decoded:
        raise DataError(f"not one frame of the video '{path.name}' can be decoded", code="corrupt")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Video(np.sort(np.array(times)), digest, stream.codec_context.name)
