"""Many flags as a short text, for a manifest's facts."""

import base64

import numpy as np
from numpy.typing import NDArray


def packed_bits(flags: list[bool]) -> str:
    """Flags, eight a byte, in base 64."""
    return base64.b64encode(np.packbits(np.array(flags, bool)).tobytes()).decode("ascii")


def unpacked_bits(text: str, count: int) -> NDArray[np.bool_]:
    """What `packed_bits` packed: bool, (count,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)
