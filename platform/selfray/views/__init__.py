"""What an objective sees of a sample: augmentations and maskings, batched on the device, one file a data type."""

import sys

from .. import discovery
from .views import Views

_HERE = sys.modules[__name__]
_OTHERS = ("random", "settings", "views")


def names() -> list[str]:
    """The data types that have views."""
    return discovery.names(_HERE, without=_OTHERS)


def find(kind: str) -> type[Views]:
    """The views of a data type, in `views/<kind>.py`."""
    return discovery.find(_HERE, kind, Views, without=_OTHERS)
