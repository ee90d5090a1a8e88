"""Routes of notes and photos: what people know about robots and their runs."""

from fastapi.routing import APIRouter

from fleet_ingest.api.answers import Digest, Identifier, NewNote, NoteAnswer, Photo, PhotoSlot, PhotoUrl
from fleet_ingest.api.gate import Caller, Gate
from fleet_ingest.api.notes import Notes
from storage.contracts.errors import ConflictError


def note_routes(notes: Notes, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/notes", tags=["notes"])

    @router.post("")
    def add(body: NewNote, actor: Caller) -> NoteAnswer:
        """Keeps a note; an upload that carries the same words, robot and session is linked to it."""
        gate.robot(actor, body.robot)
        return notes.add(body, actor)

    @router.post("/{identifier}/slots")
    def slot(identifier: Identifier, body: Photo, actor: Caller) -> PhotoSlot:
        """Where the bytes of a photo go. The photo is there once its bytes were sent and completed."""
        note = notes.row(identifier)
        gate.robot(actor, note.robot)
        return notes.slot(note, body)

    @router.post("/{identifier}/photos/{sha256}/complete")
    def keep(identifier: Identifier, sha256: Digest, body: Photo, actor: Caller) -> NoteAnswer:
        """Verifies the bytes of a photo that was sent, and keeps it with the note."""
        note = notes.row(identifier)
        if body.sha256 != sha256:
            raise ConflictError(f"the path names photo {sha256[:12]}, the body {body.sha256[:12]}")
        gate.robot(actor, note.robot)
        return notes.keep(note, body)

    @router.get("/{identifier}/photos/{sha256}")
    def photo(identifier: Identifier, sha256: Digest, actor: Caller) -> PhotoUrl:
        note = notes.row(identifier)
        gate.robot(actor, note.robot, reading=True)
        return notes.url(note, sha256)

    return router
