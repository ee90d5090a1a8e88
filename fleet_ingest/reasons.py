"""Every reason that a file's result may carry, in one table: what it means in plain words and what to do about it.

Quarantined files have one reason; accepted and salvaged ones have flags, which inform and remove nothing. Codes are
stable: they stand in the catalog and in answers of the API. This module decides nothing.

    kind      what it says
    hostile   the file could harm whoever reads it; never released
    broken    bytes are missing or have changed; what is readable can be released
    content   it reads, and holds nothing that can be used as it is
    mapping   the file may be fine, the mapping does not fit it: correct that and take the file in again
    limits    it would cost more than a file may
    flag      a remark on a file that was taken in
"""

from typing import Literal, NamedTuple

Kind = Literal["hostile", "broken", "content", "mapping", "limits", "flag"]


class Reason(NamedTuple):
    """One row. `words` is a sentence, `remedy` what the operator can do; `releasable`: a person may overrule it."""

    code: str
    kind: Kind
    words: str
    remedy: str
    releasable: bool


_MAP = "Correct the mapping (draft one with 'sim2real import --propose FILE') and take the file in again."
_COPY = "Copy the file again from the robot."
_SPLIT = "Split the log into smaller files."

_ROWS: tuple[tuple[str, Kind, str, str, bool], ...] = (
    # hostile
    ("bomb", "hostile", "A small part of the file unpacks to far more than it says or than a log can need.",
     "Record it again with another tool, or send the data uncompressed.", False),
    ("external_link", "hostile", "The file points to data outside itself, which would be read from this machine.",
     "Copy the linked data into the file and send that.", False),
    ("hostile_name", "hostile", "A name (of the file or in it) climbs out of its folder or hides characters.",
     "Rename it: no '..', no leading '/', no control characters.", False),
    ("pickle", "hostile", "The file is a Python pickle, which can run a program when it is opened; it was not opened.",
     "Export the data as Parquet, CSV, HDF5 or MCAP.", False),
    ("unsafe_content", "hostile", "The file holds active content (views, triggers, plug-in filters) where data belong.",
     "Export the data again with the logger's own tool.", False),
    # limits
    ("too_large", "limits", "The file holds more rows, values or bytes than one log may.", _SPLIT, False),
    ("too_costly", "limits", "Reading the file took more memory or processor time than one file may.", _SPLIT, False),
    ("too_slow", "limits", "Reading the file took longer than one file may.", _SPLIT, False),
    # broken
    ("breaks_reader", "broken", "The file makes the program that reads its format fail; nothing else was harmed.",
     _COPY, False),
    ("truncated", "broken", "The file is cut off: its end is missing.",
     "Copy the whole file again; a logger that was killed leaves such files.", True),
    ("corrupt", "broken", "Bytes of the file have changed or make no sense.", _COPY, True),
    ("count_mismatch", "broken", "Fewer or more messages were read than the file itself says it holds.", _COPY, True),
    ("ragged", "broken", "Too many rows have another number of fields than the header.",
     "Check separator and decimal sign in the mapping.", True),
    ("digest", "broken", "The bytes that arrived are not the bytes that were announced.", "Send it again.", False),
    # lost
    ("evicted", "broken", "The robot lost this log before it could be sent: its disk was full, or bytes changed on it.",
     "Nothing can be sent any more, unless somebody has a copy; give the robot a better link or a larger disk.",
     False),
    # content
    ("empty", "content", "The file holds no data.", "Check the logger; delete the file.", False),
    ("unknown_format", "content", "The file is of no format that can be read.",
     "Convert it to MCAP, Parquet, HDF5 or CSV; unpack archives first.", False),
    ("wrong_format", "content", "The file is of another format than the mapping or the sender said.",
     "Leave the format out; it is found from the file.", True),
    ("unknown_compression", "content", "The file is compressed in a way that cannot be read.",
     "Write it with zstd, lz4 or no compression.", False),
    ("undecodable", "content", "No topic of the file can be decoded.",
     "Convert the topics to ROS 2 CDR, protobuf or JSON, or export them as Parquet.", False),
    ("not_a_robot_log", "content", "The file is not a log of one of our own robots.", "Give a mapping.", True),
    ("bad_shape", "content", "The log's topics do not fit the robot's specification.",
     "Check the robot's software version.", False),
    ("bad_name", "content", "A serial name or a tag in the log is not short and plain.",
     "Use letters, digits and _ . : - only.", False),
    ("wrong_robot", "content", "The log names another robot than the one that sent it.",
     "Send it as the robot that recorded it.", False),
    ("too_short", "content", "The log has fewer than two samples with different times.", "Record for longer.", False),
    ("nothing_measured", "content", "No piece of the log is long enough and holds a measured state.",
     "Check gap, minimum duration and time unit in the mapping.", True),
    ("time_disordered", "content", "Times go backwards where they must not.", "Check the robot's clock.", True),
    ("invalid", "content", "The file or its facts do not fit what the engine expects.", _COPY, False),
    # mapping
    ("mapping", "mapping", "There is no mapping that fits this file.", _MAP, True),
    ("missing_column", "mapping", "A column that the mapping names is not in the file.", _MAP, True),
    ("missing_time", "mapping", "The time column that the mapping names is not in the file.", _MAP, True),
    ("missing_index", "mapping", "The mapping asks for a list entry that the file's lists do not have.", _MAP, True),
    ("not_numbers", "mapping", "A column that should hold numbers holds something else.", _MAP, True),
    ("wrong_type", "mapping", "A column holds a type that no channel can come from.", _MAP, True),
    ("width", "mapping", "A channel has another number of values a row than the mapping says.", _MAP, True),
    ("different_topics", "mapping", "A channel is put together from columns of different topics.", _MAP, True),
    ("time_unit", "mapping", "The time column read in the given unit gives an impossible rate.", _MAP, True),
    ("time_not_numbers", "mapping", "The time column holds neither numbers nor dates.", _MAP, True),
    ("time_out_of_range", "mapping", "The time column reaches beyond the year 2262 in the given unit.", _MAP, True),
    ("wrong_separator", "mapping", "The table was cut at the wrong separator.", _MAP, True),
    ("header_mismatch", "mapping", "The table's header has another number of names than its rows have fields.", _MAP,
     True),
    # flags
    ("undecoded_topic", "flag", "A topic could not be decoded; the other ones were.",
     "Record its message definition, or export it as Parquet.", True),
    ("bad_messages", "flag", "Some messages of a topic could not be decoded and were left out.", _COPY, True),
    ("field_left_out", "flag", "Fields that are no numbers or too wide (images, point clouds) were not made series.",
     "", True),
    ("open_end", "flag", "The last row has no end of line: it may have been cut off within its last number.",
     "Check the last row.", True),
    ("ragged_rows", "flag", "Some rows have a wrong number of fields and were left out.", _COPY, True),
    ("integrity_none", "flag", "The format carries no checksums: changed bytes cannot all be noticed.",
     "Prefer MCAP, whose chunks carry checksums.", True),
    ("no_statistics", "flag", "The file does not say how many messages it holds, so the count could not be checked.",
     "", True),
    ("files_missing", "flag", "The data set lists episodes or videos whose files are not here.",
     "Add the files, or leave it: the others were read.", True),
    ("video_mismatch", "flag", "A video has another number of frames or other times than the table says.", _COPY, True),
    ("gap", "flag", "The log pauses; it was split there.", "", True),
    ("dropout", "flag", "The logger reports that it lost data itself.", "Use a faster card or log less.", True),
    ("jitter", "flag", "The time between samples varies.", "", True),
    ("clock_rate", "flag", "The log's rate is not the nominal one.", "", True),
    ("clock_reset", "flag", "The clock was set back; a new run begins there.", "", True),
    ("time_missing", "flag", "Rows without a time were left out.", "", True),
    ("time_repeated", "flag", "Several samples have the same time; the first was kept.", "", True),
    ("time_backwards", "flag", "Times go backwards; samples were sorted.", "", True),
    ("duplicate", "flag", "Messages or rows stand in the file twice.", "", True),
    ("not_a_number", "flag", "Values are missing or no numbers; they are masked.", "", True),
    ("stuck", "flag", "A sensor gave the same value for a long time.", "Check the sensor and its cable.", True),
    ("out_of_limits", "flag", "Values are beyond the channel's limits.", "Check the unit and the sensor.", True),
    ("derivative_mismatch", "flag", "A rate does not fit the slope of what it is the rate of.",
     "Check unit, sign and scale in the mapping.", True),
    ("lag", "flag", "The state answers the command late.", "", True),
    ("text_in_numbers", "flag", "Text stands among the numbers of a column; it counts as missing.", "", True),
    ("unknown_label", "flag", "A category has values that the mapping does not list.", "", True),
    ("channel_absent", "flag", "A channel of the mapping is not in this file.", "", True),
    ("short_pieces", "flag", "Pieces that are too short were left out.", "", True),
    ("clamped", "flag", "The robot changed commands before applying them.", "", True),
    ("other_length", "flag", "Data sets of another length than the table's were left out.", "", True),
)  # fmt: skip

REASONS: dict[str, Reason] = {row[0]: Reason(*row) for row in _ROWS}
"""Every code, in the order of the module's table of kinds."""


def reason(code: str) -> Reason:
    """The row of `code`; for a code that an older or newer engine wrote, one that says so and cannot be released."""
    if code in REASONS:
        return REASONS[code]
    return Reason(code, "content", f"The reason is '{code[:60]}', which this version does not know.", "", False)
