"""A thing's name is its file's name: objectives, encoders, probes and views are found by walking their folder."""

import ast
import difflib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from .errors import UserError

T = TypeVar("T")


def names(package: ModuleType, *, without: tuple[str, ...] = ()) -> list[str]:
    """The modules of a package, in alphabetical order; nothing is imported."""
    (folder,) = package.__path__
    return sorted(p.stem for p in Path(folder).glob("*.py") if p.stem not in ("__init__", *without))


def first_line(file: Path) -> str:
    """The first line of a module's docstring, read without importing the module."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0]


def find(package: ModuleType, name: str, base: type[T], *, without: tuple[str, ...] = ()) -> type[T]:
    """The one subclass of `base` in `<package>/<name>.py`, or in your own importable module if `name` has a dot.

    Raises:
        UserError: there is no such module, or it does not define exactly one such class.
    """
    known = names(package, without=without)
    kind = package.__name__.rpartition(".")[2].removesuffix("s")
    if "." not in name and name not in known:
        raise UserError(f"no {kind} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    try:
        module = import_module(name if "." in name else f"{package.__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise UserError(f"no {kind} {name!r}: the module cannot be imported from here") from None
        raise
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c is not base and c.__module__ == module.__name__
    ]
    public = [c for c in own if not c.__name__.startswith("_")]
    if len(public) != 1:
        raise UserError(f"{module.__name__} must define exactly one public {base.__name__}; it defines {len(public)}")
    return public[0]


def nearest(word: str, known: list[str]) -> str:
    """A parenthesis that names the most similar known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
