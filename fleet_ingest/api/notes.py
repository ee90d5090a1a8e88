"""Notes and photos of operators. A photo's bytes go to the staging area like a file's, and are hashed and looked at
(their first bytes) before they count.
"""

import base64

from fleet_ingest.api.answers import NewNote, NoteAnswer, Photo, PhotoSlot, PhotoUrl
from fleet_ingest.api.errors import Again
from fleet_ingest.api.gate import Actor
from fleet_ingest.robot.protocol import URL_SECONDS
from storage.catalog.catalog import Catalog
from storage.catalog.notes import NoteRow, PhotoRow
from storage.contracts.errors import DataError, UnknownName
from storage.objects import ObjectStore

_MAGIC = {
    "image/jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "image/png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
}


class Notes:
    """Notes in `catalog`, photos in `store`."""

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        self._catalog = catalog
        self._store = store

    def add(self, body: NewNote, actor: Actor) -> NoteAnswer:
        """Raises UnknownName for an unknown robot."""
        return _answer(self._catalog.notes.add(body.robot, body.text, session=body.session, author=actor.name))

    def row(self, note: int) -> NoteRow:
        """Raises UnknownName."""
        return self._catalog.notes.get(note)

    def of_upload(self, upload: int) -> list[NoteAnswer]:
        return [_answer(row) for row in self._catalog.notes.of_uploads([upload]).get(upload, [])]

    def slot(self, note: NoteRow, photo: Photo) -> PhotoSlot:
        """Where the bytes go. `held` only when this very note has the photo already."""
        if photo.sha256 in {known.sha256 for known in note.photos}:
            return PhotoSlot(held=True)
        checksum = base64.b64encode(bytes.fromhex(photo.sha256)).decode()
        put = self._store.presign_put(self._key(note, photo), photo.size, checksum, URL_SECONDS)
        return PhotoSlot(held=False, url=put.url, headers=put.headers)

    def keep(self, note: NoteRow, photo: Photo) -> NoteAnswer:
        """Verifies the bytes and links them. Raises Again when they are not there, DataError when they are no photo."""
        if photo.sha256 in {known.sha256 for known in note.photos}:
            return _answer(note)
        key = self._key(note, photo)
        head = self._store.head_of_key(key, 16)
        if head is None:
            raise Again("photo_missing", f"the bytes of photo '{photo.name}' have not arrived", "Send them first.")
        if not _MAGIC[photo.media_type](head):
            self._store.delete_staged(key)
            raise DataError(f"'{photo.name}' is no {photo.media_type}", code="no_photo", remedy="Send JPEG, PNG, WebP.")
        try:
            size = self._store.promote(key, photo.sha256, again=False)
        except (DataError, UnknownName) as error:
            self._store.delete_staged(key)
            raise Again("digest_mismatch", f"photo '{photo.name}' arrived damaged", "Send it again.") from error
        row = PhotoRow(photo.sha256, photo.name, photo.media_type, size)
        return _answer(self._catalog.notes.add_photo(note.id, row))

    def url(self, note: NoteRow, sha256: str) -> PhotoUrl:
        """Where the photo can be looked at. Raises UnknownName unless the note has it."""
        if sha256 not in {known.sha256 for known in note.photos}:
            raise UnknownName("photo of this note", sha256, None)
        return PhotoUrl(url=self._store.presign_get(sha256, URL_SECONDS), expires_s=URL_SECONDS)

    def _key(self, note: NoteRow, photo: Photo) -> str:
        return self._store.staging_key(note.robot, f"note-{note.id}-{photo.sha256[:16]}")


def _answer(row: NoteRow) -> NoteAnswer:
    photos = tuple(
        Photo.model_validate({"sha256": p.sha256, "name": p.name, "media_type": p.media_type, "size": p.size})
        for p in row.photos
    )
    return NoteAnswer(
        id=row.id, robot=row.robot, session=row.session, text=row.text, author=row.author, created_ns=row.created_ns,
        photos=photos,
    )  # fmt: skip
