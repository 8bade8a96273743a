"""Data types: one module each, which says how a raw sample is checked and becomes rows of one shape."""

import sys
from collections.abc import Mapping
from typing import Any

from ... import discovery
from .kind import Kind, Row

__all__ = ["Kind", "Row", "build", "find", "names"]

_OTHERS = ("kind",)


def names() -> list[str]:
    """The data types there are."""
    return discovery.names(sys.modules[__name__], without=_OTHERS)


def find(name: str) -> type[Kind]:
    """The data type in `kinds/<name>.py`."""
    return discovery.find(sys.modules[__name__], name, Kind, without=_OTHERS)


def build(name: str, settings: Mapping[str, Any], settled: Mapping[str, Any]) -> Kind:
    """A data type with its settings and with what an earlier `settle` decided."""
    kind = find(name)(**settings)
    kind.use(dict(settled))
    return kind
