"""Encoders: one module a family, known to recipes by its file name; what is kept after training."""

import sys

from .. import discovery
from .encoder import Encoder

_HERE = sys.modules[__name__]
_OTHERS = ("encoder", "inputs")


def names() -> list[str]:
    """The encoders that ship with selfray."""
    return discovery.names(_HERE, without=_OTHERS)


def find(name: str) -> type[Encoder]:
    """The encoder in `encoders/<name>.py`, or in your own module if `name` has a dot."""
    return discovery.find(_HERE, name, Encoder, without=_OTHERS)
