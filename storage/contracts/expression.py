"""Arithmetic over channels, as text that people write and machines can trust.

`0.5 * (1 + cos(pole.angle)) - 0.001 * cart.force ** 2` is parsed once into Python's own syntax tree, every node is
checked against a whitelist, and the tree is walked by one evaluator for numpy and torch alike. Nothing is ever given
to `eval`. Names are channel names; a channel of size above 1 is indexed: `tip.position[2]`. Truth values: `and or not
< <= > >= == !=`.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from storage.contracts.errors import ContractError, UnknownName

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_UNARY_FUNCTIONS = frozenset({"sin", "cos", "tan", "tanh", "exp", "log", "sqrt", "abs", "square", "sign", "floor"})
_FUNCTIONS: dict[str, int] = dict.fromkeys(_UNARY_FUNCTIONS, 1) | {
    "minimum": 2,
    "maximum": 2,
    "atan2": 2,
    "clip": 3,
    "where": 3,
    "wrap": 1,
}
_CONSTANTS = {"pi": math.pi}
_MAX_NODES = 500
_MAX_DEPTH = 100
_MAX_POWER = 16
_MAX_NUMBER = 1e300


class Expression:
    """A checked expression. Raises ContractError that names the part that is not allowed.

    `uses` are its channels, each with the index of the component, or None where the channel is used whole; `names` the
    channels alone.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._root = _parse(text)
        self.uses = frozenset(_uses(self._root))
        self.names = frozenset(name for name, _ in self.uses)

    def __call__(self, columns: Mapping[str, Any], xp: ModuleType) -> Any:
        """Evaluates with `columns` (channel name -> array of any one shape, trailing axis kept for size > 1).

        `xp` is numpy or torch. Differentiable where torch is. Raises UnknownName for a channel that is not given.
        """
        return _evaluate(self._root, columns, xp)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    if len(text) > 4000:
        raise ContractError(f"expression of {len(text)} characters; at most 4000")
    try:
        root = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ContractError(f"not an expression: {text!r} ({error})") from error
    if sum(1 for _ in ast.walk(root)) > _MAX_NODES:
        raise ContractError(f"expression has more than {_MAX_NODES} parts")
    if _depth(root) > _MAX_DEPTH:
        raise ContractError(f"expression is nested more than {_MAX_DEPTH} deep")
    _check(root)
    for node in ast.walk(root):
        if isinstance(node, ast.BinOp) and not _uses(node):
            _evaluate(node, {}, np)  # raises where arithmetic on numbers alone has no value
    return root


def _depth(root: ast.expr) -> int:
    level: list[ast.AST] = [root]
    depth = 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() as value) if abs(value) <= _MAX_NUMBER:
            return
        case ast.Name() | ast.Attribute():
            _dotted(node)
        case ast.Subscript(value=value, slice=ast.Constant(value=int() as index)) if not isinstance(index, bool):
            _dotted(value)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            if isinstance(op, ast.Pow) and not _is_small_power(right):
                raise ContractError(
                    f"the exponent in '{ast.unparse(node)}' must be a number between -{_MAX_POWER} and {_MAX_POWER}"
                )
            _check(left)
            _check(right)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            _check(operand)
        case ast.BoolOp(values=values):
            for value in values:
                _check(value)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARE for op in ops):
            for value in (left, *comparators):
                _check(value)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in _FUNCTIONS:
                raise ContractError(str(UnknownName("function", name, _FUNCTIONS)))
            if len(args) != _FUNCTIONS[name]:
                raise ContractError(
                    f"{name}() takes {_FUNCTIONS[name]} arguments, given {len(args)} in '{ast.unparse(node)}'"
                )
            for value in args:
                _check(value)
        case _:
            raise ContractError(
                f"'{ast.unparse(node)[:80]}' is not allowed in an expression; allowed are numbers, channels, "
                f"+ - * / ** %, comparisons, and/or/not and the functions {', '.join(sorted(_FUNCTIONS))}"
            )


def _is_small_power(node: ast.expr) -> bool:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return False
    return isinstance(value, int | float) and abs(value) <= _MAX_POWER


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ContractError(f"'{ast.unparse(node)[:80]}' is not a channel name")


def _uses(root: ast.expr) -> set[tuple[str, int | None]]:
    """Channels used, each with its index or None. The function position of a call is not a channel."""
    match root:
        case ast.Name() | ast.Attribute():
            name = _dotted(root)
            return set() if name in _CONSTANTS else {(name, None)}
        case ast.Subscript(value=base, slice=ast.Constant(value=int() as index)):
            return {(_dotted(base), index)}
        case ast.Call():
            children: list[ast.expr] = root.args
        case _:
            children = [node for node in ast.iter_child_nodes(root) if isinstance(node, ast.expr)]
    return {use for child in children for use in _uses(child)}


def _evaluate(node: ast.expr, columns: Mapping[str, Any], xp: ModuleType) -> Any:
    def value(child: ast.expr) -> Any:
        return _evaluate(child, columns, xp)

    match node:
        case ast.Constant():
            return node.value if isinstance(node.value, bool) else float(node.value)  # type: ignore[arg-type]
        case ast.Name() | ast.Attribute():
            return _lookup(_dotted(node), columns)
        case ast.Subscript(value=base, slice=ast.Constant(value=int() as index)):
            return _component(_dotted(base), index, columns)
        case ast.BinOp():
            return _binary(node, value(node.left), value(node.right))
        case ast.UnaryOp(op=ast.Not()):
            return xp.logical_not(xp.asarray(value(node.operand)))
        case ast.UnaryOp():
            operand = _number(value(node.operand))
            return -operand if isinstance(node.op, ast.USub) else operand
        case ast.BoolOp():
            combine = xp.logical_and if isinstance(node.op, ast.And) else xp.logical_or
            return _fold(combine, [xp.asarray(value(v)) for v in node.values])
        case ast.Compare():
            terms = [value(v) for v in (node.left, *node.comparators)]
            pairs = [_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, terms, terms[1:], strict=False)]
            return _fold(xp.logical_and, pairs)
        case ast.Call(func=ast.Name(id=name)):
            return _call(name, [value(v) for v in node.args], xp)
    raise ContractError(f"cannot evaluate {ast.dump(node)[:80]}")


def _binary(node: ast.BinOp, left: Any, right: Any) -> Any:
    """Numbers without a channel are Python's own: what numpy would turn into NaN or infinity is an error there."""
    try:
        result = _BINARY[type(node.op)](_number(left), _number(right))
    except (ArithmeticError, ValueError) as error:
        raise ContractError(f"'{ast.unparse(node)[:80]}' has no value: {error}") from error
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        raise ContractError(f"'{ast.unparse(node)[:80]}' is {result}, not a finite real number")
    return result


def _number(value: Any) -> Any:
    """Truth values as 0 and 1 before arithmetic: numpy and torch disagree about sums and signs of booleans."""
    if isinstance(value, bool):
        return float(value)
    return value * 1.0 if "bool" in str(getattr(value, "dtype", "")) else value


def _component(name: str, index: int, columns: Mapping[str, Any]) -> Any:
    values = _lookup(name, columns)
    size = values.shape[-1] if values.ndim else 0
    if index >= size:
        raise ContractError(f"'{name}[{index}]' is beyond the last of the {size} components of '{name}'")
    return values[..., index]


def _fold(combine: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    result = values[0]
    for other in values[1:]:
        result = combine(result, other)
    return result


def _call(name: str, args: list[Any], xp: ModuleType) -> Any:
    if name == "where":
        args[0] = args[0] != 0
    args = [_number(a) for a in args] if name != "where" else [args[0], *map(_number, args[1:])]
    if name == "wrap":
        return (args[0] + math.pi) % (2 * math.pi) - math.pi
    like = next((a for a in args if hasattr(a, "dtype")), None)
    arrays = [a if hasattr(a, "dtype") else _constant(a, like, xp) for a in args]
    if name == "clip":
        return xp.minimum(xp.maximum(arrays[0], arrays[1]), arrays[2])
    return getattr(xp, name if name != "atan2" or hasattr(xp, "atan2") else "arctan2")(*arrays)


def _constant(value: float, like: Any, xp: ModuleType) -> Any:
    if like is None or isinstance(value, bool):
        return xp.asarray(value, device=like.device) if hasattr(like, "device") else xp.asarray(value)
    dtype = like.dtype if "float" in str(like.dtype) else None
    return (
        xp.asarray(value, dtype=dtype, device=like.device)
        if hasattr(like, "device")
        else xp.asarray(value, dtype=dtype)
    )


def _lookup(name: str, columns: Mapping[str, Any]) -> Any:
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name not in columns:
        raise UnknownName("channel", name, columns)
    return columns[name]
