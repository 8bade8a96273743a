"""Jigsaw puzzles of images: tiles with gaps, and permutations far from one another (arXiv:1603.09246)."""

from functools import cache
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..views.random import uniform

SHARE = 64 / 75  # side of a tile over that of its cell, in the paper's pixels (section 3.2)


@cache
def far_permutations(tiles: int, count: int) -> NDArray[np.int64]:
    """Permutations chosen one by one, each the farthest in Hamming distance from those before (section 3.3).

    The farthest is the one whose nearest neighbour among those chosen is farthest; then the one with the largest sum
    of distances, then the first in lexicographic order, so that the choice is always the same. The first is the
    identity.

    Returns:
        (count, tiles).
    """
    candidates = np.array(list(permutations(range(tiles))), dtype=np.int8)
    nearest = np.full(len(candidates), tiles + 1, dtype=np.int64)
    total = np.zeros(len(candidates), dtype=np.int64)
    rows = [0]
    while len(rows) < count:
        distance = (candidates != candidates[rows[-1]]).sum(axis=1)
        nearest = np.minimum(nearest, distance)
        total += distance
        rows.append(int(np.argmax(nearest * (tiles * count + 1) + total)))
    return candidates[rows].astype(np.int64)


def tile_side(cell: int, stride: int) -> int:
    """The side of a tile in pixels: the paper's share of the cell, in whole positions of the encoder if one fits."""
    if cell < stride:
        return max(1, round(cell * SHARE))
    return min(cell // stride, max(1, round(cell * SHARE / stride))) * stride


def cut(images: Tensor, keys: Tensor, stream: int, sides: int, tile: int) -> Tensor:
    """Tiles of each image, every one somewhere in its cell, so that edges tell nothing about neighbours.

    Args:
        images: (batch, channels, height, width).
        keys: int64, (batch,), where the places are drawn from.
        stream: which of the keys' sequences.
        sides: cells along each side of the image.
        tile: side of a tile in pixels.

    Returns:
        (batch, sides x sides, channels, tile, tile).
    """
    batch, _, height, width = images.shape
    cells = torch.arange(sides * sides, device=keys.device)
    draws = uniform(keys, stream, 2 * sides * sides).unflatten(1, (sides * sides, 2))
    ranges = []
    for axis, (side, cell) in enumerate(((height, cells // sides), (width, cells % sides))):
        room = side // sides - tile
        start = (draws[..., axis] * (room + 1)).floor().clamp(max=room).long() + cell * (side // sides)
        ranges.append(start[..., None] + torch.arange(tile, device=keys.device))
    rows, columns = ranges
    sample = torch.arange(batch, device=keys.device)[:, None, None, None]
    return images[sample, :, rows[..., :, None], columns[..., None, :]].permute(0, 1, 4, 2, 3)


def standardise(tiles: Tensor) -> Tensor:
    """Every tile and channel to mean 0 and deviation 1, against the shortcut of low frequencies (section 3.4)."""
    mean = tiles.mean(dim=(-2, -1), keepdim=True)
    deviation = tiles.std(dim=(-2, -1), keepdim=True, correction=0)
    return (tiles - mean) / (deviation + 1e-2)  # a flat tile stays flat instead of becoming noise
