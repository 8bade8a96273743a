"""Samples as small pictures, for the report and the sheets of a corpus; one function a data type that is no image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT, SOUND, ENDS = ".text", ".sound", ".ends"
"""Behind the name of an array of pictures: the same samples as words, or as MP3 files and where each of them ends."""
HEIGHT, WIDTH = 40, 80
DECIBELS_60 = 13.8  # of power, as a natural logarithm
MARGIN = 2  # rows above and below a curve
COLOURS = ((59, 111, 182), (224, 132, 61), (122, 154, 58), (184, 68, 63), (123, 97, 160), (90, 100, 110))

Pictures = NDArray[np.uint8]


def series(samples: NDArray[Any]) -> Pictures:
    """Curves over time, one colour a channel, each sample over its own range; gaps where values are missing.

    (n, time, channels) -> (n, 40, 80, 3).
    """
    values = np.asarray(samples, np.float32)
    low = np.nanmin(np.where(np.isnan(values), np.inf, values), axis=(1, 2), keepdims=True)
    high = np.nanmax(np.where(np.isnan(values), -np.inf, values), axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):  # a sample without values: infinite less infinite
        span = np.where(high > low, high - low, 1)
        heights = (HEIGHT - 1 - MARGIN) - (values - low) / span * (HEIGHT - 1 - 2 * MARGIN)
    steps = np.linspace(0, values.shape[1] - 1, WIDTH).round().astype(int)
    places = heights[:, steps]
    after = np.concatenate([places[:, 1:], places[:, -1:]], axis=1)
    after = np.where(np.isnan(after), places, after)
    top, bottom = np.minimum(places, after), np.maximum(places, after)
    rows = np.arange(HEIGHT)[None, :, None]
    pictures = np.full((len(values), HEIGHT, WIDTH, 3), 255, np.uint8)
    for channel in range(values.shape[2]):
        painted = (rows >= top[:, None, :, channel] - 0.5) & (rows <= bottom[:, None, :, channel] + 0.5)
        pictures[painted] = COLOURS[channel % len(COLOURS)]
    return pictures


def audio(samples: NDArray[Any]) -> Pictures:
    """Log-mel spectra, low bands at the bottom, black at 60 dB below the loudest; padding is left out of the level.

    int16 (n, time) or (n, time, channels), or float as an encoder takes it -> (n, 40, 80, 3).
    """
    import torch

    from ..encoders.inputs import audio as heard
    from ..parts.spectrum import LogMel

    values = torch.tensor(samples)
    waves = heard(values if values.dtype == torch.int16 else values.float(), ())
    waves = waves if waves.ndim == 2 else waves.mean(2)
    rate = 16_000  # bands are spread over whatever the corpus's rate is
    frames = LogMel(rate, 512, 128, HEIGHT)(waves)
    small = torch.nn.functional.interpolate(frames.transpose(1, 2), WIDTH, mode="linear").flip(1)
    shade = 1 + (small - small.amax((1, 2), keepdim=True)) / DECIBELS_60
    grey: Pictures = (shade.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return np.repeat(grey[..., None], 3, axis=3)


FUNCTIONS: dict[str, Callable[[NDArray[Any]], Pictures]] = {"series": series, "audio": audio}
DIMENSIONS = {"series": (3,), "audio": (2, 3)}


def drawn(kind: str, samples: NDArray[Any]) -> Pictures | None:
    """Pictures of samples as a corpus stores them or an objective sees them; None where there is no way yet."""
    if kind == "image":
        return samples
    function = FUNCTIONS.get(kind)
    return function(samples) if function and samples.ndim in DIMENSIONS[kind] else None
