"""Brightness, contrast, saturation, hue and greyscale as one affine map of each picture's colours, and solarisation.

B: batch, h and w: height and width, C: channels. Pictures are floats in [0, 1].
"""

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's conversion to "L"

# A quarter turn of the hue in RGB: to the axes I and Q of the YIQ space (NTSC 1953), round by 90 degrees, and back.
_YIQ = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
_TURN = torch.tensor([(0, 0, 0), (0, 0, -1), (0, 1, 0)], dtype=torch.float64)
QUARTER_TURN: list[list[float]] = (torch.linalg.inv(_YIQ) @ _TURN @ _YIQ).tolist()


def colour_matrix(saturation: Tensor, hue: Tensor) -> Tensor:
    """The linear map of RGB that scales the saturation and turns the hue, and keeps luma and greys as they are.

    The turn is a rotation of the chrominance plane of YIQ: it agrees with one of the HSV hue in direction and roughly
    in size (red to green is 137 degrees there, not 120), and needs no division or branch per pixel.

    Args:
        saturation: (B,), factors; 0 is greyscale.
        hue: (B,), turns in [-0.5, 0.5], positive from red to green.

    Returns:
        (B, 3, 3).
    """
    angle = -2 * math.pi * hue
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    entries = [LUMA[j] + cos * (float(i == j) - LUMA[j]) + sin * QUARTER_TURN[i][j] for i in range(3) for j in range(3)]
    return torch.stack(entries, dim=1).unflatten(1, (3, 3))


def adjust(pictures: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Brightness, contrast around the picture's mean grey, saturation and hue, in this order, without clamps between.

    Pictures that are not RGB get brightness and contrast only.

    Args:
        pictures: (B, h, C, w).
        brightness, contrast, saturation: (B,), factors as of Pillow's ImageEnhance; 1 changes nothing.
        hue: (B,), turns in [-0.5, 0.5]; 0 changes nothing.

    Returns:
        (B, h, w, C), not clamped.
    """
    C = pictures.shape[2]
    planes = pictures.unbind(dim=2)
    means = pictures.mean(dim=(1, 3)).unbind(dim=1)
    luma = LUMA if C == 3 else (1 / C,) * C
    grey = sum((weight * mean for weight, mean in zip(luma, means, strict=True)), torch.zeros_like(brightness))
    gain = brightness * contrast
    offset = ((1 - contrast) * brightness * grey)[:, None, None]  # saturation and hue leave a grey offset alone
    if C != 3:
        return torch.stack([plane * gain[:, None, None] + offset for plane in planes], dim=3)

    # Written out: a matrix routine takes longer to start than a product of 3 x 3 lasts, and sums of products fuse.
    matrix = gain[:, None, None] * colour_matrix(saturation, hue)
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
