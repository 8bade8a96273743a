"""Self-supervised objectives: one module each, known to recipes by its file name."""

import sys

from .. import discovery
from .objective import Objective

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """The objectives that ship with selfray."""
    return discovery.names(_HERE, without=("objective",))


def find(name: str) -> type[Objective]:
    """The objective in `objectives/<name>.py`, or in your own module if `name` has a dot."""
    return discovery.find(_HERE, name, Objective, without=("objective",))
