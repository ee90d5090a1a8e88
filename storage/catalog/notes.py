"""What people know: notes and photos entered with uploads, linked to them and so to their episodes.

The photos' bytes are objects; these rows say which note they belong to. Later they prompt the simulator.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from storage.catalog.repository import Repository, batches, now_ns
from storage.catalog.robots import require_robot
from storage.catalog.tables import episodes, note_photos, notes, upload_notes
from storage.contracts.canonical import canonical_json, sha256_hex
from storage.contracts.errors import UnknownName


@dataclass(frozen=True)
class PhotoRow:
    """`name` is what the sender called it, for display only."""

    sha256: str
    name: str
    media_type: str
    size: int


@dataclass(frozen=True)
class NoteRow:
    """One note of one robot; `session` groups the files of one outing."""

    id: int
    robot: str
    session: str | None
    text: str
    author: str
    created_ns: int
    photos: tuple[PhotoRow, ...]


class Notes(Repository):
    """Notes; the same words about the same robot and session are one note."""

    def add(self, robot: str, text: str, *, session: str | None = None, author: str = "") -> NoteRow:
        """Raises UnknownName for an unknown robot."""
        digest = sha256_hex(canonical_json([robot, session, text]))
        values = {
            "digest": digest, "robot": robot, "session": session, "text": text, "author": author,
            "created_ns": now_ns(),
        }  # fmt: skip

        def action(connection: Connection) -> NoteRow:
            require_robot(connection, robot)
            self._db.insert_if_absent(connection, notes, values)
            found = connection.execute(select(notes.c.id).where(notes.c.digest == digest)).scalar_one()
            return _fetch(connection, [found])[0]

        return self._db.write(action)

    def get(self, id: int) -> NoteRow:
        """Raises UnknownName."""

        def action(connection: Connection) -> NoteRow:
            found = _fetch(connection, [id])
            if not found:
                raise UnknownName("note", str(id), None)
            return found[0]

        return self._db.read(action)

    def add_photo(self, note: int, photo: PhotoRow) -> NoteRow:
        """Links a photo whose bytes are stored already; the same again changes nothing."""
        values = {
            "note": note, "sha256": photo.sha256, "name": photo.name, "media_type": photo.media_type,
            "size": photo.size, "added_ns": now_ns(),
        }  # fmt: skip
        self._db.write(lambda connection: self._db.insert_if_absent(connection, note_photos, values))
        return self.get(note)

    def link(self, upload: int, note: int) -> None:
        self._db.write(lambda c: self._db.insert_if_absent(c, upload_notes, {"upload": upload, "note": note}))

    def of_uploads(self, uploads: Iterable[int]) -> dict[int, list[NoteRow]]:
        """Upload id -> its notes, oldest first; uploads without notes are left out."""

        def action(connection: Connection) -> dict[int, list[NoteRow]]:
            pairs: list[tuple[int, int]] = []
            for part in batches(uploads):
                query = select(upload_notes).where(upload_notes.c.upload.in_(part))
                pairs += [(row.upload, row.note) for row in connection.execute(query)]
            rows = {row.id: row for row in _fetch(connection, sorted({note for _, note in pairs}))}
            found: dict[int, list[NoteRow]] = {}
            for upload, note in sorted(pairs):
                found.setdefault(upload, []).append(rows[note])
            return found

        return self._db.read(action)

    def of_episodes(self, digests: Iterable[str]) -> dict[str, list[NoteRow]]:
        """Episode digest -> the notes of the upload that it came from: what is known about it in words and pictures."""

        def action(connection: Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for part in batches(digests):
                query = select(episodes.c.sha256, episodes.c.upload).where(episodes.c.sha256.in_(part))
                found |= {row.sha256: row.upload for row in connection.execute(query) if row.upload is not None}
            return found

        uploads = self._db.read(action)
        known = self.of_uploads(set(uploads.values()))
        return {digest: known[upload] for digest, upload in uploads.items() if upload in known}


def _fetch(connection: Connection, ids: list[int]) -> list[NoteRow]:
    photos: dict[int, list[PhotoRow]] = {}
    rows = []
    for part in batches(ids):
        query = select(note_photos).where(note_photos.c.note.in_(part)).order_by(note_photos.c.added_ns)
        for row in connection.execute(query):
            photos.setdefault(row.note, []).append(PhotoRow(row.sha256, row.name, row.media_type, row.size))
        rows += list(connection.execute(select(notes).where(notes.c.id.in_(part)).order_by(notes.c.id)))
    return [
        NoteRow(r.id, r.robot, r.session, r.text, r.author, r.created_ns, tuple(photos.get(r.id, ()))) for r in rows
    ]
