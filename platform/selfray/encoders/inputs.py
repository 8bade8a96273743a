"""From samples as a corpus stores them to what an encoder's `forward` takes, one function a data type."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SILENT_PAD = -32768  # int16; sounds are clipped to -32767 when a corpus is prepared


def image(samples: Tensor, size: tuple[int, ...]) -> Tensor:
    """uint8 (batch, height, width, channels) of any size to float (batch, channels, *size) in [0, 1]."""
    if samples.dtype != torch.uint8:
        return samples
    images = samples.permute(0, 3, 1, 2).float() / 255
    if images.shape[2:] != size:
        images = interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
    return images


def audio(samples: Tensor, size: tuple[int, ...]) -> Tensor:
    """int16 (batch, time) to float (batch, time) in [-1, 1]; padding becomes silence."""
    if samples.dtype != torch.int16:
        return samples
    return torch.where(samples == SILENT_PAD, 0, samples).float() / 32768


def series(samples: Tensor, size: tuple[int, ...]) -> Tensor:
    """float (batch, time, channels), NaN where values are missing or padded: as it is."""
    return samples.float()


def text(samples: Tensor, size: tuple[int, ...]) -> Tensor:
    """Token numbers of any integer type, (batch, length), to int64."""
    return samples.long()


FUNCTIONS: dict[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "image": image,
    "audio": audio,
    "series": series,
    "text": text,
}
