"""Tables of pandas out of a pickle, of which nothing is run: its opcodes are read, and every call is only noted.

A pickle is a program that may call any function. The ones that old versions of pandas and numpy wrote for tables need
some twenty opcodes and a dozen names; what has any other is refused, and even those names are never looked up.
"""

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

FRAME, MANAGER, INDEX = "pandas.core.frame DataFrame", "pandas.core.internals.managers BlockManager", "_new_Index"
ARRAY, DTYPE, BYTES = "numpy.core.multiarray _reconstruct", "numpy dtype", "_codecs encode"
INSTANCE = "copy_reg _reconstructor"
NAMES = {FRAME, MANAGER, ARRAY, DTYPE, BYTES, INSTANCE, "pandas.core.indexes.base _new_Index"} | {
    "pandas.core.indexes.base Index",
    "pandas.core.indexes.range RangeIndex",
    "numpy ndarray",
    "__builtin__ object",
    "__builtin__ slice",
}

Table = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle speaks of."""

    name: str


@dataclass
class Call:
    """What would have been called, with which arguments, and the state that the result would have been given."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def read(content: bytes, where: str) -> Any:
    """What a pickle says, as lists, dictionaries, numbers, texts and `Call`s.

    Args:
        content: of the pickle.
        where: what to call it in errors.

    Raises:
        UserError: it asks for something that tables do not need, or is damaged.
    """
    stack, marks, kept = list[Any](), list[int](), dict[Any, Any]()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            match opcode.name:
                case "PROTO" | "STOP":
                    pass
                case "NONE":
                    stack.append(None)
                case "INT" | "BININT" | "BININT1" | "BININT2" | "BINUNICODE":
                    stack.append(argument)
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_LIST":
                    stack.append([])
                case "MARK":
                    marks.append(len(stack))
                case "TUPLE":
                    stack.append(tuple(_since(marks, stack)))
                case "APPENDS":
                    more = _since(marks, stack)
                    stack[-1].extend(more)
                case "SETITEMS":
                    pairs = _since(marks, stack)
                    stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
                case "SETITEM":
                    key, value = _last(stack, 2)
                    stack[-1][key] = value
                case "BINPUT" | "LONG_BINPUT":
                    kept[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(kept[argument])
                case "GLOBAL" if argument in NAMES:
                    stack.append(Name(argument))
                case "REDUCE":
                    name, arguments = _last(stack, 2)
                    stack.append(Call(name.name, arguments))
                case "BUILD":
                    (state,) = _last(stack, 1)
                    stack[-1].state = state
                case _:
                    asked = opcode.name if argument is None else f"{opcode.name} {argument}"[:100]
                    raise UserError(f"{where} is a pickle that asks for {asked}, which no table needs; it is refused")
        (found,) = stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is a damaged pickle: {error}") from None
    return found


def _since(marks: list[int], stack: list[Any]) -> list[Any]:
    """What was put on the stack since the last mark, taken off."""
    start = marks.pop()
    found = stack[start:]
    del stack[start:]
    return found


def _last(stack: list[Any], count: int) -> list[Any]:
    """So many values off the top, the lowest first."""
    found = stack[-count:]
    if len(found) < count:
        raise IndexError("nothing on the stack")
    del stack[-count:]
    return found


def tables(found: Any) -> Iterator[tuple[tuple[Any, ...], Table]]:
    """Where in nested dictionaries and lists each table is, and its columns; errors as of damaged pickles.

    Raises:
        UserError: something else is there.
    """
    if isinstance(found, dict):
        for key, inner in found.items():
            yield from (((key, *place), one) for place, one in tables(inner))
    elif isinstance(found, list):
        for number, inner in enumerate(found):
            yield from (((number, *place), one) for place, one in tables(inner))
    else:
        yield (), _columns(found)


def _columns(frame: Any) -> Table:
    """Of a table, in the blocks of one type that pandas keeps: (columns of the block, rows)."""
    try:
        kind, *_ = frame.arguments
        if frame.name != INSTANCE or kind.name != FRAME:
            raise TypeError(f"{kind.name} is no table")
        _, blocks, names, *_ = frame.state["_data"].state
        return {
            name: column
            for block, index in zip(blocks, names, strict=True)
            for name, column in zip(_array(index.arguments[1]["data"]), _array(block), strict=True)
        }
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the pickle holds something else than tables: {error}") from None


def _array(call: Call) -> Any:
    """A numeric array, or the list of an array of objects."""
    _, shape, of_type, by_columns, content = call.state
    if call.name != ARRAY or of_type.name != DTYPE:
        raise TypeError(f"{call.name} is no array")
    letters, order = of_type.arguments[0], of_type.state[1]
    if letters[0] == "O":
        return content
    if content.name != BYTES or content.arguments[1] != "latin1":
        raise TypeError(f"{content.name} is no bytes")
    flat = np.frombuffer(content.arguments[0].encode("latin1"), np.dtype(letters).newbyteorder(order))
    return flat.reshape(shape, order="F" if by_columns else "C")
