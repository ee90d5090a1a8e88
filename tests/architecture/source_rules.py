"""Rules that no linter knows: what a source file of the five packages may hold. Pure functions over source text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def long_parts(source: str) -> Iterator[str]:
    """Yields what is longer than the house style allows: the file, or functions of it."""
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def forbidden_statements(source: str) -> Iterator[str]:
    """Yields asserts, prints, bare excepts, pickle and `eval`: none belongs in a library."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assert():
                yield f"line {node.lineno}: assert (raise an error of storage.contracts.errors instead)"
            case ast.ExceptHandler(type=None):
                yield f"line {node.lineno}: bare except"
            case ast.Call(func=ast.Name(id="print" | "eval" | "exec" as name)):
                yield f"line {node.lineno}: {name}()"
            case ast.Import(names=names) if any(alias.name.split(".")[0] in PICKLES for alias in names):
                yield f"line {node.lineno}: pickle"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in PICKLES:
                yield f"line {node.lineno}: pickle"


PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def has_docstring(source: str) -> bool:
    return ast.get_docstring(ast.parse(source)) is not None


def mentions(source: str, words: frozenset[str]) -> Iterator[str]:
    """Yields identifiers and strings of the code (docstrings and comments apart) that hold one of `words`."""
    tree = ast.parse(source)
    prose = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Name):
            text = node.id
        elif isinstance(node, ast.Attribute):
            text = node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.arg | ast.keyword | ast.alias):
            text = getattr(node, "name", None) or getattr(node, "arg", None) or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            text = node.value
        found = words & words_of(text)
        if found:
            yield f"line {getattr(node, 'lineno', 0)}: '{text[:60]}' names {sorted(found)}"


def words_of(text: str) -> frozenset[str]:
    """Returns the lower-case words of an identifier or a text: `CartPole_v1 x` gives cart, pole, cartpole, v, x."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    joined = re.findall(r"[a-z]+", re.sub(r"[_-]", "", text.lower()))
    return frozenset(part.lower() for part in parts) | frozenset(joined)


def python_files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
