"""The staging area: where uploads land in parts, before anybody has checked their digest.

Clients send the parts themselves, by presigned requests. A multipart SHA-256 is composite and `ListParts` returns no
checksums, so the sender keeps them and the whole object is hashed here before it is promoted. Nothing here reads
contents.
"""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from storage.contracts.errors import ContractError, DataError, UnknownName
from storage.s3.client import Caller, error_code
from storage.s3.config import S3Config

STAGING_PREFIX = "staging/"
OBJECT_PREFIX = "objects/"
_READ_BYTES = 1 << 20
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_NO_UPLOAD = frozenset({"404", "NoSuchUpload"})
_TAKEN = frozenset({"PreconditionFailed", "412"})


class Presigned(NamedTuple):
    """A request that whoever holds it may send until it expires; `headers` must be sent exactly so."""

    method: str
    url: str
    headers: dict[str, str]


class Part(NamedTuple):
    """One uploaded part. `sha256_b64` is known to its sender only; `list_parts` leaves it None."""

    number: int
    etag: str
    size: int = 0
    sha256_b64: str | None = None


class StagingArea:
    """Multipart uploads under `staging/<robot>/<upload id>`, and their promotion to content-addressed objects."""

    def __init__(self, config: S3Config) -> None:
        self.config = config
        self._call = Caller(config)
        self.client = self._call.client

    @staticmethod
    def staging_key(robot: str, upload_id: int | str) -> str:
        return f"{STAGING_PREFIX}{robot}/{upload_id}"

    def begin_multipart(self, key: str) -> str:
        """Starts a multipart upload and returns S3's id for it."""
        where = self._staged(key)
        started = self._call(
            f"starting the upload of {key}",
            lambda: self.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256"),
        )
        return str(started["UploadId"])

    def presign_part(
        self, key: str, upload_id: str, number: int, size: int, sha256_b64: str, expires_s: int = 3600
    ) -> Presigned:
        """A PUT of part `number` (from 1) that the server takes only with these bytes' SHA-256 (base64) and length."""
        params = self._staged(key) | {
            "UploadId": upload_id, "PartNumber": number, "ContentLength": size, "ChecksumSHA256": sha256_b64,
        }  # fmt: skip
        url = self.client.generate_presigned_url("upload_part", Params=params, ExpiresIn=expires_s)
        return Presigned("PUT", url, {"content-length": str(size), "x-amz-checksum-sha256": sha256_b64})

    def presign_put(self, key: str, size: int, sha256_b64: str, expires_s: int = 3600) -> Presigned:
        """A single PUT to a staging key, with the same promises as `presign_part`."""
        params = self._staged(key) | {"ContentLength": size, "ChecksumSHA256": sha256_b64}
        url = self.client.generate_presigned_url("put_object", Params=params, ExpiresIn=expires_s)
        return Presigned("PUT", url, {"content-length": str(size), "x-amz-checksum-sha256": sha256_b64})

    def list_parts(self, key: str, upload_id: str) -> list[Part]:
        """The parts that have arrived, by number. Raises UnknownName when the upload is gone (completed or aborted)."""
        where = self._staged(key)
        found: list[Part] = []
        marker = 0
        while True:
            try:
                page = self._call(
                    f"listing the parts of {key}",
                    lambda: self.client.list_parts(**where, UploadId=upload_id, PartNumberMarker=marker),  # noqa: B023
                    expected=_NO_UPLOAD,
                )
            except ClientError as error:
                raise UnknownName("multipart upload", upload_id, None) from error
            found += [Part(int(p["PartNumber"]), p["ETag"], int(p["Size"])) for p in page.get("Parts", [])]
            if not page.get("IsTruncated"):
                return found
            marker = int(page["NextPartNumberMarker"])

    def complete_multipart(self, key: str, upload_id: str, parts: list[Part]) -> None:
        """Joins the parts.

        A second completion finds the object in place and does nothing. Raises DataError for wrong parts.
        """
        listed: list[dict[str, Any]] = [
            {"PartNumber": p.number, "ETag": p.etag} | ({"ChecksumSHA256": p.sha256_b64} if p.sha256_b64 else {})
            for p in sorted(parts)
        ]
        refusals = frozenset(
            {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "BadDigest", "MalformedXML"}
        )
        try:
            self._call(
                f"completing the upload of {key}",
                lambda: self.client.complete_multipart_upload(
                    **self._staged(key), UploadId=upload_id, IfNoneMatch="*", MultipartUpload={"Parts": listed}
                ),
                expected=_NO_UPLOAD | _TAKEN | refusals,
            )
        except ClientError as error:
            if error_code(error) in _TAKEN:
                return
            if error_code(error) in _NO_UPLOAD and self.exists_key(key):
                return
            if error_code(error) in _NO_UPLOAD:
                raise UnknownName("multipart upload", upload_id, None, remedy="Start the upload again.") from error
            raise DataError(f"the parts of {key} do not make an object: {error}", code="parts") from error

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drops the parts; an upload that is gone already is fine."""
        try:
            self._call(
                f"aborting the upload of {key}",
                lambda: self.client.abort_multipart_upload(**self._staged(key), UploadId=upload_id),
                expected=_NO_UPLOAD,
            )
        except ClientError:
            return

    def hash_object(self, key: str) -> tuple[str, int]:
        """(SHA-256, size) of the bytes under `key`, read as a stream. Raises UnknownName if there are none."""
        sha256, size, _ = self._hash(key)
        return sha256, size

    def promote(
        self, key: str, sha256: str, *, again: bool = True, progress: Callable[[int], None] = lambda done: None
    ) -> int:
        """Hashes the staged object, makes it the object `sha256`, deletes it from staging, and returns its size.

        `progress` is told the number of bytes hashed so far.

        The copy is bound to the bytes that were hashed (If-Match on their ETag), so that a sender who still holds a
        presigned request cannot slip others in. A second promotion does nothing; where bytes must be staged because
        they prove that their sender has them, `again` is False. Raises DataError (code `digest`) if the bytes have
        another digest, UnknownName if nothing is staged.
        """
        try:
            size, etag = self.fetch(key, sha256, progress=progress)
        except UnknownName:
            if again and (size_there := self.size_of_key(object_key(sha256))) is not None:
                return size_there
            raise
        self.adopt(key, sha256, etag)
        self.delete_staged(key)
        return size

    def fetch(
        self, key: str, sha256: str, *, into: Path | None = None, progress: Callable[[int], None] = lambda done: None
    ) -> tuple[int, str]:
        """(size, ETag) of the staged object, whose bytes are hashed and written to the file `into`, in one reading.

        `progress` is told the number of bytes so far. Raises DataError (code `digest`) if the bytes have another digest
        (the file is then worth nothing), UnknownName if nothing is staged.
        """
        found, size, etag = self._hash(key, progress, into)
        if found != sha256:
            raise DataError(f"{key} has SHA-256 {found} ({size} bytes), but {sha256} was announced", code="digest")
        return size, etag

    def adopt(self, key: str, sha256: str, etag: str) -> None:
        """Staged bytes that `fetch` found to be `sha256` become that object; they stay staged until they are deleted.

        Raises DataError (code `digest`) if they are others by now.
        """
        target = object_key(sha256)
        if self.size_of_key(target) is None:
            self._copy(key, target, etag)

    def _copy(self, key: str, target: str, etag: str) -> None:
        bucket = self.config.bucket
        try:
            self._call(
                f"promoting {key}",
                lambda: self.client.copy_object(
                    Bucket=bucket,
                    Key=target,
                    CopySource={"Bucket": bucket, "Key": key},
                    CopySourceIfMatch=etag,
                    MetadataDirective="REPLACE",
                ),
                expected=_TAKEN,
            )
        except ClientError as error:
            raise DataError(f"{key} changed while it was being promoted", code="digest") from error

    def delete_staged(self, key: str) -> None:
        where = self._staged(key)
        self._call(f"deleting {key}", lambda: self.client.delete_object(**where))

    def open_multiparts(self) -> list[tuple[str, str, datetime]]:
        """(key, S3's id, begun) of multipart uploads in the staging area that were neither completed nor aborted."""
        found: list[tuple[str, str, datetime]] = []
        marker: dict[str, str] = {}
        while True:
            where = {"Bucket": self.config.bucket, "Prefix": STAGING_PREFIX} | marker
            page = self._call("listing uploads", lambda: self.client.list_multipart_uploads(**where))  # noqa: B023
            found += [(u["Key"], u["UploadId"], u["Initiated"]) for u in page.get("Uploads", [])]
            if not page.get("IsTruncated"):
                return found
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def staged_objects(self) -> list[tuple[str, datetime]]:
        """(key, last modified) of whole objects in the staging area."""
        found: list[tuple[str, datetime]] = []
        token: dict[str, str] = {}
        while True:
            where = {"Bucket": self.config.bucket, "Prefix": STAGING_PREFIX} | token
            page = self._call("listing the staging area", lambda: self.client.list_objects_v2(**where))  # noqa: B023
            found += [(entry["Key"], entry["LastModified"]) for entry in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def allow_origins(self, origins: tuple[str, ...]) -> None:
        """Lets pages of these origins, and no others, send presigned requests (CORS of the bucket)."""
        rule = {
            "AllowedOrigins": list(origins), "AllowedMethods": ["PUT", "GET"], "MaxAgeSeconds": 600,
            "AllowedHeaders": ["x-amz-checksum-sha256", "content-type"], "ExposeHeaders": ["ETag"],
        }  # fmt: skip
        where = {"Bucket": self.config.bucket, "CORSConfiguration": {"CORSRules": [rule]}}
        self._call("setting the bucket's CORS", lambda: self.client.put_bucket_cors(**where))

    def exists_key(self, key: str) -> bool:
        return self.size_of_key(key) is not None

    def size_of_key(self, key: str) -> int | None:
        """Bytes under `key`, None if absent."""
        try:
            head = self._call(
                f"looking up {key}",
                lambda: self.client.head_object(Bucket=self.config.bucket, Key=key),
                expected=ABSENT,
            )
        except ClientError:
            return None
        return int(head["ContentLength"])

    def head_of_key(self, key: str, size: int) -> bytes | None:
        """The first `size` bytes under `key`, None if absent."""
        where = {"Bucket": self.config.bucket, "Key": key, "Range": f"bytes=0-{size - 1}"}
        try:
            return self._call(
                f"looking at {key}", lambda: bytes(self.client.get_object(**where)["Body"].read()), expected=ABSENT
            )
        except ClientError:
            return None

    def _hash(
        self, key: str, progress: Callable[[int], None] = lambda done: None, into: Path | None = None
    ) -> tuple[str, int, str]:
        def read() -> tuple[str, int, str]:
            answer = self.client.get_object(Bucket=self.config.bucket, Key=key)
            digest, size = hashlib.sha256(), 0
            with Path(into or os.devnull).open("wb") as file:
                for chunk in answer["Body"].iter_chunks(_READ_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                    size += len(chunk)
                    progress(size)
            return digest.hexdigest(), size, answer["ETag"]

        try:
            return self._call(f"hashing {key}", read, expected=ABSENT)
        except ClientError as error:
            raise UnknownName("staged object", key, None) from error

    def _staged(self, key: str) -> dict[str, Any]:
        parts = key.split("/")
        if not key.startswith(STAGING_PREFIX) or len(parts) < 3 or any(p in ("", ".", "..") for p in parts):
            raise ContractError(f"'{key}' is not a staging key; expected {STAGING_PREFIX}<robot>/<upload id>")
        return {"Bucket": self.config.bucket, "Key": key}


def object_key(sha256: str) -> str:
    """`objects/ab/cd/<sha256>`. Raises ContractError unless `sha256` is 64 lower-case hex digits."""
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ContractError(f"'{sha256}' is not a SHA-256 digest (64 lower-case hex digits)")
    return f"{OBJECT_PREFIX}{sha256[:2]}/{sha256[2:4]}/{sha256}"
