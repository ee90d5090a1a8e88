"""Patterns over paths: globs with named parts, `{build}/{task}/{run}.csv`, matched from the end of the path.

`*` and `{name}` match within one part of a path, `**/` any number of parts. This module touches no file system.
"""

import re
from functools import lru_cache

from storage.contracts.errors import ContractError

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PathPattern:
    """Raises ContractError when a part is named twice or braces do not pair."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._regex = _compile(text)

    def match(self, path: str) -> dict[str, str] | None:
        """The named parts of `path` (with `/` between its parts), or None when its end does not fit.

        Of several fits the shortest end is taken.
        """
        path = path.replace("\\", "/")
        start = len(path)
        while start > 0:
            start = path.rfind("/", 0, start - 1) + 1
            if (found := self._regex.fullmatch(path, start)) is not None:
                return found.groupdict()
        return None


def placeholders(text: str | None) -> tuple[str, ...]:
    """The names in braces, in order."""
    return tuple(name for name in re.findall(r"\{([^{}]*)\}", text or ""))


@lru_cache(maxsize=256)
def _compile(text: str) -> re.Pattern[str]:
    names = placeholders(text)
    bad = [name for name in names if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]
    rest = re.sub(r"\{[^{}]*\}", "", text)
    if bad or "{" in rest or "}" in rest:
        raise ContractError(
            f"pattern '{text}': parts are written {{name}} with letters, digits and _; given {bad or text}"
        )
    if len(set(names)) != len(names):
        raise ContractError(f"pattern '{text}' names a part twice: {', '.join(names)}")
    pieces, position = [], 0
    for token in _TOKEN.finditer(text):
        pieces.append(re.escape(text[position : token.start()]))
        pieces.append(_piece(token))
        position = token.end()
    pieces.append(re.escape(text[position:]))
    return re.compile("".join(pieces))


def _piece(token: re.Match[str]) -> str:
    if token.group(1):
        return f"(?P<{token.group(1)}>[^/]+?)"
    return {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}[token.group(0)]
