"""Brightness, contrast, saturation, hue and greyscale as one affine map of each picture's colours, and solarisation.

B: batch, h and w: height and width, C: channels. Pictures are floats in [0, 1].
"""

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's conversion to "L"

# The quarter turn round the axis of the greys: the cross product with (1, 1, 1) / sqrt(3).
QUARTER_TURN = tuple(tuple(entry / math.sqrt(3) for entry in row) for row in ((0, -1, 1), (1, 0, -1), (-1, 1, 0)))


def colour_matrix(saturation: Tensor, hue: Tensor) -> Tensor:
    """The linear map of RGB that first scales the saturation and then turns the hue; greys stay as they are.

    The turn is a rotation round the axis of the greys, which the hexagon of HSV goes round as well: both agree at
    thirds of a turn and differ between them, and the rotation needs no division or branch per pixel.

    Args:
        saturation: (B,), factors; 0 is greyscale.
        hue: (B,), turns in [-0.5, 0.5], positive from red to green.

    Returns:
        (B, 3, 3).
    """
    angle = 2 * math.pi * hue
    cos, sin = angle.cos(), angle.sin()
    entries = []
    for i in range(3):
        for j in range(3):
            turn = 1 / 3 + cos * (float(i == j) - 1 / 3) + sin * QUARTER_TURN[i][j]
            entries.append(LUMA[j] + saturation * (turn - LUMA[j]))
    return torch.stack(entries, dim=1).unflatten(1, (3, 3))


def adjust(
    pictures: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, grey: Tensor
) -> Tensor:
    """Brightness, contrast around the mean grey, saturation, hue and greyscale, in this order, and no clamps between.

    Pictures that are not RGB get brightness and contrast only.

    Args:
        pictures: (B, h, C, w).
        brightness, contrast, saturation: (B,), factors as of Pillow's ImageEnhance; 1 changes nothing.
        hue: (B,), turns in [-0.5, 0.5]; 0 changes nothing.
        grey: bool, (B,), which pictures end up grey.

    Returns:
        (B, h, w, C), not clamped.
    """
    C = pictures.shape[2]
    planes = pictures.unbind(dim=2)
    means = pictures.mean(dim=(1, 3)).unbind(dim=1)
    luma = LUMA if C == 3 else (1 / C,) * C
    mean = sum((weight * mean for weight, mean in zip(luma, means, strict=True)), torch.zeros_like(brightness))
    gain = brightness * contrast
    offset = ((1 - contrast) * brightness * mean)[:, None, None]  # grey, so saturation and hue leave it alone
    if C != 3:
        return torch.stack([plane * gain[:, None, None] + offset for plane in planes], dim=3)

    # Written out: a matrix routine takes longer to start than a product of 3 x 3 lasts, and sums of products fuse.
    matrix = gain[:, None, None] * colour_matrix(saturation, hue)
    to_grey = LUMA[0] * matrix[:, :1] + LUMA[1] * matrix[:, 1:2] + LUMA[2] * matrix[:, 2:]
    matrix = torch.where(grey[:, None, None], to_grey, matrix)
    red, green, blue = planes
    mixed = [
        red * from_red + green * from_green + blue * from_blue + offset
        for from_red, from_green, from_blue in (row.unbind(1) for row in matrix[..., None, None].unbind(1))
    ]
    return torch.stack(mixed, dim=3)


def solarise(pictures: Tensor, threshold: float, chosen: Tensor) -> Tensor:
    """Invert all values from the threshold on, in the chosen pictures.

    Args:
        pictures: (B, ...).
        threshold: in [0, 1].
        chosen: bool, (B,).
    """
    chosen = chosen.reshape(-1, *[1] * (pictures.ndim - 1))
    return torch.where(chosen & (pictures >= threshold), 1 - pictures, pictures)
