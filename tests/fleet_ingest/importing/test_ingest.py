"""Files in: bytes, episodes, rows; the same again changes nothing; killed anywhere, the next run repairs."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet_ingest.card import FileCard
from fleet_ingest.import_tree import find_logs, import_tree, summary
from fleet_ingest.ingest import IngestResult, current, ingest_file, ingest_object
from fleet_ingest.mapping import Mapping
from fleet_ingest.propose import propose
from fleet_ingest.robot.log import Recording, write_log
from fleet_ingest.validate import Sandbox
from storage.catalog.catalog import Catalog
from storage.codecs.episodes import decode_episode
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.dataset import split_of
from storage.contracts.errors import DataError, InputError, UnknownName
from storage.contracts.robot import RobotSpec
from tests.fleet_ingest import log_files

MAPPING = Mapping.model_validate(
    {"name": "arm", "files": "**/*.parquet", "path": "{unit}/{run}.parquet", "robot": "arm-{unit}",
     "tags": {"run": "{run}"},
     "time": {"column": "t", "unit": "s"}, "rate_hz": 100,
     "channels": [{"column": "q", "name": "q", "kind": "angle", "unit": "rad"},
                  {"column": "u", "name": "u", "kind": "effort", "role": "command", "unit": "V", "optional": True}]}
)  # fmt: skip


class MemoryStore:
    """The store's port over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_bytes(self, data: bytes) -> str:
        key = sha256(data).hexdigest()
        self.objects[key] = data
        return key

    def put_file(self, path: Path) -> str:
        return self.put_bytes(path.read_bytes())

    def get_bytes(self, sha256: str) -> bytes:
        if sha256 not in self.objects:
            raise UnknownName("object", sha256, self.objects)
        return self.objects[sha256]

    def download(self, sha256: str, path: Path) -> None:
        path.write_bytes(self.get_bytes(sha256))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as child:
        yield child


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    found = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    yield found
    found.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    for number, unit in enumerate(("a", "a", "b")):
        t = np.arange(200) / 100 + number
        folder = root / unit
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"t": t, "q": np.sin(t), "u": t}), folder / f"run{number}.parquet")
    return root


def rows(catalog: Catalog) -> list[Any]:
    uploads = [(u.robot, u.sha256, u.state, u.reason_code, u.mapping_sha256) for u in catalog.uploads.list()]
    episodes = [(e.sha256, e.robot, e.upload, e.split, e.tags) for e in catalog.episodes.find()]
    return [uploads, episodes, [(r.serial, r.spec_digest, r.spec_number) for r in catalog.robots.list()]]


def test_a_tree_of_robots_with_one_bad_file(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store, told = MemoryStore(), list[tuple[float, str]]()
    bad = tree / "b" / "cut.parquet"
    bad.write_bytes((tree / "a" / "run0.parquet").read_bytes()[:900])
    (tree / "b" / "text.parquet").write_text("t,x\n0,1\n0.01,2\n")
    show = lambda *a: told.append(a)
    results = import_tree([tree], MAPPING, store=store, catalog=catalog, sandbox=sandbox, progress=show)
    assert [(Path(r.path).name, r.robot, r.state, r.code) for r in results] == [
        ("run0.parquet", "arm-a", "accepted", ""), ("run1.parquet", "arm-a", "accepted", ""),
        ("cut.parquet", "arm-b", "quarantined", "truncated"), ("run2.parquet", "arm-b", "accepted", ""),
        ("text.parquet", "arm-b", "quarantined", "missing_column"),
    ]  # fmt: skip
    assert store.get_bytes(results[2].raw_sha256) == bad.read_bytes()
    upload = catalog.uploads.get(results[2].upload_id)
    assert (upload.state, upload.reason_code) == ("quarantined", "truncated")
    assert "cut off" in upload.detail
    episode = decode_episode(store.get_bytes(results[3].episodes[0]))
    row = catalog.episodes.get(results[3].episodes[0])
    assert (episode.robot, episode.tags) == ("arm-b", {"run": "run2"})
    assert (row.upload, row.raw_sha256) == (results[3].upload_id, results[3].raw_sha256)
    assert row.split == split_of(row.raw_sha256)
    assert row.mapping_sha256 is not None
    assert Mapping.from_json(store.get_bytes(row.mapping_sha256)) == MAPPING
    assert len({r.spec_digest for r in catalog.robots.list()}) == 1
    assert told[-1] == (1.0, summary(results))
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_the_same_again_changes_nothing(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store = MemoryStore()
    first = import_tree([tree], MAPPING, store=store, catalog=catalog, sandbox=sandbox)
    before, objects = rows(catalog), dict(store.objects)
    again = import_tree([tree], MAPPING, store=store, catalog=catalog, sandbox=sandbox)
    assert rows(catalog) == before
    assert store.objects == objects
    assert [r.episodes for r in again] == [r.episodes for r in first]
    assert all(r.known and not f.known for r, f in zip(again, first, strict=True))


def test_another_mapping_makes_other_episodes_of_the_same_upload(
    tree: Path, catalog: Catalog, sandbox: Sandbox
) -> None:
    store, path = MemoryStore(), tree / "a" / "run0.parquet"
    first = ingest_file(path, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)
    other = ingest_file(path, store=store, catalog=catalog, mapping=MAPPING.at_rate(50.0), sandbox=sandbox)
    back = ingest_file(path, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)
    assert first.upload_id == other.upload_id == back.upload_id
    assert first.episodes == back.episodes != other.episodes
    assert catalog.uploads.get(first.upload_id).mapping_sha256 == MAPPING.digest
    rows = catalog.episodes.find(spec_name="arm")
    assert {row.sha256 for row in rows} == {*first.episodes, *other.episodes}
    assert [row.sha256 for row in current(catalog, rows)] == list(first.episodes)


def test_a_wrong_mapping_does_not_undo_what_was_taken_in(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store, path = MemoryStore(), tree / "a" / "run0.parquet"
    good = ingest_file(path, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)
    before = rows(catalog)
    wrong = Mapping.model_validate({**MAPPING.model_dump(), "time": {"column": "when", "unit": "s"}})
    bad = ingest_file(path, store=store, catalog=catalog, mapping=wrong, sandbox=sandbox)
    assert (bad.state, bad.code, bad.upload_id) == ("quarantined", "missing_time", good.upload_id)
    assert "kept" in bad.remedy
    assert rows(catalog) == before
    assert [row.sha256 for row in current(catalog, catalog.episodes.find())] == list(good.episodes)


def test_a_quarantined_file_is_taken_in_once_the_mapping_is_right(
    tree: Path, catalog: Catalog, sandbox: Sandbox
) -> None:
    path = tree / "a" / "run0.parquet"
    wrong = Mapping.model_validate({**MAPPING.model_dump(), "time": {"column": "when", "unit": "s"}})
    store = MemoryStore()
    bad = ingest_file(path, store=store, catalog=catalog, mapping=wrong, sandbox=sandbox)
    assert (bad.state, bad.code) == ("quarantined", "missing_time")
    good = ingest_file(path, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)
    assert (good.state, good.upload_id) == ("accepted", bad.upload_id)


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Fuse:
    """Lets `left` calls through to the methods of an object and its parts, then dies before or after the call."""

    def __init__(self, target: Any, burn: Callable[[bool], None]) -> None:
        self._target, self._burn = target, burn

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return Fuse(found, self._burn)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._burn(False)
            result = found(*args, **kwargs)
            self._burn(True)
            return result

        return call


def test_killed_between_any_two_steps_the_next_run_repairs(tree: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    path = tree / "b" / "run2.parquet"

    def attempt(store: Any, catalog: Any) -> IngestResult:
        return ingest_file(path, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)

    expected: list[Any] = []
    deaths = 0
    for fuse in range(100):
        store, catalog, count = MemoryStore(), Catalog.open(f"sqlite:///{tmp_path / f'{fuse}.db'}"), [0]

        def burn(after: bool, count: list[int] = count, fuse: int = fuse) -> None:
            count[0] += 1
            if fuse and count[0] == fuse:
                raise Killed

        try:
            attempt(Fuse(store, burn), Fuse(catalog, burn))
        except Killed:
            deaths += 1
            attempt(store, catalog)
        found = [*rows(catalog), sorted(store.objects)]
        expected = expected or found
        assert found == expected, f"killed at call {fuse}"
        catalog.close()
        if fuse and count[0] < fuse:
            break
    assert deaths >= 12


def test_bytes_come_before_rows(tree: Path, sandbox: Sandbox) -> None:
    class NoCatalog:
        def __getattr__(self, name: str) -> Any:
            raise Killed

    store = MemoryStore()
    with pytest.raises(Killed):
        ingest_file(tree / "a" / "run0.parquet", store=store, catalog=NoCatalog(), mapping=MAPPING, sandbox=sandbox)
    assert (tree / "a" / "run0.parquet").read_bytes() in store.objects.values()


def test_a_mapping_that_fits_no_file_is_an_error_and_stores_nothing(
    tree: Path, catalog: Catalog, sandbox: Sandbox
) -> None:
    (tree / "a" / "cut.parquet").write_bytes((tree / "a" / "run0.parquet").read_bytes()[:900])
    store = MemoryStore()
    wrong = Mapping.model_validate(
        {**MAPPING.model_dump(), "channels": [{"column": "qq", "name": "q", "kind": "scalar"}]}
    )
    with pytest.raises(
        InputError, match=r"no column 'qq'; the columns are t, q, u\. Did you mean 'q'\?.*nor any other of 4"
    ):
        import_tree([tree], wrong, store=store, catalog=catalog, sandbox=sandbox)
    assert not store.objects
    assert not catalog.uploads.list()


def test_the_rate_of_a_tree_is_fixed_once(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    t = np.arange(200) / 50
    pq.write_table(pa.table({"t": t, "q": t, "u": t}), tree / "a" / "slow.parquet")
    free = Mapping.model_validate({**MAPPING.model_dump(), "rate_hz": None})
    results = import_tree([tree], free, store=MemoryStore(), catalog=catalog, sandbox=sandbox)
    assert {r.state for r in results} == {"accepted"}
    assert {r.spec.control_rate_hz for r in catalog.robots.list()} == {100.0}


def test_finding_logs(tree: Path) -> None:
    (tree / ".hidden").mkdir()
    (tree / ".hidden" / "x.parquet").write_bytes(b"")
    (tree / "a" / "link.parquet").symlink_to(tree / "b" / "run2.parquet")
    (tree / "a" / "notes.txt").write_text("x")
    assert [p.name for p in find_logs([tree], MAPPING)] == ["run0.parquet", "run1.parquet", "run2.parquet"]
    assert find_logs([tree / "a" / "notes.txt"], MAPPING) == [tree / "a" / "notes.txt"]
    with pytest.raises(InputError, match=r"fits '\*\*/\*\.mcap'; there are 4 \.parquet|3 \.parquet"):
        find_logs([tree], None)
    with pytest.raises(InputError, match="no such file or folder"):
        find_logs([tree / "absent"], MAPPING)


SLIDER = RobotSpec(
    name="slider", control_rate_hz=50,
    channels=(Channel(name="x", kind=Kind.LINEAR), Channel(name="u", kind=Kind.EFFORT, role=Role.COMMAND, unit="N")),
)  # fmt: skip


def recorded(robot: str) -> bytes:
    log = Recording(robot=robot, spec=SLIDER, policy=None, tags={"purpose": "evaluation"})
    log.time_ns = [20_000_000 * i for i in range(51)]
    log.state = [np.array([float(i)]) for i in range(51)]
    log.command = log.requested = [np.array([0.5])] * 50
    return write_log(log)


def test_an_uploaded_robot_log(catalog: Catalog, sandbox: Sandbox) -> None:
    store = MemoryStore()
    key = store.put_bytes(recorded("slider-1"))
    result = ingest_object(key, store=store, catalog=catalog, robot="slider-1", sandbox=sandbox, name="0001.mcap")
    assert (result.state, result.robot, result.duration_s) == ("accepted", "slider-1", 1.0)
    assert catalog.episodes.find(tags={"purpose": "evaluation"})[0].sha256 == result.episodes[0]
    again = ingest_object(key, store=store, catalog=catalog, robot="slider-1", sandbox=sandbox)
    assert again.known
    assert again.episodes == result.episodes


def test_a_waiting_upload_is_settled(catalog: Catalog, sandbox: Sandbox) -> None:
    store, data = MemoryStore(), recorded("slider-2")
    for serial in ("slider-2", "slider-3"):
        catalog.robots.register(serial, SLIDER)
    for robot, state, code in (("slider-2", "accepted", ""), ("slider-3", "quarantined", "wrong_robot")):
        waiting = catalog.uploads.begin(robot, store.put_bytes(data), len(data), "mcap", f"key-{robot}")
        result = ingest_object(
            waiting.sha256, store=store, catalog=catalog, robot=robot, upload_id=waiting.id, sandbox=sandbox
        )
        assert (result.state, result.code, result.upload_id) == (state, code, waiting.id)
        assert catalog.uploads.get(waiting.id).state == state


def test_files_that_need_a_mapping_or_do_not_exist(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store = MemoryStore()
    with pytest.raises(InputError, match="needs a mapping"):
        ingest_file(tree / "a" / "run0.parquet", store=store, catalog=catalog, sandbox=sandbox)
    with pytest.raises(InputError, match="no such file"):
        ingest_file(tree / "absent", store=store, catalog=catalog, sandbox=sandbox)
    with pytest.raises(UnknownName):
        ingest_object("0" * 64, store=store, catalog=catalog, sandbox=sandbox)


def test_every_result_has_its_card(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store, file = MemoryStore(), tree / "a" / "run0.parquet"
    found = ingest_file(file, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox)
    assert found.card is not None
    card = FileCard.model_validate(found.card)
    assert (card.state, card.format, card.topics[0].decoded, card.topics[0].said) == ("accepted", "parquet", 200, 200)
    assert [series.name for series in card.series] == ["q", "u"]
    (row,) = catalog.uploads.list()
    assert (row.name, row.card) == ("run0.parquet", found.card), "the history shows an imported file as a sent one"
    assert ingest_file(file, store=store, catalog=catalog, mapping=MAPPING, sandbox=sandbox).card is None


def test_an_upload_without_a_mapping_waits_with_a_card(tree: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store = MemoryStore()
    key = store.put_file(tree / "a" / "run0.parquet")
    catalog.robots.register("arm-a", MAPPING.spec_at(100.0))
    row = catalog.uploads.begin("arm-a", key, 100, "parquet", "k")
    found = ingest_object(
        key, store=store, catalog=catalog, name="run0.parquet", robot="arm-a", upload_id=row.id, sandbox=sandbox
    )
    assert (found.state, found.code) == ("quarantined", "mapping")
    assert found.card is not None
    card = FileCard.model_validate(found.card)
    assert card.topics[0].fields == ("t", "q", "u")
    assert card.releasable
    again = ingest_object(
        key, store=store, catalog=catalog, name="a/run0.parquet", robot="arm-a", upload_id=row.id, sandbox=sandbox,
        mapping=MAPPING,
    )  # fmt: skip
    assert again.state == "accepted"


def test_clips_are_stored_beside_their_episodes(tmp_path: Path, catalog: Catalog, sandbox: Sandbox) -> None:
    store, file = MemoryStore(), log_files.lerobot(tmp_path / "set", 30)
    mapping = propose(file).mapping
    (found,) = import_tree([tmp_path / "set"], mapping, store=store, catalog=catalog, sandbox=sandbox)[:1]
    assert found.state == "accepted", found.detail
    (episode,) = (decode_episode(store.objects[key]) for key in found.episodes)
    (clip,) = episode.media
    video = next((tmp_path / "set" / "videos").rglob("episode_000000.mp4"))
    assert store.objects[clip.sha256] == video.read_bytes()
    assert (clip.start_ns, clip.end_ns, clip.media_type) == (0, 1_000_000_000, "video/mp4")


def test_a_hostile_name_is_refused(catalog: Catalog, sandbox: Sandbox) -> None:
    store = MemoryStore()
    key = store.put_bytes(b"t,q\n0,1\n")
    with pytest.raises(DataError, match="climbs out"):
        ingest_object(key, store=store, catalog=catalog, name="../x.csv", mapping=MAPPING, sandbox=sandbox)
