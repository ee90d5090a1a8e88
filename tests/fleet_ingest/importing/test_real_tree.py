"""The double pendulum's whole tree through a real S3 server and a catalog, twice."""

from pathlib import Path

import pytest

from fleet_ingest.import_tree import import_tree
from fleet_ingest.mapping_yaml import load_mapping
from storage.catalog.catalog import Catalog
from storage.codecs.episodes import decode_episode
from storage.objects import ObjectStore

TREE = Path(__file__).parents[4] / "shared" / "data" / "double_pendulum"


@pytest.mark.skipif(not TREE.is_dir(), reason="the double pendulum's logs are not at ../shared/data")
def test_import_the_tree(object_store: ObjectStore, sqlite_url: str) -> None:
    mapping = load_mapping("double_pendulum")
    with Catalog.open(sqlite_url) as catalog:
        first = import_tree([TREE], mapping, store=object_store, catalog=catalog)
        again = import_tree([TREE], mapping, store=object_store, catalog=catalog)
        assert [r.state for r in first] == ["accepted"] * 53
        assert [r.episodes for r in again] == [r.episodes for r in first]
        assert all(r.known for r in again)
        rows = catalog.episodes.find(spec_name="double_pendulum")
        assert len(rows) == 53
        assert {row.robot for row in rows} == {f"double-pendulum-{build}" for build in ("A.0", "C.0", "C.1")}
        assert {row.split for row in rows} == {"train", "validation", "test"}
        assert len(catalog.episodes.find(tags={"command": "measured"})) == 9
    episode = decode_episode(object_store.get_bytes(first[0].episodes[0]))
    assert episode.provenance.raw_sha256 == first[0].raw_sha256
