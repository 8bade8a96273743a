"""Conditions that settings must meet together: `objective.queue_size % batch == 0`. Read as a tree, never executed."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ..discovery import nearest
from ..errors import UserError

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARED: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def holds(text: str, settings: Mapping[str, Any]) -> bool:
    """Whether settings under dotted keys meet a constraint; one about a setting that is not there (None) is met.

    Raises:
        UserError: it is no comparison of settings and numbers, or names a setting that does not exist.
    """
    try:
        return bool(_value(ast.parse(text.strip(), mode="eval").body, settings))
    except _Absent:
        return True
    except (SyntaxError, TypeError, ZeroDivisionError, ValueError) as error:
        raise UserError(
            f"constraint {text!r} cannot be worked out ({error}); write it like 'objective.queue_size % batch == 0'"
        ) from None


class _Absent(Exception):
    """The setting has no value here."""


def _value(node: ast.AST, settings: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return _setting(ast.unparse(node), settings)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, settings), _value(node.right, settings))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, settings)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _value(node.operand, settings)
    if isinstance(node, ast.BoolOp):
        found = (_value(part, settings) for part in node.values)
        return all(found) if isinstance(node.op, ast.And) else any(found)
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARED for op in node.ops):
        values = [_value(part, settings) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, values[:-1], values[1:], strict=True)
        return all(_COMPARED[type(op)](left, right) for op, left, right in pairs)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed")


def _setting(key: str, settings: Mapping[str, Any]) -> Any:
    for full in (key, f"pretrain.{key}"):
        if full in settings:
            if settings[full] is None:
                raise _Absent
            return settings[full]
    known = [k.removeprefix("pretrain.") for k in settings]
    raise UserError(f"a constraint names {key}, which is no setting of this pipeline{nearest(key, known)}")
