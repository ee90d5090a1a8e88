"""Uploads in parts by presigned requests, and their promotion, against a real S3 server."""

import base64
import hashlib
import uuid
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from storage.contracts.errors import ContractError, DataError, UnknownName
from storage.objects import ObjectStore, Part, Presigned

MIB = 1 << 20


def noise(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


def b64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def send(request: Presigned, data: bytes) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.request(request.method, request.url, content=data, headers=request.headers)


@pytest.fixture
def key() -> str:
    return ObjectStore.staging_key("p-1", uuid.uuid4().hex)


def upload(store: ObjectStore, key: str, pieces: list[bytes]) -> list[Part]:
    upload_id = store.begin_multipart(key)
    parts = []
    for number, piece in enumerate(pieces, 1):
        answer = send(store.presign_part(key, upload_id, number, len(piece), b64(piece)), piece)
        assert answer.status_code == 200, answer.text
        parts.append(Part(number, answer.headers["ETag"], len(piece), b64(piece)))
    store.complete_multipart(key, upload_id, parts[::-1])
    store.complete_multipart(key, upload_id, parts)
    return parts


def test_multipart_upload_is_hashed_and_promoted(object_store: ObjectStore, key: str) -> None:
    pieces = [noise("a", 5 * MIB), noise("b", 1000)]
    whole = b"".join(pieces)
    digest = hashlib.sha256(whole).hexdigest()
    upload(object_store, key, pieces)
    assert object_store.hash_object(key) == (digest, len(whole))
    assert object_store.promote(key, digest) == len(whole)
    assert object_store.get_bytes(digest) == whole
    assert not object_store.exists_key(key)
    assert object_store.promote(key, digest) == len(whole), "a promotion that is repeated after a crash"


def test_promotion_refuses_another_digest(object_store: ObjectStore, key: str) -> None:
    data = noise("c", 100)
    assert send(object_store.presign_put(key, len(data), b64(data)), data).status_code == 200
    with pytest.raises(DataError, match="was announced"):
        object_store.promote(key, "0" * 64)
    assert object_store.exists_key(key), "the bytes are kept for quarantine"
    assert not object_store.exists("0" * 64)


def test_one_reading_hashes_and_writes_and_adopted_bytes_stay_staged(
    object_store: ObjectStore, key: str, tmp_path: Path
) -> None:
    """So that a crash between the object and its row finds the bytes in one place or the other."""
    data, local = noise("e", 3 * MIB), tmp_path / "raw"
    send(object_store.presign_put(key, len(data), b64(data)), data)
    told: list[int] = []
    size, etag = object_store.fetch(key, hashlib.sha256(data).hexdigest(), into=local, progress=told.append)
    assert (size, local.read_bytes() == data, told[-1]) == (len(data), True, len(data))
    object_store.adopt(key, hashlib.sha256(data).hexdigest(), etag)
    assert object_store.get_bytes(hashlib.sha256(data).hexdigest()) == data
    assert object_store.exists_key(key)
    with pytest.raises(DataError, match="was announced"):
        object_store.fetch(key, "0" * 64, into=local)


def test_promotion_of_nothing_is_named(object_store: ObjectStore, key: str) -> None:
    with pytest.raises(UnknownName, match="staged object"):
        object_store.promote(key, "1" * 64)


def test_bytes_swapped_after_hashing_are_not_promoted(
    object_store: ObjectStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender who still holds a presigned request replaces the staged bytes between the hash and the copy."""
    good, evil = noise("good", 64), noise("evil", 64)
    digest = hashlib.sha256(good).hexdigest()
    send(object_store.presign_put(key, 64, b64(good)), good)
    hashed = object_store._hash

    def hash_then_swap(staged: str, *more: object) -> tuple[str, int, str]:
        found = hashed(staged, *more)  # type: ignore[arg-type]
        send(object_store.presign_put(key, 64, b64(evil)), evil)
        return found

    monkeypatch.setattr(object_store, "_hash", hash_then_swap)
    with pytest.raises(DataError, match="changed while"):
        object_store.promote(key, digest)
    assert not object_store.exists(digest)


@pytest.mark.parametrize("sent", [noise("other", 1000), noise("d", 999)], ids=["other bytes", "fewer bytes"])
def test_parts_are_bound_to_their_digest(object_store: ObjectStore, key: str, sent: bytes) -> None:
    announced = noise("d", 1000)
    request = object_store.presign_put(key, 1000, b64(announced))
    headers = request.headers | {"content-length": str(len(sent))}
    answer = send(Presigned(request.method, request.url, headers), sent)
    assert 400 <= answer.status_code < 500
    assert not object_store.exists_key(key)


def test_presigned_part_does_not_open_another_key(object_store: ObjectStore, key: str) -> None:
    data = noise("e", 10)
    request = object_store.presign_put(key, 10, b64(data))
    moved = request.url.replace("/staging/p-1/", "/staging/p-2/")
    assert moved != request.url
    assert send(Presigned("PUT", moved, request.headers), data).status_code == 403


def test_parts_are_listed_by_number(object_store: ObjectStore, key: str) -> None:
    upload_id = object_store.begin_multipart(key)
    assert object_store.list_parts(key, upload_id) == []
    for number in (3, 1):
        piece = noise(f"part {number}", 10)
        send(object_store.presign_part(key, upload_id, number, 10, b64(piece)), piece)
    listed = object_store.list_parts(key, upload_id)
    assert [(part.number, part.size, part.sha256_b64) for part in listed] == [(1, 10, None), (3, 10, None)]
    object_store.abort_multipart(key, upload_id)
    object_store.abort_multipart(key, upload_id)
    with pytest.raises(UnknownName, match="multipart upload"):
        object_store.list_parts(key, upload_id)


def test_wrong_parts_are_refused(object_store: ObjectStore, key: str) -> None:
    upload_id = object_store.begin_multipart(key)
    pieces = [noise("f", 5 * MIB), noise("g", 10)]
    parts = []
    for number, piece in enumerate(pieces, 1):
        answer = send(object_store.presign_part(key, upload_id, number, len(piece), b64(piece)), piece)
        parts.append(Part(number, answer.headers["ETag"], len(piece), b64(piece)))
    swapped = [parts[0]._replace(sha256_b64=parts[1].sha256_b64), parts[1]]
    with pytest.raises(DataError, match="do not make an object"):
        object_store.complete_multipart(key, upload_id, swapped)
    object_store.complete_multipart(key, upload_id, parts)
    assert object_store.hash_object(key)[1] == 5 * MIB + 10


@pytest.mark.parametrize("bad", ["objects/aa", "staging/x", "staging/../objects/aa", "staging//x", "staging/a/../../b"])
def test_only_staging_keys_are_staged(object_store: ObjectStore, bad: str) -> None:
    for action in (object_store.begin_multipart, object_store.delete_staged):
        with pytest.raises(ContractError, match="not a staging key"):
            action(bad)


def test_presigned_get_reads_without_keys(object_store: ObjectStore) -> None:
    digest = object_store.put_bytes(b"for a robot")
    with httpx.Client(trust_env=False) as client:
        assert client.get(object_store.presign_get(digest)).content == b"for a robot"
        unsigned = object_store.presign_get(digest).split("?")[0]
        assert client.get(unsigned).status_code == 403


def test_put_does_not_overwrite(object_store: ObjectStore) -> None:
    """If-None-Match is honoured by the server that the engine ships."""
    digest = object_store.put_bytes(b"first")
    where = {"Bucket": object_store.config.bucket, "Key": f"objects/{digest[:2]}/{digest[2:4]}/{digest}"}
    with pytest.raises(ClientError, match="PreconditionFailed"):
        object_store.client.put_object(**where, Body=b"second", IfNoneMatch="*")
    assert object_store.get_bytes(digest) == b"first"
