"""MCAP files as robots make them: most of the bytes in camera messages of 100 KB, the others in messages of 200 B."""

import json
import math
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer

LARGE, SMALL = 100_000, 200
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 1_000_000
_LARGE_SHARE = 0.8


def write_mixed(path: Path, size: int, seed: int) -> tuple[int, int]:
    """About `size` bytes; returns the numbers of small and of large messages. Chunks are not compressed."""
    random = np.random.default_rng(seed)
    per_large = round(LARGE * (1 - _LARGE_SHARE) / _LARGE_SHARE / SMALL)
    small = large = 0
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4 << 20, compression=CompressionType.NONE, enable_data_crcs=True)
        writer.start(library="benchmark")
        joint = writer.register_channel(topic="/joint", message_encoding="json", schema_id=0)
        camera = writer.register_channel(topic="/camera", message_encoding="jpeg", schema_id=0)
        while file.tell() < size:
            time = START_NS + small * PERIOD_NS
            writer.add_message(camera, log_time=time, publish_time=time, data=random.bytes(LARGE), sequence=large)
            large += 1
            for _ in range(per_large):
                time = START_NS + small * PERIOD_NS
                data = _joint(small * PERIOD_NS * 1e-9)
                writer.add_message(joint, log_time=time, publish_time=time, data=data, sequence=small)
                small += 1
        writer.finish()
    return small, large


def _joint(t: float) -> bytes:
    """200 bytes of JSON."""
    value = {"angle": math.sin(2 * t), "rate": 2 * math.cos(2 * t), "command": math.cos(3 * t), "note": ""}
    text = json.dumps(value)
    return (text[:-2] + "x" * (SMALL - len(text)) + text[-2:]).encode()
