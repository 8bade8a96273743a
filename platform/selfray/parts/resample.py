"""Crops, resizing and blur as matrices: one for the rows and one for the columns of each picture of a batch.

B: batch, H and W: height and width of the samples, h and w: of the views, C: channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

CROP_ATTEMPTS = 10  # as in torchvision's RandomResizedCrop
CROP_DRAWS = 2 * CROP_ATTEMPTS + 2
BLUR_REACH = 4.0  # standard deviations; the Gaussian is 3e-4 of its peak there
NO_BLUR = 0.05  # a standard deviation, in pixels, whose reach ends before the next pixel


class Boxes(NamedTuple):
    """One crop a picture, in whole pixels: float32, (B,) each."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def crop_boxes(draws: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Boxes:
    """Random crops by the rule of Inception training (Szegedy et al. 2015, section 6) as torchvision defines it.

    An area share uniform in `scale` and an aspect ratio log-uniform in `ratio` make a box of whole pixels; the first of
    ten that fits is put anywhere in the picture, and if none fits it is the largest centred box of an allowed ratio.

    Args:
        draws: (B, CROP_DRAWS), uniform in [0, 1).
        height, width: of the pictures.
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest width / height.
    """
    areas = height * width * between(draws[:, :CROP_ATTEMPTS], *scale)
    ratios = between(draws[:, CROP_ATTEMPTS:-2], math.log(ratio[0]), math.log(ratio[1])).exp()
    widths, heights = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    # All ten at once and the first that fits: a loop that ends early would depend on the data.
    attempt = torch.arange(CROP_ATTEMPTS, device=draws.device)
    chosen = torch.where(fits, attempt, CROP_ATTEMPTS).amin(dim=1, keepdim=True)

    centred_height = min(height, round(width / ratio[0]))
    centred_width = min(width, round(height * ratio[1]))
    h = pad(heights, (0, 1), value=centred_height).gather(1, chosen)[:, 0]
    w = pad(widths, (0, 1), value=centred_width).gather(1, chosen)[:, 0]
    room_above, room_left = height - h, width - w
    # u (n + 1) can be rounded up to n + 1 when u is next to 1.
    top = torch.minimum((draws[:, -2] * (room_above + 1)).floor(), room_above)
    left = torch.minimum((draws[:, -1] * (room_left + 1)).floor(), room_left)
    centred = chosen[:, 0] == CROP_ATTEMPTS
    top = torch.where(centred, (room_above / 2).floor(), top)
    left = torch.where(centred, (room_left / 2).floor(), left)
    return Boxes(top, left, h, w)


def between(draws: Tensor, low: float, high: float) -> Tensor:
    """Numbers uniform in [0, 1) stretched to [low, high)."""
    return low + (high - low) * draws


def resampling_matrix(start: Tensor, length: Tensor, inputs: int, outputs: int, flip: Tensor | None = None) -> Tensor:
    """The matrix that cuts a range out of `inputs` pixels and resizes it to `outputs` pixels.

    Bilinear, and widened to the size of an output pixel when it shrinks (antialiasing): the filter that Pillow's
    `crop(...).resize(..., BILINEAR)` and torchvision's `resized_crop(..., antialias=True)` use.

    Args:
        start, length: (B,), the range in pixels.
        inputs, outputs: numbers of pixels.
        flip: bool, (B,), which ranges come out in reverse order.

    Returns:
        (B, outputs, inputs); every row sums to 1.
    """
    start, length = start[:, None, None], length[:, None, None]
    position = torch.arange(outputs, device=start.device, dtype=torch.float32)[:, None] + 0.5
    if flip is not None:
        position = torch.where(flip[:, None, None], outputs - position, position)
    step = length / outputs
    pixel = torch.arange(inputs, device=start.device, dtype=torch.float32) + 0.5
    weight = 1 - ((pixel - (start + position * step)) / step.clamp(min=1)).abs()
    inside = (pixel > start) & (pixel < start + length)
    weight = weight.clamp(min=0) * inside
    return weight / weight.sum(dim=2, keepdim=True)


def blurring_matrix(sigma: Tensor, size: int) -> Tensor:
    """The matrix that blurs `size` pixels with a Gaussian, whose weights at the border are those inside, renormalised.

    Args:
        sigma: (B,), standard deviations in pixels; 0 leaves the pixels as they are.
        size: number of pixels.

    Returns:
        (B, size, size); every row sums to 1.
    """
    distance = torch.arange(1 - size, size, device=sigma.device).abs() / sigma.clamp(min=NO_BLUR)[:, None]
    # Without an end the tails are denormal floats, which make a matrix product a hundred times slower.
    weight = (-0.5 * distance.clamp(max=BLUR_REACH).square()).exp() * (distance <= BLUR_REACH)
    # Row i of the matrix is the same curve, shifted to i: one exponential a distance instead of one an entry.
    weight = weight.unfold(1, size, 1).flip(1)
    return weight / weight.sum(dim=2, keepdim=True)


def resample(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Every picture's rows and columns through its own two matrices.

    Args:
        pictures: (B, H, C, W). Channels between rows and columns make both products plain batched ones.
        rows: (B, h, H).
        columns: (B, w, W).

    Returns:
        (B, h, C, w).
    """
    B, H, C, W = pictures.shape
    h, w = rows.shape[1], columns.shape[1]
    tall = torch.bmm(rows, pictures.reshape(B, H, C * W)).view(B, h * C, W)
    return torch.bmm(tall, columns.mT).view(B, h, C, w)
