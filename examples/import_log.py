"""Logs that nobody here wrote become episodes through a mapping. Run: python -m examples.import_log"""

import tempfile
from pathlib import Path

from examples.pendulum import write_logs
from fleet_ingest.convert import convert_log
from fleet_ingest.formats.read import read_log
from fleet_ingest.mapping_yaml import load_mapping
from storage.contracts.canonical import sha256_hex
from storage.contracts.episode import Episode


def load_episodes(folder: Path, mapping_path: Path) -> list[Episode]:
    """Every CSV below `folder` as canonical episodes: SI units, a uniform clock, masks where nothing was measured."""
    mapping = load_mapping(mapping_path)
    found: list[Episode] = []
    for path in sorted(folder.rglob("*.csv")):
        raw = read_log(path)
        found += convert_log(raw, mapping, raw_sha256=sha256_hex(path.read_bytes()), path=path.as_posix()).episodes
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        episodes = load_episodes(Path(name), write_logs(Path(name)))
    for episode in episodes[:3]:
        print(
            f"{episode.robot}: {episode.duration_s:.1f} s, {episode.steps} steps, "
            f"channels {episode.spec.state_layout.columns}"
        )
    print(f"{len(episodes)} episodes of {len({e.robot for e in episodes})} robots")


if __name__ == "__main__":
    main()
