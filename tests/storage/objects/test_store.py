"""The object store against a real S3 server."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from storage.contracts.errors import ContractError, DataError, InputError, UnavailableError, UnknownName
from storage.objects import ObjectStore, S3Config
from storage.s3.staging import object_key

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, appendix B.1


@pytest.fixture
def scrap(object_store: ObjectStore, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "folder" / "file"
    yield path
    assert not [p for p in path.parent.glob(".*")], "temporary files were left behind"


def test_put_returns_the_sha256_and_is_idempotent(object_store: ObjectStore) -> None:
    assert object_store.put_bytes(b"abc") == ABC
    assert object_store.put_bytes(b"abc") == ABC
    assert object_store.get_bytes(ABC) == b"abc"
    assert object_store.size(ABC) == 3
    assert object_store.exists_key(f"objects/ba/78/{ABC}")
    assert ABC in set(object_store.digests())


def test_empty_bytes_are_an_object(object_store: ObjectStore) -> None:
    digest = object_store.put_bytes(b"")
    assert digest == hashlib.sha256(b"").hexdigest()
    assert object_store.get_bytes(digest) == b""


def test_absent_objects_are_named(object_store: ObjectStore, scrap: Path) -> None:
    absent = "0" * 64
    assert not object_store.exists(absent)
    for action in (object_store.get_bytes, object_store.size, lambda d: object_store.download(d, scrap)):
        with pytest.raises(UnknownName, match=f"there is no object '{absent}'"):
            action(absent)
    assert not scrap.exists()
    object_store.delete(absent)


@pytest.mark.parametrize("digest", ["", "abc", "G" * 64, ABC.upper(), "../" * 21 + "a"])
def test_digests_that_are_none_are_refused(object_store: ObjectStore, digest: str) -> None:
    with pytest.raises(ContractError, match="not a SHA-256"):
        object_store.get_bytes(digest)


def test_damaged_objects_are_not_returned(object_store: ObjectStore, scrap: Path) -> None:
    digest = object_store.put_bytes(b"as it was")
    object_store.client.put_object(Bucket=object_store.config.bucket, Key=object_key(digest), Body=b"as it wax")
    try:
        scrap.parent.mkdir()
        scrap.write_bytes(b"the old file")
        for action in (lambda: object_store.get_bytes(digest), lambda: object_store.download(digest, scrap)):
            with pytest.raises(DataError, match="damaged") as caught:
                action()
            assert caught.value.code == "digest"
        assert scrap.read_bytes() == b"the old file"
        assert object_store.put_bytes(b"as it was") == digest
        with pytest.raises(DataError):
            object_store.get_bytes(digest)  # a put never overwrites (If-None-Match)
        object_store.delete(digest)
        object_store.put_bytes(b"as it was")
        assert object_store.get_bytes(digest) == b"as it was"
    finally:
        object_store.delete(digest)


@pytest.mark.parametrize("size", [0, 1, 3 << 20, (64 << 20) + 17])
def test_files_round_trip(object_store: ObjectStore, tmp_path: Path, size: int) -> None:
    """The largest one goes in parts."""
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(hashlib.shake_128(str(size).encode()).digest(size))
    digest = object_store.put_file(source)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert object_store.put_file(source) == digest
    object_store.download(digest, target)
    assert target.read_bytes() == source.read_bytes()
    object_store.delete(digest)


def test_racing_puts_agree(object_store: ObjectStore) -> None:
    data = hashlib.shake_128(b"race").digest(200_000)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: object_store.put_bytes(data), range(16)))
    assert len(digests) == 1
    assert object_store.get_bytes(digests.pop()) == data


def test_unreachable_endpoint_is_named_within_ten_seconds(s3_config: S3Config) -> None:
    nowhere = ObjectStore(s3_config.model_copy(update={"endpoint_url": "http://127.0.0.1:9"}))
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9 .*cannot be reached"),
    ):
        pool.submit(nowhere.put_bytes, b"x").result(timeout=10)


@pytest.mark.parametrize(
    "change", [{"access_key_id": "SOMEBODY"}, {"secret_access_key": SecretStr("guess")}], ids=["key", "secret"]
)
def test_wrong_credentials_are_named(s3_config: S3Config, change: dict[str, object]) -> None:
    wrong = ObjectStore(s3_config.model_copy(update=change))
    with pytest.raises(InputError, match="refused the credentials with key id") as caught:
        wrong.put_bytes(b"x")
    assert "guess" not in str(caught.value)


def test_absent_bucket_is_named(s3_config: S3Config) -> None:
    elsewhere = ObjectStore(s3_config.model_copy(update={"bucket": "nobodys-bucket"}))
    with pytest.raises(InputError, match="no bucket 'nobodys-bucket'"):
        elsewhere.check()
    elsewhere.ensure_bucket()
    elsewhere.check()
    elsewhere.ensure_bucket()


def test_secret_is_hidden_and_revealed_on_request(s3_config: S3Config) -> None:
    assert s3_config.secret_access_key is not None
    secret = s3_config.secret_access_key.get_secret_value()
    assert secret not in repr(s3_config)
    assert secret not in s3_config.to_json().decode()
    assert S3Config.model_validate(s3_config.reveal()) == s3_config


@pytest.mark.parametrize(
    "values", [{"endpoint_url": "127.0.0.1:8333"}, {"bucket": "Not A Bucket"}, {"access_key_id": "only-half"}]
)
def test_wrong_configuration_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        S3Config.model_validate({"bucket": "sim2real"} | values)
