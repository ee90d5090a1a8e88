"""Robots with their specifications, and what becomes of uploads."""

import pytest

from storage.catalog.catalog import Catalog
from storage.catalog.uploads import UploadRow, rarest_piece
from storage.contracts.errors import ConflictError, ContractError, UnknownName
from storage.contracts.robot import RobotSpec

FILE = "a" * 64


@pytest.fixture
def robot(catalog: Catalog, pendulum_spec: RobotSpec) -> str:
    return catalog.robots.register("p-1", pendulum_spec, kind="standin").serial


@pytest.fixture
def upload(catalog: Catalog, robot: str) -> UploadRow:
    return catalog.uploads.begin(robot, FILE, 10, "mcap", "key-1")


def test_a_new_specification_is_a_new_version(catalog: Catalog, pendulum_spec: RobotSpec) -> None:
    heavier = pendulum_spec.model_copy(update={"version": 2})
    rows = [catalog.robots.register("p-1", spec) for spec in (pendulum_spec, pendulum_spec, heavier, heavier)]
    assert [row.spec_number for row in rows] == [1, 1, 2, 2]
    assert rows[-1].spec == heavier
    assert catalog.robots.register("p-1", pendulum_spec).spec_number == 3
    assert catalog.robots.spec(heavier.digest) == heavier


def test_robots_are_listed_by_code_point_on_every_database(catalog: Catalog, pendulum_spec: RobotSpec) -> None:
    names = ["b-1", "B-1", "a_2", "a-10", "A.0", "a-2"]
    for name in names:
        catalog.robots.register(name, pendulum_spec, kind="live" if name == "B-1" else "imported")
    catalog.robots.register("other", pendulum_spec.model_copy(update={"name": "other"}))
    assert [row.serial for row in catalog.robots.list(spec_name="pendulum")] == sorted(names)
    assert [row.serial for row in catalog.robots.list(kind="live")] == ["B-1"]


def test_an_unknown_robot_is_answered_with_the_nearest(catalog: Catalog, robot: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown robot 'p-l'; known: p-1\. Did you mean 'p-1'\?"):
        catalog.robots.get("p-l")
    with pytest.raises(UnknownName, match="Did you mean 'p-1'"):
        catalog.uploads.begin("p-l", FILE, 1, "csv", "k")


def test_serial_names_fit_into_keys_and_paths(catalog: Catalog, pendulum_spec: RobotSpec) -> None:
    for serial in ("", "a/b", "../a", "a b", "x" * 121, "é", "-a", "a\n"):
        with pytest.raises(ContractError, match="cannot be a robot's serial name"):
            catalog.robots.register(serial, pendulum_spec)
    assert catalog.robots.list() == []


def test_an_upload_begins_once(catalog: Catalog, upload: UploadRow) -> None:
    assert (upload.state, upload.version) == ("receiving", 1)
    assert catalog.uploads.begin("p-1", FILE, 10, "mcap", "key-1") == upload
    assert catalog.uploads.begin("p-1", FILE, 10, "mcap", "another-key") == upload, "the file decides"
    assert catalog.uploads.find("p-1", FILE) == upload
    assert catalog.uploads.find("p-1", "b" * 64) is None
    with pytest.raises(ConflictError, match="stands for another file"):
        catalog.uploads.begin("p-1", "b" * 64, 10, "mcap", "key-1")
    with pytest.raises(ConflictError, match="has 10 bytes, now 11"):
        catalog.uploads.begin("p-1", FILE, 11, "mcap", "key-1")


def test_the_same_file_of_two_robots_is_two_uploads(
    catalog: Catalog, upload: UploadRow, pendulum_spec: RobotSpec
) -> None:
    catalog.robots.register("p-2", pendulum_spec)
    assert catalog.uploads.begin("p-2", FILE, 10, "mcap", "key-1").id != upload.id


def test_an_upload_is_finished_once(catalog: Catalog, upload: UploadRow) -> None:
    catalog.uploads.set_multipart(upload.id, "s3-id")
    assert catalog.uploads.verifying(upload.id).state == "verifying"
    done = catalog.uploads.finish(upload.id, "accepted")
    assert (done.state, done.s3_upload_id, done.is_final) == ("accepted", None, True)
    assert catalog.uploads.finish(upload.id, "accepted") == done
    assert catalog.uploads.verifying(upload.id) == done
    with pytest.raises(ConflictError, match="is accepted already and cannot become quarantined"):
        catalog.uploads.finish(upload.id, "quarantined", "truncated")
    assert catalog.uploads.begin("p-1", FILE, 10, "mcap", "key-1") == done


def test_a_quarantined_file_may_be_tried_again(catalog: Catalog, upload: UploadRow) -> None:
    bad = catalog.uploads.finish(upload.id, "quarantined", "truncated", "ends after 3 messages")
    assert (bad.reason_code, bad.detail) == ("truncated", "ends after 3 messages")
    assert catalog.uploads.begin("p-1", FILE, 10, "mcap", "key-1").state == "verifying"
    assert catalog.uploads.finish(upload.id, "salvaged", "truncated").state == "salvaged"


def test_another_mapping_opens_an_accepted_file_again(catalog: Catalog, robot: str) -> None:
    one, two = "1" * 64, "2" * 64
    row = catalog.uploads.begin(robot, FILE, 10, "csv", "k", mapping_sha256=one)
    catalog.uploads.finish(row.id, "accepted")
    assert catalog.uploads.begin(robot, FILE, 10, "csv", "k", mapping_sha256=one).state == "accepted"
    again = catalog.uploads.begin(robot, FILE, 10, "csv", "k", mapping_sha256=two)
    assert (again.id, again.state, again.mapping_sha256) == (row.id, "verifying", two)


def test_wrong_states_and_ids_are_named(catalog: Catalog, upload: UploadRow) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'accepted'"):
        catalog.uploads.finish(upload.id, "acepted")
    with pytest.raises(UnknownName, match="unknown upload state 'done'"):
        catalog.uploads.list(state="done")
    with pytest.raises(UnknownName, match="no upload '99'"):
        catalog.uploads.get(99)
    with pytest.raises(UnknownName, match=f"no episode '{FILE}'"):
        catalog.uploads.finish(upload.id, "accepted", episodes=[FILE])
    assert catalog.uploads.get(upload.id).state == "receiving"
    assert [row.id for row in catalog.uploads.list(robot="p-1", state="receiving")] == [upload.id]
    assert catalog.uploads.list(robot="p-2") == []


@pytest.mark.parametrize(
    ("name", "piece"),
    [("run-77.mcap", "-77."), ("nowhere", "nowhere"), ("77", "77"), ("a_20261122_b.csv", "_20261122_"), ("..", "..")],
)
def test_the_rarest_piece_of_a_name_is_looked_up(name: str, piece: str) -> None:
    assert rarest_piece(name) == piece
    assert rarest_piece(name) in name


def test_uploads_are_found_by_any_part_of_their_name(catalog: Catalog, pendulum_spec: RobotSpec) -> None:
    catalog.robots.register("p-1", pendulum_spec)
    names = ["run-77.mcap", "run-77.csv", "run-177.mcap", "a%b.csv"]
    for i, name in enumerate(names):
        catalog.uploads.begin("p-1", f"{i:064x}", 1, "csv", f"key-{i}", name=name)
    found = {term: {row.name for row in catalog.uploads.page(name=term)} for term in ("run-77", "77.mcap", "%b", "x")}
    assert found == {
        "run-77": {"run-77.mcap", "run-77.csv"}, "77.mcap": {"run-77.mcap", "run-177.mcap"}, "%b": {"a%b.csv"},
        "x": set(),
    }  # fmt: skip
