"""Fixed position embeddings: sines and cosines of each coordinate (Vaswani et al. 2017, arXiv:1706.03762, 3.5)."""

import torch
from torch import Tensor

from ..errors import UserError

LONGEST = 10_000.0  # wavelengths go from 2 pi to this times 2 pi


def sincos(grid: tuple[int, ...], width: int) -> Tensor:
    """An embedding for every position of a grid of one or more sides, in row-major order.

    Each coordinate has an equal part of the width, the last one first as in MAE (arXiv:2111.06377); a part is the
    sines of all frequencies, then the cosines.

    Returns:
        float32, (positions, width).

    Raises:
        UserError: the width cannot be parted so.
    """
    sides = len(grid)
    if width % (2 * sides):
        raise UserError(f"sine positions over {sides} sides need a width that {2 * sides} divides, not {width}")
    count = width // (2 * sides)
    frequencies = LONGEST ** -(torch.arange(count, dtype=torch.float64) / count)
    coordinates = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in reversed(coordinates)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
