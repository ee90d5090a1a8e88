"""What a training begins with: found by its name, stored once, refused where it would be of no use."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.parent import stored_parent
from flows.sources import PRETRAINED, read_folder
from simulator.config import SimulatorConfig
from storage.catalog.catalog import Catalog
from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import InputError, UnknownName
from tests.flows.conftest import Bundle


class Memory(dict[str, bytes]):
    """An object store that forgets."""

    def put_bytes(self, data: bytes) -> str:
        self[sha256_hex(data)] = data
        return sha256_hex(data)

    def get_bytes(self, sha256: str) -> bytes:
        return self[sha256]


@pytest.fixture
def engine(catalog: Catalog) -> Any:
    return SimpleNamespace(catalog=catalog, store=Memory())


def test_a_folder_is_stored_and_then_found_by_its_name(engine: Any, bundle: Bundle) -> None:
    spec, config = bundle.simulator.specs[0], bundle.simulator.model.config
    digest = stored_parent(engine, str(bundle.folder), spec, config)
    manifest, files = read_folder(bundle.folder)
    assert digest == manifest.digest
    assert all(engine.store.get_bytes(manifest.files[role]) == data for role, data in files.items())
    assert stored_parent(engine, str(bundle.folder), spec, config) == digest
    assert stored_parent(engine, "tiny@latest", spec, config) == digest
    assert stored_parent(engine, digest, spec, config) == digest


def test_a_robot_that_does_not_fit_is_refused(engine: Any, bundle: Bundle) -> None:
    spec, config = bundle.simulator.specs[0], bundle.simulator.model.config
    fast = spec.model_copy(update={"control_rate_hz": 500.0})
    with pytest.raises(InputError, match="no room for robot") as caught:
        stored_parent(engine, str(bundle.folder), fast, config)
    assert "--parent" in caught.value.remedy
    assert engine.store == {}
    with pytest.raises(UnknownName):
        stored_parent(engine, "nobody@latest", spec, config)


def test_the_bundle_that_comes_along_has_room_for_a_cart_pole(engine: Any) -> None:
    from fleet_ingest.standins.registry import standin

    digest = stored_parent(engine, "pretrained", standin("cartpole").spec, SimulatorConfig())
    assert digest == read_folder(PRETRAINED)[0].digest
    assert read_folder(PRETRAINED)[0].pretrained_on_standins
