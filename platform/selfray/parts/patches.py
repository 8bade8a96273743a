"""Inputs as rows of patches and back, for samples of one or two sides."""

from torch import Tensor


def patchify(inputs: Tensor, patch: int) -> Tensor:
    """(batch, channels, *sides) -> (batch, patches, values), patches in row-major order, channels last in a patch.

    Sides must be multiples of `patch`.
    """
    sides = inputs.shape[2:]
    count = len(sides)
    for i, side in enumerate(sides):
        inputs = inputs.unflatten(2 + 2 * i, (side // patch, patch))
    grid, within = [2 + 2 * i for i in range(count)], [3 + 2 * i for i in range(count)]
    return inputs.permute(0, *grid, *within, 1).flatten(1 + count).flatten(1, count)


def unpatchify(rows: Tensor, grid: tuple[int, ...], patch: int) -> Tensor:
    """The inverse: (batch, patches, values) -> (batch, channels, *sides)."""
    count = len(grid)
    blocks = rows.unflatten(1, grid).unflatten(1 + count, (*[patch] * count, -1))
    order = [axis for i in range(count) for axis in (1 + i, 1 + count + i)]
    values = blocks.permute(0, blocks.ndim - 1, *order)
    for i in range(count):
        values = values.flatten(2 + i, 3 + i)
    return values
