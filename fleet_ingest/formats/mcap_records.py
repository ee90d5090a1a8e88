"""MCAP records of an untrusted file, in bounded memory, with every checksum checked.

The framing is read here and each record's body is parsed from its own bytes, so that no length inside a record can ask
for more than the record holds; chunks are decompressed under our own cap, because a 33 kB chunk that declares 100 bytes
can expand to 1 GiB. See the MCAP specification, https://mcap.dev/spec. Message indexes are skipped, unknown records
too. This module does not decode messages.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap import records as rec
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode

from fleet_ingest.formats.rawlog import Limits, too_large
from storage.contracts.errors import DataError

MAGIC = b"\x89MCAP0\r\n"
_FRAME = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")

_PARSERS: dict[int, Callable[[ReadDataStream], Any]] = {
    Opcode.ATTACHMENT: rec.Attachment.read, Opcode.ATTACHMENT_INDEX: rec.AttachmentIndex.read,
    Opcode.CHANNEL: rec.Channel.read, Opcode.CHUNK: rec.Chunk.read, Opcode.CHUNK_INDEX: rec.ChunkIndex.read,
    Opcode.DATA_END: rec.DataEnd.read, Opcode.FOOTER: rec.Footer.read, Opcode.HEADER: rec.Header.read,
    Opcode.METADATA: rec.Metadata.read, Opcode.METADATA_INDEX: rec.MetadataIndex.read, Opcode.SCHEMA: rec.Schema.read,
    Opcode.STATISTICS: rec.Statistics.read, Opcode.SUMMARY_OFFSET: rec.SummaryOffset.read,
}  # fmt: skip


class _Body(ReadDataStream):  # type: ignore[misc]
    """A record's bytes; a length that reaches beyond them is an error, where the base class gives less."""

    def read(self, length: int) -> bytes:
        data: bytes = super().read(length)
        if len(data) != length:
            raise EndOfFile()
        return data


def read_records(stream: BinaryIO, name: str, limits: Limits) -> Iterator[Any]:
    """Records in file order, those of chunks in their place. After the last complete record a broken file raises.

    Raises DataError: `truncated`, `corrupt` (also a wrong checksum), `too_large`, `unknown_compression`.
    """
    if stream.read(len(MAGIC)) != MAGIC:
        raise DataError(f"'{name}' does not begin as MCAP", code="corrupt")
    crc, summary_crc, in_summary, expanded = zlib.crc32(MAGIC), 0, False, 0
    while True:
        frame = _exactly(stream, _FRAME.size, name)
        opcode, length = _FRAME.unpack(frame)
        if length > limits.record_bytes:
            raise too_large(f"record in '{name}', bytes", length, limits.record_bytes)
        body = _exactly(stream, length, name)
        if opcode == Opcode.FOOTER:
            footer = _parse(opcode, body, name)
            _check_crc("summary", footer.summary_crc, zlib.crc32(frame + body[:16], summary_crc), name)
            yield footer
            if stream.read(len(MAGIC)) != MAGIC:
                raise _truncated(name)
            return
        if opcode == Opcode.DATA_END:
            end = _parse(opcode, body, name)
            _check_crc("data section", end.data_section_crc, crc, name)
            in_summary = True
            yield end
            continue
        if in_summary:
            summary_crc = zlib.crc32(body, zlib.crc32(frame, summary_crc))
        else:
            crc = zlib.crc32(body, zlib.crc32(frame, crc))
        if opcode == Opcode.CHUNK:
            data = _decompress(_parse(opcode, body, name), name, limits)
            expanded += len(data)
            if expanded > limits.expanded_bytes:
                raise too_large(f"unpacked bytes of '{name}'", expanded, limits.expanded_bytes)
            yield from _chunk_records(data, name)
        elif opcode == Opcode.MESSAGE:
            yield _message(body, name)
        elif opcode in _PARSERS:
            record = _parse(opcode, body, name)
            if opcode == Opcode.ATTACHMENT:
                _check_attachment(record, body, name)
            yield record


def _exactly(stream: BinaryIO, length: int, name: str) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise _truncated(name)
    return data


def _truncated(name: str) -> DataError:
    return DataError(
        f"'{name}' is cut off in the middle: its end is missing", code="truncated",
        remedy="Copy the whole file again; a logger that was killed leaves such files.",
    )  # fmt: skip


def _parse(opcode: int, body: bytes, name: str) -> Any:
    try:
        return _PARSERS[opcode](_Body(BytesIO(body)))
    except (McapError, struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataError(
            f"'{name}' holds a damaged {Opcode(opcode).name.lower()} record: {error!r}", code="corrupt"
        ) from error


def _check_attachment(record: Any, body: bytes, name: str) -> None:
    """The checksum stands behind the fields, of which two times and three lengths are fixed; padding may follow."""
    end = 8 + 8 + 4 + 4 + 8 + len(record.name.encode()) + len(record.media_type.encode()) + len(record.data)
    _check_crc("attachment", int.from_bytes(body[end : end + 4], "little"), zlib.crc32(body[:end]), name)


def _message(body: bytes, name: str) -> Any:
    if len(body) < _MESSAGE.size:
        raise DataError(
            f"'{name}' holds a message of {len(body)} bytes; the shortest has {_MESSAGE.size}", code="corrupt"
        )
    channel, sequence, log_time, publish_time = _MESSAGE.unpack_from(body)
    return rec.Message(
        channel_id=channel, sequence=sequence, log_time=log_time, publish_time=publish_time, data=body[_MESSAGE.size :]
    )


def _chunk_records(data: bytes, name: str) -> Iterator[Any]:
    position = 0
    while position < len(data):
        end = position + _FRAME.size
        if end > len(data):
            raise DataError(f"'{name}': a chunk ends in the middle of a record", code="corrupt")
        opcode, length = _FRAME.unpack_from(data, position)
        position, body = end + length, data[end : end + length]
        if len(body) != length:
            raise DataError(f"'{name}': a chunk ends in the middle of a record", code="corrupt")
        if opcode == Opcode.MESSAGE:
            yield _message(body, name)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            yield _parse(opcode, body, name)


def _decompress(chunk: Any, name: str, limits: Limits) -> bytes:
    size = int(chunk.uncompressed_size)
    if size > limits.chunk_bytes:
        raise too_large(f"chunk in '{name}', unpacked bytes", size, limits.chunk_bytes)
    try:
        if chunk.compression == "zstd":
            data = zstandard.ZstdDecompressor().stream_reader(chunk.data, read_across_frames=True).read(size + 1)
        elif chunk.compression == "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        elif chunk.compression == "":
            data = bytes(chunk.data)
        else:
            raise DataError(
                f"'{name}' is compressed with '{chunk.compression[:40]}'; known: zstd, lz4 or none",
                code="unknown_compression",
            )
    except (zstandard.ZstdError, RuntimeError, MemoryError) as error:
        raise DataError(f"'{name}': a chunk cannot be unpacked: {error}", code="corrupt") from error
    if len(data) != size:
        more = "more than" if len(data) > size else f"{len(data)} instead of"
        raise DataError(f"'{name}': a chunk unpacks to {more} the {size} bytes that it declares", code="corrupt")
    _check_crc("chunk", chunk.uncompressed_crc, zlib.crc32(data), name)
    return data


def _check_crc(what: str, declared: int, found: int, name: str) -> None:
    """0 means that the writer left the checksum out."""
    if declared not in (0, found):
        raise DataError(
            f"'{name}': the {what} checksum is {found:08x}, the file says {declared:08x}: bytes have changed",
            code="corrupt",
            remedy="Copy it again from the robot.",
        )  # fmt: skip
