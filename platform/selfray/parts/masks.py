"""Which positions of a sample are hidden: draws that are a pure function of its key, for grids of one or two sides.

B: batch, P: positions, H and W: the grid's sides (H is 1 for a sequence), M: boxes a sample. Nothing here loops over
samples, waits for the device, or has a shape that depends on what was drawn.
"""

import math

import torch
from torch import Tensor

from ..views.random import uniform

BOX_DRAWS = 4


def random_order(keys: Tensor, stream: int, positions: int) -> Tensor:
    """A random order of the positions for each sample: int64, (B, P)."""
    return uniform(keys, stream, positions).argsort(dim=1, stable=True)


def split(order_BP: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """The positions kept and those hidden: the head and the tail of an order.

    Args:
        order_BP: Each sample's order of the positions.
        ratio: Share to hide; floor(P x (1 - ratio)) stay, as in MAE's code, but at least one, and one is hidden.

    Returns:
        int64, (B, kept) and (B, hidden).
    """
    positions = order_BP.shape[1]
    kept = min(positions - 1, max(1, int(positions * (1 - ratio))))
    return order_BP[:, :kept], order_BP[:, kept:]


def boxes(
    draws_BM4: Tensor, grid: tuple[int, ...], share: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, ...]:
    """Boxes of whole positions: their share of the area, their aspect ratio and their place are drawn independently.

    For a sequence a box is a run and the aspect ratio has no meaning.

    Args:
        draws_BM4: Uniform in [0, 1): area, aspect, place down, place across.
        grid: One or two sides.
        share: Smallest and largest share of the grid's positions.
        ratio: Smallest and largest height / width, log-uniform.

    Returns:
        Top, left, height and width: int64, (B, M) each.
    """
    H, W = (1, *grid)[-2:]
    area, aspect, down, across = draws_BM4.unbind(-1)
    wanted = H * W * (share[0] + (share[1] - share[0]) * area)
    if len(grid) == 1:
        heights, widths = torch.ones_like(wanted), wanted.round()
    else:
        stretched = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * aspect).exp()
        heights, widths = (wanted * stretched).sqrt().round(), (wanted / stretched).sqrt().round()
    heights, widths = heights.clamp(1, H), widths.clamp(1, W)
    # u (n + 1) can be rounded up to n + 1 when u is next to 1.
    top = torch.minimum((down * (H - heights + 1)).floor(), H - heights)
    left = torch.minimum((across * (W - widths + 1)).floor(), W - widths)
    return top.long(), left.long(), heights.long(), widths.long()


def inside(placed: tuple[Tensor, ...], grid: tuple[int, ...]) -> Tensor:
    """Which positions lie in which box: bool, (B, M, H, W)."""
    H, W = (1, *grid)[-2:]
    top, left, height, width = (edge[..., None] for edge in placed)
    rows, columns = torch.arange(H, device=top.device), torch.arange(W, device=top.device)
    down = (rows >= top) & (rows < top + height)
    across = (columns >= left) & (columns < left + width)
    return down[..., :, None] & across[..., None, :]


def random_boxes(
    keys: Tensor, stream: int, count: int, grid: tuple[int, ...], share: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """`count` random boxes a sample as masks: bool, (B, count, H, W)."""
    draws = uniform(keys, stream, BOX_DRAWS * count).unflatten(1, (count, BOX_DRAWS))
    return inside(boxes(draws, grid, share, ratio), grid)


def most_in_a_box(grid: tuple[int, ...], share: float, ratio: tuple[float, float]) -> int:
    """How many positions a box of `random_boxes` with at most this share can have."""
    steps = 2000
    area = torch.ones(steps, 1)
    draws = torch.stack([area, torch.linspace(0, 1, steps)[:, None], area * 0, area * 0], dim=-1)
    # Rounding makes some boxes of a smaller area larger than those of the largest.
    shares = [share * part / 40 for part in range(30, 41)]
    sizes = [boxes(draws, grid, (part, part), ratio) for part in shares]
    return max(int((height * width).max()) for _, _, height, width in sizes)


def chosen(mask_BP: Tensor, count: int, order_BP: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The numbers of up to `count` positions of a mask, in a tensor of fixed shape.

    Args:
        mask_BP: True at the positions wanted.
        count: How many; the rest is filled up with other positions.
        order_BP: Random order by which surplus positions are dropped; otherwise the last ones are.

    Returns:
        int64, (B, count), and bool, (B, count), true where the number stands for a position of the mask.
    """
    place = (~mask_BP).long()
    if order_BP is not None:
        place = place * mask_BP.shape[1] + order_BP
    numbers = place.argsort(dim=1, stable=True)[:, :count]
    return numbers, mask_BP.gather(1, numbers)
