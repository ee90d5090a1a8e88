"""The object store: immutable bytes under their SHA-256, in S3.

Bytes are written before any row that names them, and read back only if their digest is right. Equal bytes are one
object, so putting twice is free. This module keeps no index and no metadata (the catalog does), and never overwrites
an object.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from botocore.exceptions import ClientError

from storage.contracts.canonical import sha256_hex
from storage.contracts.errors import DataError, UnavailableError, UnknownName
from storage.s3.client import error_code
from storage.s3.config import S3Config as S3Config
from storage.s3.staging import ABSENT, OBJECT_PREFIX, StagingArea, object_key
from storage.s3.staging import Part as Part
from storage.s3.staging import Presigned as Presigned

_READ_BYTES = 1 << 20
_PART_BYTES = 32 << 20
_EXISTS = frozenset({"PreconditionFailed", "412"})


class ObjectStore(StagingArea):
    """Content-addressed objects and the staging area in front of them. Safe to use from several threads."""

    def put_bytes(self, data: bytes) -> str:
        """Stores `data` and returns its SHA-256. Free if it is there already."""
        sha256 = sha256_hex(data)
        self._put(sha256, len(data), lambda: data)
        return sha256

    def put_file(self, path: Path) -> str:
        """Stores the file at `path`, read as a stream, and returns its SHA-256."""
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if self.exists(digest):
                return digest
            if size > 2 * _PART_BYTES:
                self._put_parts(digest, file)
            else:
                self._put(digest, size, lambda: _rewound(file))
        return digest

    def get_bytes(self, sha256: str) -> bytes:
        """The bytes with this digest.

        Raises UnknownName if absent, DataError (code `digest`) if the stored bytes are others.
        """
        key = object_key(sha256)
        data: bytes = self._read(
            sha256, lambda: bytes(self.client.get_object(Bucket=self.config.bucket, Key=key)["Body"].read())
        )
        if (found := sha256_hex(data)) != sha256:
            raise _corrupt(sha256, found)
        return data

    def download(self, sha256: str, path: Path) -> None:
        """Writes the object to `path` by temporary name and rename. Raises as `get_bytes`; `path` is then untouched."""
        key = object_key(sha256)
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{sha256[:12]}-", dir=path.parent)
        except OSError as error:
            raise UnavailableError(f"cannot write to {path.parent}: {error.strerror}") from error
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                found: str = self._read(sha256, lambda: self._stream(key, file))
            if found != sha256:
                raise _corrupt(sha256, found)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def exists(self, sha256: str) -> bool:
        return self.exists_key(object_key(sha256))

    def size(self, sha256: str) -> int:
        """Bytes of the object. Raises UnknownName if absent."""
        size = self.size_of_key(object_key(sha256))
        if size is None:
            raise UnknownName("object", sha256, None)
        return size

    def delete(self, sha256: str) -> None:
        """Removes an object; for garbage collection only. An absent one is fine."""
        key = object_key(sha256)
        self._call(f"deleting {key}", lambda: self.client.delete_object(Bucket=self.config.bucket, Key=key))

    def digests(self) -> Iterator[str]:
        """Digests of all objects, in the order of their keys."""
        token: dict[str, str] = {}
        while True:
            page = self._call(
                "listing objects",
                lambda: self.client.list_objects_v2(Bucket=self.config.bucket, Prefix=OBJECT_PREFIX, **token),  # noqa: B023
            )
            yield from (entry["Key"].rsplit("/", 1)[1] for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def presign_get(self, sha256: str, expires_s: int = 3600) -> str:
        """A URL from which anybody who has it may read the object for `expires_s` seconds."""
        params = {"Bucket": self.config.bucket, "Key": object_key(sha256)}
        return str(self.client.generate_presigned_url("get_object", Params=params, ExpiresIn=expires_s))

    def check(self) -> None:
        """Asks the service for the bucket. Raises UnavailableError or InputError with what is wrong."""
        self._call("asking for the bucket", lambda: self.client.list_objects_v2(Bucket=self.config.bucket, MaxKeys=1))

    def ensure_bucket(self) -> None:
        """Creates the bucket if it is absent."""
        there = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
        try:
            self._call(
                "creating the bucket", lambda: self.client.create_bucket(Bucket=self.config.bucket), expected=there
            )
        except ClientError:
            return

    def _put(self, sha256: str, size: int, body: Callable[[], bytes | IO[bytes]]) -> None:
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        where = {"Bucket": self.config.bucket, "Key": object_key(sha256)}
        try:
            self._call(
                f"storing {size} bytes",
                lambda: self.client.put_object(
                    **where, Body=body(), ContentLength=size, ChecksumSHA256=checksum, IfNoneMatch="*"
                ),
                expected=_EXISTS,
            )
        except ClientError:
            return

    def _put_parts(self, sha256: str, file: IO[bytes]) -> None:
        where: dict[str, Any] = {"Bucket": self.config.bucket, "Key": object_key(sha256)}
        upload = self._call(
            "starting an upload", lambda: self.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
        )
        where["UploadId"] = upload["UploadId"]
        parts: list[dict[str, Any]] = []
        file.seek(0)
        while chunk := file.read(_PART_BYTES):
            number = len(parts) + 1
            checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
            sent = self._call(
                f"storing part {number}",
                lambda: self.client.upload_part(**where, PartNumber=number, Body=chunk, ChecksumSHA256=checksum),  # noqa: B023
            )
            parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": checksum})
        try:
            self._call(
                "completing an upload",
                lambda: self.client.complete_multipart_upload(
                    **where, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                ),
                expected=_EXISTS | {"NoSuchUpload"},
            )
        except ClientError as error:
            if error_code(error) == "NoSuchUpload" and not self.exists(sha256):
                raise UnavailableError(f"the upload of {sha256} was dropped by {self.config.place}") from error

    def _read(self, sha256: str, action: Callable[[], Any]) -> Any:
        try:
            return self._call(f"reading {sha256}", action, expected=ABSENT)
        except ClientError as error:
            raise UnknownName("object", sha256, None, remedy=f"It is not in {self.config.place}.") from error

    def _stream(self, key: str, file: IO[bytes]) -> str:
        file.seek(0)
        file.truncate()
        digest = hashlib.sha256()
        for chunk in self.client.get_object(Bucket=self.config.bucket, Key=key)["Body"].iter_chunks(_READ_BYTES):
            digest.update(chunk)
            file.write(chunk)
        return digest.hexdigest()


def _rewound(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file


def _corrupt(sha256: str, found: str) -> DataError:
    return DataError(
        f"the object {sha256} holds bytes with SHA-256 {found}: the store has damaged it",
        code="digest",
        remedy="Delete the object and store its bytes again.",
    )
