"""CIE Lab of sRGB pictures in torch, and its colours (a, b) as classes (Zhang et al. 2016, arXiv:1603.08511).

B: batch, C: colour classes, K: nearest classes of a pixel, h and w: sides.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .precision import full_precision

GRID = 10.0  # distance of two colour classes along a or b (section 2.2)
BREADTH = 5.0  # deviation of the Gaussian that spreads a pixel, and the prior, over classes (section 2.2)

# IEC 61966-2-1, linear sRGB to XYZ; its white is the image of (1, 1, 1), so that greys have a = b = 0 exactly.
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
DELTA = 6 / 29  # CIE 15:2004, 8.2.1: below its cube the root becomes a straight line


def rgb_to_lab(pictures: Tensor) -> Tensor:
    """(B, 3, h, w) in [0, 1] -> L in [0, 100], a and b within about +-110."""
    matrix = torch.tensor(TO_XYZ, dtype=pictures.dtype, device=pictures.device)
    linear = torch.where(pictures <= 0.04045, pictures / 12.92, ((pictures + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,bjhw->bihw", matrix / matrix.sum(1, keepdim=True), linear)
    root = torch.where(xyz > DELTA**3, xyz.clamp(min=DELTA**3) ** (1 / 3), xyz / (3 * DELTA**2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse, clamped to [0, 1]."""
    L, a, b = lab.unbind(1)
    y = (L + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(root > DELTA, root**3, 3 * DELTA**2 * (root - 4 / 29))
    matrix = torch.tensor(TO_XYZ, dtype=torch.float64)
    inverse = torch.linalg.inv(matrix / matrix.sum(1, keepdim=True)).to(lab)
    linear = torch.einsum("ij,bjhw->bihw", inverse, xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def grey(lightness: Tensor) -> Tensor:
    """The grey sRGB value of a lightness in [0, 100]: (B, 1, h, w) -> the same, in [0, 1]."""
    lab = torch.cat([lightness, torch.zeros_like(lightness), torch.zeros_like(lightness)], dim=1)
    return lab_to_rgb(lab)[:, :1]


@cache
def colours(grid: float = GRID) -> NDArray[np.float32]:
    """The colour classes: centres of the cells of the (a, b) plane that hold some colour of sRGB, (C, 2).

    These are 261 for cells of 10, counted on a lattice of 65 x 65 x 65 colours. The paper's list has 313, cells that
    no 8-bit colour falls into among them.
    """
    steps = torch.linspace(0, 1, 65, dtype=torch.float64, device="cpu")
    cube = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij")).reshape(1, 3, 65, -1)
    plane = rgb_to_lab(cube)[0, 1:].flatten(1).T
    centres = np.unique((plane / grid).round().numpy(), axis=0) * grid
    return np.asarray(centres, dtype=np.float32)


@full_precision
def soft_classes(ab: Tensor, centres_C2: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Each pixel's nearest classes and their Gaussian weights, which sum to 1 (section 2.2).

    Args:
        ab: (B, 2, h, w).
        centres_C2: of `colours`.
        count: how many, K; 5 in the paper.

    Returns:
        int64 and float, (B, h, w, K) each; the nearest class first.
    """
    pixels = ab.permute(0, 2, 3, 1).flatten(0, 2)
    distance = torch.cdist(pixels, centres_C2, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, numbers = distance.topk(count, dim=1, largest=False)
    weights = torch.softmax(-(nearest**2) / (2 * BREADTH**2), dim=1)
    shape = (len(ab), *ab.shape[2:], count)
    return numbers.reshape(shape), weights.reshape(shape)


@full_precision
def class_weights(counts_C: Tensor, centres_C2: Tensor, mix: float) -> Tensor:
    """Weights that make rare colours count (equations 3 and 4): 1 / ((1 - mix) x prior + mix / C), 1 on average.

    Args:
        counts_C: How often each class was seen; all zero is no knowledge, and gives weights of 1.
        centres_C2: of `colours`.
        mix: Share of the even distribution in the prior, lambda; 0.5 in the paper.
    """
    distance = torch.cdist(centres_C2, centres_C2).to(counts_C)
    kernel = torch.exp(-(distance**2) / (2 * BREADTH**2))
    prior = kernel / kernel.sum(0, keepdim=True) @ (counts_C + 1e-9)
    prior = prior / prior.sum()
    weights = 1 / ((1 - mix) * prior + mix / len(prior))
    return weights / (prior * weights).sum()
