"""ROS 2 bags in SQLite (`.db3`), read as what they are: a database that somebody else wrote.

Opened read-only, with only tables (a view or trigger in their place is refused) and a cap on each text and blob. Counts
are held against a second way of counting (the index over time, or each topic's own rows) and against `metadata.yaml`
beside the file. SQLite carries no checksums; a damaged one is read from both ends towards the damage.
"""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from fleet_ingest.formats.rawlog import Limits, RawLog, Salvage, too_large
from fleet_ingest.formats.topics import TopicSet, none_readable, pick
from storage.contracts.episode import QualityFlag
from storage.contracts.errors import DataError

_COMPUTED = re.compile(r"\bVIRTUAL\b|\bGENERATED\b|\bAS\s*\(", re.I)
_NEEDED = {"topics": {"id", "name", "type", "serialization_format"}, "messages": {"topic_id", "timestamp", "data"}}


def read_db3(path: Path, *, columns: Collection[str] | None, limits: Limits) -> RawLog:
    """The log at `path`; series as for MCAP, without publish times.

    Raises DataError: `corrupt`, `truncated` (nothing readable), `empty`, `too_large`, `unsafe_content`.
    """
    if (cut := _cut_at(path)) is not None and cut > 512:
        with tempfile.TemporaryDirectory(prefix="db3-") as folder:
            return _read(path, _padded(path, Path(folder), limits), columns, limits)
    return _read(path, path, columns, limits)


def _padded(path: Path, folder: Path, limits: Limits) -> Path:
    """A copy with its missing pages empty: SQLite refuses every query on a database that is shorter than it says."""
    page, pages = _pages(path)
    if page * pages > limits.file_bytes:
        raise too_large(f"'{path.name}' declares, in bytes", page * pages, limits.file_bytes)
    copy = Path(shutil.copyfile(path, folder / "copy.db3"))
    with copy.open("r+b") as file:
        file.truncate(page * pages)
    return copy


def _read(path: Path, database: Path, columns: Collection[str] | None, limits: Limits) -> RawLog:
    topics, flags = TopicSet(limits, path.name), list[QualityFlag]()
    salvaged: Salvage | None = None
    said: dict[str, int] | None = None
    try:
        base = _opened(path, database, limits)
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, str(error)) from error
    try:
        _declare(base, topics, path)
        whole, why = _messages(base, topics, path)
        if whole:
            said, why = _counts(base, topics, path)
        if _cut_at(path) is not None:
            why = why or "its last pages are missing"
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, str(error)) from error
    finally:
        base.close()
    if why:
        cut = _cut_at(path)
        code = "truncated" if cut is not None else "corrupt"
        salvaged = Salvage(topics.count, cut, path.stat().st_size)
        where = "" if cut is None else f"; lost from byte {cut:,} on"
        flags.append(QualityFlag(code=code, detail=f"'{path.name}': {why}{where}; {topics.count:,} messages were kept"))
    series = topics.series(publish=False)
    facts = topics.facts(said)
    if not series:
        raise none_readable(path.name, facts) if salvaged is None else _corrupt(path, why)
    flags += topics.flags(facts)
    return RawLog("rosbag2", pick(series, columns), tuple(series), {}, tuple(flags), facts, "none", salvaged)


def _opened(path: Path, database: Path, limits: Limits) -> sqlite3.Connection:
    uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    base = sqlite3.connect(uri, uri=True, isolation_level=None)
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.record_bytes)
    base.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    base.execute("PRAGMA trusted_schema=OFF")
    base.execute("PRAGMA cell_size_check=ON")
    base.text_factory = lambda data: data.decode("utf-8", "replace")
    made = base.execute("SELECT coalesce(sql, '') FROM sqlite_master WHERE type = 'table'").fetchall()
    if any(_COMPUTED.search(str(sql)) for (sql,) in made):
        base.close()
        raise DataError(f"'{path.name}' holds virtual tables or computed columns", code="unsafe_content")
    kinds = dict(base.execute("SELECT name, type FROM sqlite_master WHERE type != 'index'").fetchall())
    odd = sorted(f"{kind} '{name[:40]}'" for name, kind in kinds.items() if kind != "table")
    if odd:
        base.close()
        raise DataError(f"'{path.name}' holds {', '.join(odd[:3])}: a bag has tables only", code="unsafe_content")
    for table, wanted in _NEEDED.items():
        found = {row[1] for row in base.execute(f"PRAGMA table_info({table})")}
        if not wanted <= found:
            base.close()
            raise DataError(
                f"'{path.name}' is a database without the table '{table}' of a ROS 2 bag", code="unknown_format"
            )
    return base


def _declare(base: sqlite3.Connection, topics: TopicSet, path: Path) -> None:
    definitions: dict[str, tuple[str, str]] = {}
    if base.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
        rows = base.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        definitions = {str(name): (str(encoding), str(text)) for name, encoding, text in rows.fetchmany(10_000)}
    for key, name, kind, encoding in base.execute("SELECT id, name, type, serialization_format FROM topics"):
        schema, text = definitions.get(str(kind), ("ros2msg", ""))
        if schema not in ("ros2msg", "ros2idl"):
            schema, text = "ros2msg", ""
        topics.declare(int(key), str(name), str(kind), str(encoding), schema, text.encode())


def _messages(base: sqlite3.Connection, topics: TopicSet, path: Path) -> tuple[bool, str]:
    """(all were read, why not). A broken table is read from its end too, as far as the damage."""
    last = -1
    try:
        for row, key, time, data in _rows(base, "ASC"):
            last = row
            _add(topics, key, time, data)
        return True, ""
    except sqlite3.DatabaseError as error:
        why = str(error)
    held: list[tuple[Any, Any, Any]] = []
    try:
        for row, key, time, data in _rows(base, "DESC"):
            if row <= last:
                break
            held.append((key, time, data))
            if len(held) > 1_000_000:
                break
    except sqlite3.DatabaseError:
        pass
    for key, time, data in reversed(held):
        _add(topics, key, time, data)
    return False, why


def _rows(base: sqlite3.Connection, order: str) -> Iterator[tuple[int, Any, Any, Any]]:
    """Row by row: a batch that runs into the damage would be lost as a whole."""
    yield from base.execute(f"SELECT rowid, topic_id, timestamp, data FROM messages ORDER BY rowid {order}")


def _add(topics: TopicSet, key: Any, time: Any, data: Any) -> None:
    if not isinstance(key, int) or not isinstance(time, int) or not isinstance(data, bytes) or time < 0:
        raise sqlite3.DatabaseError("a message is not made of a topic, a time and bytes")
    if key not in topics.by_key:
        raise sqlite3.DatabaseError(f"a message of topic {key}, which was not declared")
    topics.add(key, time, time, data)


def _counts(base: sqlite3.Connection, topics: TopicSet, path: Path) -> tuple[dict[str, int] | None, str]:
    """(messages by topic as `metadata.yaml` says, else as a second count of the table finds; what is contradictory)."""
    index = base.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages' AND name NOT LIKE 'sqlite_%'"
    ).fetchone()
    if index is not None:
        name = str(index[0]).replace('"', '""')
        total = int(
            base.execute(f'SELECT count(*) FROM messages INDEXED BY "{name}" WHERE timestamp >= 0').fetchone()[0]
        )
        if total != topics.count:
            return None, f"{topics.count:,} messages were read, its index over time has {total:,}"
    problem = base.execute("PRAGMA quick_check(1)").fetchone()
    if problem is None or problem[0] != "ok":
        return None, f"the database is inconsistent: {str(problem)[:200]}"
    said = _metadata(path)
    if said is not None:
        return said, ""
    rows = base.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id").fetchall()
    counts: dict[str, int] = {}
    for key, count in rows:
        counts[topics.by_key[int(key)].name] = counts.get(topics.by_key[int(key)].name, 0) + int(count)
    return counts, ""


def _metadata(path: Path) -> dict[str, int] | None:
    """Counts by topic of the `metadata.yaml` beside a bag of one file."""
    beside = path.parent / "metadata.yaml"
    try:
        if beside.stat().st_size > 1 << 20:
            return None
        facts = yaml.safe_load(beside.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        if [Path(str(name)).name for name in facts["relative_file_paths"]] != [path.name]:
            return None
        listed = facts["topics_with_message_count"]
        return {str(t["topic_metadata"]["name"]): int(t["message_count"]) for t in listed}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _cut_at(path: Path) -> int | None:
    """The size of a file that is shorter than the pages its header counts."""
    page, pages = _pages(path)
    size = path.stat().st_size
    return size if size < page * pages else None


def _pages(path: Path) -> tuple[int, int]:
    """(bytes of a page, number of pages) as the header says. https://www.sqlite.org/fileformat.html, 1.3."""
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    return 65_536 if page == 1 else page, int.from_bytes(head[28:32], "big")


def _corrupt(path: Path, why: str) -> DataError:
    cut = _cut_at(path)
    if cut is not None:
        return DataError(f"'{path.name}' is cut off: {why}", code="truncated", remedy="Copy the whole file again.")
    if "too big" in why:
        return too_large(f"'{path.name}', bytes of a message", cut or 0, 0)
    return DataError(f"'{path.name}' is damaged: {why}", code="corrupt", remedy="Copy it again from the robot.")
