"""Reads and writes mappings as YAML, with errors that say where and what would be right.

Anchors and aliases are refused (a few lines of them can stand for gigabytes), and so are keys given twice.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fleet_ingest.formats.csv_dialect import CsvOptions
from fleet_ingest.mapping import ChannelMap, FileRule, Mapping, TimeMap
from storage.contracts.errors import InputError
from storage.contracts.robot import Entity

_MAX_BYTES = 1 << 20
_SHIPPED = Path(__file__).parent / "mappings"


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, "aliases (*name) are not allowed in mappings", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key '{twice}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_mapping(path: Path | str) -> Mapping:
    """The mapping in the file `path`, or a shipped one by its name (`double_pendulum`). Raises InputError."""
    file = Path(path)
    if not file.exists() and (_SHIPPED / f"{path}.yaml").is_file():
        file = _SHIPPED / f"{path}.yaml"
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(f"the mapping {file} is larger than 1 MiB: this is not a mapping")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        shipped = ", ".join(sorted(p.stem for p in _SHIPPED.glob("*.yaml")))
        raise InputError(f"no such mapping: {path}; shipped with the engine: {shipped}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the mapping {file}: {error}") from error
    return parse_mapping(text, str(file))


def parse_mapping(text: str, where: str = "the mapping") -> Mapping:
    """The mapping that `text` holds; `where` is for messages.

    Raises InputError with line, field and what is expected.
    """
    try:
        data = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            f"{where} is not readable YAML: {_yaml_problem(error)}", remedy="Indent with spaces; quote texts with ':'."
        ) from error
    if not isinstance(data, dict):
        raise InputError(f"{where} is {'empty' if data is None else f'a {type(data).__name__}'}; a mapping has keys "
                         "such as 'name', 'time' and 'channels'")  # fmt: skip
    try:
        return Mapping.model_validate(data)
    except ValidationError as error:
        lines = [_explain(item, data) for item in error.errors(include_url=False)]
        shown = "\n  ".join(lines[:10]) + (f"\n  and {len(lines) - 10} more" if len(lines) > 10 else "")
        raise InputError(f"{where} does not fit:\n  {shown}") from error


def dump_mapping(mapping: Mapping) -> str:
    """YAML that `parse_mapping` reads back to an equal mapping; fields at their defaults are left out."""
    data = mapping.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return str(problem)
    snippet = mark.get_snippet(max_length=80) if mark.buffer else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" + (f"\n{snippet}" if snippet else "")


def _explain(item: Any, data: dict[str, Any]) -> str:
    where, message = _place(item["loc"], data), item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        name, known = str(item["loc"][-1]), _fields(item["loc"])
        close = get_close_matches(name, known, n=1)
        return f"{where}: unknown field; " + (f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}")
    if item["type"] == "missing":
        return f"{where}: this field is needed"
    given = repr(item.get("input"))
    return f"{where}: {message}" + (f" (given {given[:60]})" if len(given) <= 200 else "")


def _fields(location: tuple[Any, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "time": TimeMap, "channels": ChannelMap, "csv": CsvOptions, "rules": FileRule, "entities": Entity
    }  # fmt: skip
    model = models.get(str(location[0]), Mapping) if len(location) > 1 else Mapping
    return list(model.model_fields)


def _place(location: tuple[Any, ...], data: dict[str, Any]) -> str:
    """`channels[2].unit (q1.angle)`: the field, and the channel's name where there is one."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    if len(location) > 1 and location[0] == "channels" and isinstance(location[1], int):
        rows = data.get("channels")
        row = rows[location[1]] if isinstance(rows, list) and location[1] < len(rows) else None
        if isinstance(row, dict) and "name" in row:
            text += f" ({str(row['name'])[:60]})"
    return text or "the mapping"
