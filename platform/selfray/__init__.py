"""selfray: self-supervised pretraining on unlabeled data, from a laptop to a Ray cluster."""

from importlib import import_module
from typing import Any

__all__ = ["check", "embed", "evaluate", "load", "run", "sweep", "tokenizer"]

_HOMES = {
    "check": "verbs",
    "embed": "embedding",
    "evaluate": "verbs",
    "load": "export",
    "run": "verbs",
    "sweep": "verbs",
    "tokenizer": "sentences",
}


def __getattr__(name: str) -> Any:
    """Import a verb where it is used, so that `import selfray` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'selfray' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
