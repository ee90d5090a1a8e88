"""MCAP records of an untrusted file, in bounded memory, with every checksum checked.

The framing is read here and each record's body is parsed from its own bytes, so that no length inside a record can ask
for more than the record holds; chunks are decompressed under our own cap, because a 33 kB chunk that declares 100 bytes
can expand to 1 GiB. See the MCAP specification, https://mcap.dev/spec. Message indexes are skipped, unknown records
too. Errors carry the byte at which the first broken record begins; of a chunk that is cut off the messages before the
cut are given, unchecked. This module does not decode messages.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import lz4.frame
import zstandard
from mcap import records as rec
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode

from fleet_ingest.formats.rawlog import Damaged, Limits, too_large
from storage.contracts.errors import DataError

MAGIC = b"\x89MCAP0\r\n"
_BOMB = 64 << 20
_BREAKS = frozenset({"truncated", "corrupt", "too_large", "unknown_compression"})
_FRAME = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQII")
"""Start, end, unpacked size, checksum, and length of the compression's name; then the name, a u64, the records."""

_PARSERS: dict[int, Callable[[ReadDataStream], Any]] = {
    Opcode.ATTACHMENT: rec.Attachment.read, Opcode.ATTACHMENT_INDEX: rec.AttachmentIndex.read,
    Opcode.CHANNEL: rec.Channel.read, Opcode.CHUNK: rec.Chunk.read, Opcode.CHUNK_INDEX: rec.ChunkIndex.read,
    Opcode.DATA_END: rec.DataEnd.read, Opcode.FOOTER: rec.Footer.read, Opcode.HEADER: rec.Header.read,
    Opcode.METADATA: rec.Metadata.read, Opcode.METADATA_INDEX: rec.MetadataIndex.read, Opcode.SCHEMA: rec.Schema.read,
    Opcode.STATISTICS: rec.Statistics.read, Opcode.SUMMARY_OFFSET: rec.SummaryOffset.read,
}  # fmt: skip


class _Body(BytesIO):
    """A record's bytes; a length that reaches beyond them is an error, where the base class gives less."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise EndOfFile()
        return data


@dataclass
class Cover:
    """What checksums cover, found on the way: chunks with and without, messages outside chunks, the data section."""

    chunks: int = 0
    unchecked_chunks: int = 0
    loose_messages: int = 0
    data_section: bool = False
    summary: bool = False
    chunk_places: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """(offset, length, first time, last time, unpacked size) of each chunk."""


def read_records(
    stream: BinaryIO, name: str, limits: Limits, *, plain: bool = False, cover: Cover | None = None
) -> Iterator[Any]:
    """Records in file order, those of chunks in their place. After the last complete record a broken file raises.

    With `plain` messages come as tuples (channel, log time, publish time, data), which costs half as much.
    Raises Damaged `truncated` or `corrupt` (also a wrong checksum), DataError `too_large`, `unknown_compression`.
    """
    cover = cover if cover is not None else Cover()
    position, expanded = len(MAGIC), 0
    try:
        if stream.read(len(MAGIC)) != MAGIC:
            raise DataError(f"'{name}' does not begin as MCAP", code="corrupt")
        crc, summary_crc, in_summary = zlib.crc32(MAGIC), 0, False
        while True:
            frame = _exactly(stream, _FRAME.size, name)
            opcode, length = _FRAME.unpack(frame)
            if length > limits.record_bytes:
                raise too_large(f"record in '{name}', bytes", length, limits.record_bytes)
            body = stream.read(length)
            if len(body) != length:
                if opcode == Opcode.CHUNK:
                    records, kept = _begun_chunk(body, limits, cover)
                    yield from _chunk_records(records, name, plain)
                    position += kept
                raise _truncated(name)
            if opcode == Opcode.FOOTER:
                footer = _parse(opcode, body, name)
                _check_crc("summary", footer.summary_crc, zlib.crc32(frame + body[:16], summary_crc), name)
                cover.summary = footer.summary_crc != 0
                yield footer
                if stream.read(len(MAGIC)) != MAGIC:
                    raise _truncated(name)
                return
            if opcode == Opcode.DATA_END:
                end = _parse(opcode, body, name)
                _check_crc("data section", end.data_section_crc, crc, name)
                in_summary, cover.data_section = True, end.data_section_crc != 0
                yield end
            elif in_summary:
                summary_crc = zlib.crc32(body, zlib.crc32(frame, summary_crc))
            else:
                crc = zlib.crc32(body, zlib.crc32(frame, crc))
            if opcode == Opcode.CHUNK:
                data = _unpacked(body, name, limits, cover, position)
                expanded += len(data)
                if expanded > limits.expanded_bytes:
                    raise too_large(f"unpacked bytes of '{name}'", expanded, limits.expanded_bytes)
                yield from _chunk_records(data, name, plain)
            elif opcode == Opcode.MESSAGE:
                cover.loose_messages += 1
                yield _message(body, name, plain)
            elif opcode != Opcode.DATA_END:
                yield from _other(opcode, body, name)
            position += _FRAME.size + length
    except DataError as error:
        if error.code not in _BREAKS or expanded > limits.expanded_bytes:
            raise
        raise Damaged(str(error), code=error.code, offset=position, remedy=error.remedy) from error


def _other(opcode: int, body: bytes, name: str) -> Iterator[Any]:
    """The record, if its kind is one that is read; kinds that the format leaves to others are passed over."""
    if opcode in _PARSERS:
        record = _parse(opcode, body, name)
        if opcode == Opcode.ATTACHMENT:
            _check_attachment(record, body, name)
        yield record
    elif opcode != Opcode.MESSAGE_INDEX and opcode < 0x80:
        raise DataError(f"'{name}' holds a record of the reserved kind {opcode:#04x}", code="corrupt")


def _unpacked(body: bytes, name: str, limits: Limits, cover: Cover, position: int) -> bytes:
    """The records of a chunk; notes what covers them."""
    chunk = _parse(Opcode.CHUNK, body, name)
    data = _decompress(chunk, name, limits)
    cover.chunks += 1
    cover.unchecked_chunks += chunk.uncompressed_crc == 0
    cover.chunk_places.append(
        (position, _FRAME.size + len(body), chunk.message_start_time, chunk.message_end_time, chunk.uncompressed_size)
    )
    return data


def _begun_chunk(body: bytes, limits: Limits, cover: Cover) -> tuple[bytes, int]:
    """(complete records, bytes of the chunk's record up to their end) of a chunk whose end is missing.

    No checksum covers them, but what is cut off was at the end. Of a compressed chunk the bytes count as 0.
    """
    head = _CHUNK.size
    if len(body) < head:
        return b"", 0
    size, named = _CHUNK.unpack_from(body)[2::2]
    data = body[head + named + 8 :]
    compression = body[head : head + named]
    if size > limits.chunk_bytes or compression not in (b"", b"zstd", b"lz4"):
        return b"", 0
    try:
        if compression == b"zstd":
            data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(size)
        elif compression == b"lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
    except (zstandard.ZstdError, RuntimeError, MemoryError, EOFError):
        return b"", 0
    end = 0
    while end + _FRAME.size <= len(data):
        opcode, length = _FRAME.unpack_from(data, end)
        if opcode not in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE) or end + _FRAME.size + length > len(data):
            break
        end += _FRAME.size + length
    cover.chunks += 1
    cover.unchecked_chunks += 1
    return data[:end], 0 if compression else _FRAME.size + head + named + 8 + end


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
        return _PARSERS[opcode](ReadDataStream(_Body(body)))
    except (McapError, struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataError(
            f"'{name}' holds a damaged {Opcode(opcode).name.lower()} record: {error!r}", code="corrupt"
        ) from error


def _check_attachment(record: Any, body: bytes, name: str) -> None:
    """The checksum stands behind the fields, of which two times and three lengths are fixed; padding may follow."""
    end = 8 + 8 + 4 + 4 + 8 + len(record.name.encode()) + len(record.media_type.encode()) + len(record.data)
    _check_crc("attachment", int.from_bytes(body[end : end + 4], "little"), zlib.crc32(body[:end]), name)


def _message(body: bytes, name: str, plain: bool) -> Any:
    if len(body) < _MESSAGE.size:
        raise DataError(
            f"'{name}' holds a message of {len(body)} bytes; the shortest has {_MESSAGE.size}", code="corrupt"
        )
    channel, sequence, log_time, publish_time = _MESSAGE.unpack_from(body)
    if plain:
        return channel, log_time, publish_time, body[_MESSAGE.size :]
    return rec.Message(
        channel_id=channel, sequence=sequence, log_time=log_time, publish_time=publish_time, data=body[_MESSAGE.size :]
    )


def _chunk_records(data: bytes, name: str, plain: bool) -> Iterator[Any]:
    position, size, header, fixed = 0, len(data), _FRAME.size, _MESSAGE.size
    while position < size:
        begin = position + header
        if begin > size:
            raise DataError(f"'{name}': a chunk ends in the middle of a record", code="corrupt")
        opcode, length = _FRAME.unpack_from(data, position)
        position = begin + length
        if position > size:
            raise DataError(f"'{name}': a chunk ends in the middle of a record", code="corrupt")
        if opcode == Opcode.MESSAGE:
            if plain and length >= fixed:
                channel, _, log_time, publish_time = _MESSAGE.unpack_from(data, begin)
                yield channel, log_time, publish_time, data[begin + fixed : position]
            else:
                yield _message(data[begin:position], name, plain)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            yield _parse(opcode, data[begin:position], name)


def _decompress(chunk: Any, name: str, limits: Limits) -> bytes:
    size = int(chunk.uncompressed_size)
    if size > limits.chunk_bytes:
        raise too_large(f"chunk in '{name}', unpacked bytes", size, limits.chunk_bytes)
    try:
        if chunk.compression == "zstd":
            reader = zstandard.ZstdDecompressor().stream_reader(chunk.data, read_across_frames=True)
            data = reader.read(size)
            _refuse_bomb(reader.read, name, size)
        elif chunk.compression == "lz4":
            unpack = lz4.frame.LZ4FrameDecompressor()
            data = unpack.decompress(chunk.data, max_length=size)
            _refuse_bomb(lambda n: unpack.decompress(b"", max_length=n), name, size)
        elif chunk.compression == "":
            data = bytes(chunk.data)
        else:
            raise DataError(
                f"'{name}' is compressed with '{chunk.compression[:40]}'; known: zstd, lz4 or none",
                code="unknown_compression",
            )
    except (zstandard.ZstdError, RuntimeError, MemoryError, EOFError) as error:
        raise DataError(f"'{name}': a chunk cannot be unpacked: {error}", code="corrupt") from error
    if len(data) != size:
        raise DataError(f"'{name}': a chunk unpacks to {len(data)} instead of {size} bytes", code="corrupt")
    _check_crc("chunk", chunk.uncompressed_crc, zlib.crc32(data), name)
    return data


def _refuse_bomb(read: Callable[[int], bytes], name: str, size: int) -> None:
    """Anything behind the declared size is an error: a bomb when it goes on and on, else damage."""
    extra = 0
    while extra < _BOMB and (more := read(1 << 20)):
        extra += len(more)
    if extra:
        raise DataError(
            f"'{name}': a chunk unpacks to more than the {size} bytes that it declares",
            code="bomb" if extra >= _BOMB else "corrupt",
        )


def _check_crc(what: str, declared: int, found: int, name: str) -> None:
    """0 means that the writer left the checksum out."""
    if declared not in (0, found):
        raise DataError(
            f"'{name}': the {what} checksum is {found:08x}, the file says {declared:08x}: bytes have changed",
            code="corrupt",
            remedy="Copy it again from the robot.",
        )  # fmt: skip
